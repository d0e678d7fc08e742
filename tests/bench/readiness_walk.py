"""A walk up the load: what a node does from a tenth of what its gate lets in to three times that, and beyond.

    python -m tests.bench.readiness_walk [--rounds 3] [--seconds 3] [--json]

*Owner-bound.* The index (``tests/chaos/timedowner.py``) answers each search 50 ms after it was asked, and
takes nearly no processor for it; the gate of search lets in 24. So 480 calls a second are what can be done,
whatever the node is capable of, which is several times that: it is the owner that is slow, and the node must
have time to say so. Calls come at random times, by both doors, whether or not those before are answered
(``tests/chaos/load.py``). Nothing is tried again. What counts is the median over the rounds of each round's
figures:

- goodput at three times the gate is 90 % of the best of the walk at least;
- p99 of the calls admitted then is twice that of the unloaded node at most;
- p99 of the refusals is 50 ms at most;
- all of them say when to come back;
- the node took less than 60 % of a processor, or the figures above say nothing of a slow owner.

*Node-bound.* The index answers at once, 256 callers ask again and again as fast as they are answered, and
the gate would let all of them in: the node has no time left. First it does not watch itself; then
``overload.lag`` is set to what its reactor may be late by, and the node sheds, and is not ready once that
lasted. What it does is reported as it is, but for one figure: it is ready again 2 s after the load ended at
the latest.

Exits with 1 where a target is missed. Load and node share the machine with whatever else runs there; how late
this process itself was is in each row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import attrs

from tests.bench.processes import keeping
from tests.chaos.lateness import Lateness
from tests.chaos.load import Load, both
from tests.chaos.node import Node
from tests.chaos.owners import timed_index
from tests.chaos.tally import Tally, percentile_ms
from tests.chaos.watch import Watch

SERVICE_S: Final = 0.05
GATE: Final = 24
#: In gates: what is offered, of what can be done. The first is called unloaded.
WALK: Final = (0.1, 0.33, 0.67, 1.0, 1.5, 2.0, 3.0)
CALLERS: Final = 256
LAG: Final = "20ms"
UNREADY_AFTER_S: Final = 1.0
#: How long the node-bound load lasts, for readiness to be lost at all, and what is waited afterwards.
NODE_BOUND_S: Final = 4.0
AFTER_S: Final = 4.0

GOODPUT: Final = 0.9
ADMITTED: Final = 2.0
REFUSED_MS: Final = 50.0
CPU: Final = 0.6
READY_AGAIN_S: Final = 2.0


@attrs.frozen
class Step:
    """What came of one load."""

    name: str
    offered: float
    good: float
    refused: float
    shed: float
    #: In milliseconds.
    admitted_p50: float
    admitted_p99: float
    refused_p99: float
    #: Refusals that did not say when to come back.
    silent: int
    lost: int
    #: Of one processor.
    cpu: float
    #: By how many milliseconds this process itself was late: a measure of what else the machine does.
    late: float

    @classmethod
    def of(cls, name: str, tally: Tally, cpu_s: float, late_ms: float) -> Step:
        """Sum up *tally*."""
        good = tally.good()
        return cls(
            name=name,
            offered=tally.count() / tally.seconds,
            good=len(good) / tally.seconds,
            refused=tally.share("429"),
            shed=tally.share("503"),
            admitted_p50=percentile_ms(good, 50),
            admitted_p99=percentile_ms(good, 99),
            refused_p99=percentile_ms(tally.refused_s, 99),
            silent=sum(tally.silent.values()),
            lost=sum(tally.lost.values()),
            cpu=cpu_s / tally.seconds,
            late=late_ms,
        )

    @classmethod
    def median(cls, steps: Iterable[Step]) -> Step:
        """Return a step whose every figure is the median of those of *steps*, which are of one load."""
        rows = list(map(attrs.asdict, steps))
        return cls(
            **{
                name: each if isinstance(each, str) else statistics.median(row[name] for row in rows)
                for name, each in rows[0].items()
            }
        )

    def __str__(self) -> str:
        return (
            f"{self.name:<12}{self.offered:>8.0f}{self.good:>8.0f}{self.refused:>7.0%}{self.shed:>7.0%}"
            f"{self.admitted_p50:>9.1f}{self.admitted_p99:>9.1f}{self.refused_p99:>9.1f}{self.cpu:>7.0%}{self.late:>8.1f}"
        )


HEAD: Final = (
    f"{'gates':<12}{'calls/s':>8}{'good/s':>8}{'429':>7}{'503':>7}{'p50 ms':>9}{'p99 ms':>9}"
    f"{'429 p99':>9}{'CPU':>7}{'late ms':>8}"
)


@attrs.frozen
class Target:
    """What is to be reached, and what was."""

    what: str
    figure: float
    bound: float
    met: bool

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'}  {self.what}: {self.figure:.2f} (target {self.bound:g})"


class Walk:
    """Walks a node that is running.

    :ivar steps: what came of each load.
    """

    def __init__(self, node: Node, owners: dict[str, str]) -> None:
        """:param owners: ``slow`` and ``quick`` -> where that index is."""
        self.steps: list[Step] = []
        self._node = node
        self._owners = owners
        self.watch = Watch(node)
        self.load = Load(node.addresses)
        self.lateness = Lateness()

    async def owner_bound(self, rounds: int, seconds: float) -> list[Target]:
        """Walk up to three gates, and again."""
        able = GATE / SERVICE_S
        await self.load.offer(both(search=able / 8), 1.0, Tally())  # what every connection needs once
        walks: list[list[Step]] = []
        for _ in range(rounds):
            walks.append([await self._step(gates, gates * able, seconds) for gates in WALK])
        steps = [Step.median(each) for each in zip(*walks, strict=True)]
        print("\n".join(map(str, ("medians", *steps))), flush=True)
        self.steps += steps

        def typical(figure: Callable[[list[Step]], float]) -> float:
            return statistics.median(map(figure, walks))

        good = typical(lambda walk: walk[-1].good / max(step.good for step in walk))
        admitted = typical(lambda walk: walk[-1].admitted_p99 / walk[0].admitted_p99)
        every = [step for walk in walks for step in walk]
        return [
            _at_least("goodput at 3 gates, to the best", good, GOODPUT),
            _at_most("p99 of what is admitted, to unloaded", admitted, ADMITTED),
            _at_most("p99 of refusals, ms", typical(lambda walk: walk[-1].refused_p99), REFUSED_MS),
            _at_most("refusals that do not say when to come back", sum(step.silent for step in every), 0),
            _at_most("calls without an answer", sum(step.lost for step in every), 0),
            _at_most("processor that the node took at 3 gates", typical(lambda walk: walk[-1].cpu), CPU),
        ]

    async def _step(self, gates: float, per_s: float, seconds: float) -> Step:
        tally, before, began = Tally(), self._node.cpu_s(), time.monotonic()
        await self.load.offer(both(search=per_s / 2), seconds, tally)
        spent = self._node.cpu_s() - before
        await self.load.settle()
        step = Step.of(f"{gates:g}", tally, spent, self.lateness.ms(began))
        print(step, flush=True)
        return step

    async def node_bound(self) -> list[Target]:
        """Ask as fast as the node answers, then let it be: twice, first as if it knew no overload."""
        found = await self._without_time("node-bound")
        watching = asyncio.ensure_future(self.watch.run())
        found += await self._without_time("it sheds", lag=LAG, unready_after=f"{UNREADY_AFTER_S}s")
        ended_at_s = self.watch.seconds
        await asyncio.sleep(AFTER_S)
        self.watch.stop()
        await watching
        for change in self.watch.changes:
            print(f"  {change.at_s - ended_at_s:+6.1f} s  {change.what}: {change.before} -> {change.after}")
        was_unready = any(each.what == "ready" and each.before == "yes" for each in self.watch.changes)
        # NaN meets no target.
        again = self.watch.ready_after(ended_at_s) or 0.0 if was_unready and self.watch.ready else math.nan
        return [*found, _at_most("ready again after the load, s", again, READY_AGAIN_S)]

    async def _without_time(self, name: str, **overload: str) -> list[Target]:
        self._node.write(
            owners__index={"url": self._owners["quick"], "concurrency": 2 * CALLERS},
            facets__search={"limit": 2 * CALLERS},
            overload=overload,
        )
        await self._node.reload()
        tally, before, began = Tally(), self._node.cpu_s(), time.monotonic()
        half = CALLERS // 2
        await self.load.keep({("http", "search"): half, ("oap", "search"): half}, NODE_BOUND_S, tally)
        step = Step.of(name, tally, self._node.cpu_s() - before, self.lateness.ms(began))
        self.steps.append(step)
        print(step, flush=True)
        return [
            _at_most(f"{name}: refusals that do not say when to come back", step.silent, 0),
            _at_most(f"{name}: calls without an answer", step.lost, 0),
        ]


def _at_least(what: str, figure: float, bound: float) -> Target:
    return Target(what, figure, bound, figure >= bound)


def _at_most(what: str, figure: float, bound: float) -> Target:
    return Target(what, figure, bound, figure <= bound)


def timed(keeper: Any, takes_s: float) -> str:
    """Start an index that answers after so long; return where it is."""
    return timed_index(keeper, takes_s).until(r'"url": "([^"]+)"')[1]


async def run(owners: dict[str, str], rounds: int, seconds: float) -> tuple[list[Step], list[Target]]:
    """Start a node and walk it."""
    nowhere = {"url": "unix:/nowhere/owner"}
    sections: dict[str, dict[str, object]] = {
        "facets.search": {"limit": GATE},
        "owners.mailbox": dict(nowhere),
        "owners.storage": dict(nowhere),
        "drain": {"grace": "0s"},
    }
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder), sections, "micronode")
        try:
            await node.start(owners__index={"url": owners["slow"]})
            walk = Walk(node, owners)
            noting = asyncio.ensure_future(walk.lateness.run())
            try:
                print(HEAD, flush=True)
                targets = await walk.owner_bound(rounds, seconds)
                targets += await walk.node_bound()
            finally:
                noting.cancel()
                walk.load.close()
            node.terminate()
            await node.ended()
            targets.append(_at_most("lines that a log never has", len(node.log.bad), 0))
            return walk.steps, targets
        finally:
            await node.kill()


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each step")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON in the end")
    options = parser.parse_args()
    with keeping() as keeper:
        owners = {"slow": timed(keeper, SERVICE_S), "quick": timed(keeper, 0.0)}
        steps, targets = asyncio.run(run(owners, options.rounds, options.seconds))
    for target in targets:
        print(target)
    if options.json:
        print(
            json.dumps({"steps": list(map(attrs.asdict, steps)), "targets": list(map(attrs.asdict, targets))})
        )
    return 0 if all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
