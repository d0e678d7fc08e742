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

*Node-bound.* The index answers at once, with as many hits as a search may ask for, which the node has to
look at; callers ask again as soon as they are answered, and the gate would let in all of them. More of them
come until the reactor is three times as late as it may be (``tests/chaos/crowd.py``), while it watches itself
and sheds nothing; that is the first row. Then ``overload.lag`` is set to what it may be late by: 20 ms, or
twice what it was late by when nobody asked, where that is more. What the node does once it sheds, and is not
ready, is the second row. They are reported as they are, with these targets:

- it sheds, says so within two seconds, and is not ready within two of that (``unready_after`` is one);
- it is ready again 2 s after the load ended at the latest;
- all refusals say when to come back, and no call goes without an answer.

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
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from tests.bench import regions
from tests.bench.load import raise_open_files
from tests.bench.processes import keeping
from tests.bench.walk_steps import HEAD, Step, Target, at_least, at_most
from tests.chaos.crowd import ENOUGH, NEVER, Crowd, threshold_s
from tests.chaos.lateness import Lateness
from tests.chaos.load import Load, both
from tests.chaos.node import Node
from tests.chaos.owners import HITS, TimedIndex
from tests.chaos.tally import Tally
from tests.chaos.watch import Watch

SERVICE_S: Final = 0.05
GATE: Final = 24
#: In gates: what is offered, of what can be done. The first is called unloaded.
WALK: Final = (0.1, 0.33, 0.67, 1.0, 1.5, 2.0, 3.0)
#: Door and call -> how many ask at first; of both doors in the end, at most.
CALLERS: Final = {("http", "search"): 128, ("oap", "search"): 128}
MOST_CALLERS: Final = 4_096
#: What its reactor may be late by, at least and at most, and for how long it is seen what it is by itself.
LEAST_LAG_S: Final = 0.02
MOST_LAG_S: Final = 0.1
ALONE_S: Final = 2.0
UNREADY_AFTER_S: Final = 1.0
#: How long the node-bound load is looked at, what it is left before, and for how long a change is waited for.
NODE_BOUND_S: Final = 4.0
SETTLED_S: Final = 2.0
LONGEST_S: Final = 12.0

GOODPUT: Final = 0.9
ADMITTED: Final = 2.0
REFUSED_MS: Final = 50.0
CPU: Final = 0.6
SHEDDING_S: Final = 2.0
UNREADY_S: Final = 2.0
READY_AGAIN_S: Final = 2.0


class Walk:
    """Walks a node that is running.

    :ivar steps: what came of each load that is the owner's matter.
    :ivar crowded: of each that is the node's: without and with a threshold.
    """

    def __init__(self, node: Node, owners: dict[str, str]) -> None:
        """:param owners: ``slow`` and ``quick`` -> where that index is."""
        self.steps: list[Step] = []
        self.crowded: list[Step] = []
        self._node = node
        self._owners = owners
        self.watch = Watch(node)
        self.load = Load(node.addresses, most_lines=MOST_CALLERS)
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
            at_least("goodput at 3 gates, to the best", good, GOODPUT),
            at_most("p99 of what is admitted, to unloaded", admitted, ADMITTED),
            at_most("p99 of refusals, ms", typical(lambda walk: walk[-1].refused_p99), REFUSED_MS),
            at_most("refusals that do not say when to come back", sum(step.silent for step in every), 0),
            at_most("calls without an answer", sum(step.lost for step in every), 0),
            at_most("processor that the node took at 3 gates", typical(lambda walk: walk[-1].cpu), CPU),
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
        """Let more and more callers ask until the node has no time; let it shed; then let it be."""
        await self._overload(NEVER)
        watching = asyncio.ensure_future(self.watch.run())
        try:
            return await self._without_time()
        finally:
            self.watch.stop()
            await watching

    async def _without_time(self) -> list[Target]:
        watch = self.watch
        lag_s = await threshold_s(watch, ALONE_S, LEAST_LAG_S, MOST_LAG_S)
        unshed, shed, others = Tally(), Tally(), Tally()
        crowd = Crowd(self.load, watch, CALLERS, others)
        late_s = await crowd.until_late(ENOUGH * lag_s, MOST_CALLERS)
        crowd.count_in(unshed)
        done = self._since()
        await asyncio.sleep(NODE_BOUND_S)
        crowd.count_in(others)
        found = self._node_bound_step(f"{crowd.size} callers", unshed, done)

        set_s = watch.seconds
        await self._overload(f"{lag_s * 1000:.0f}ms")
        await watch.until(lambda: not watch.ready, LONGEST_S)
        await asyncio.sleep(SETTLED_S)  # those that were let in before have ended by then
        crowd.count_in(shed)
        done = self._since()
        await asyncio.sleep(NODE_BOUND_S)
        await crowd.leave()
        ended_s = watch.seconds
        found += self._node_bound_step(f"sheds at {lag_s * 1000:.0f} ms", shed, done)
        await watch.until(lambda: watch.ready, LONGEST_S)
        await watch.fresh()
        for change in watch.changes:
            print(f"  {change.at_s - ended_s:+6.1f} s  {change.what}: {change.before} -> {change.after}")

        shed_s, unready_s = watch.first("shedding", "true"), watch.first("ready", "no (running)")
        again_s = math.nan if math.isnan(unready_s) or not watch.ready else watch.ready_after(ended_s) or 0.0
        return [
            at_least("lateness of the reactor when nothing is shed, to overload.lag", late_s / lag_s, ENOUGH),
            at_most("shedding once overload.lag is set, s", shed_s - set_s, SHEDDING_S),
            at_most("not ready once it sheds, s", unready_s - shed_s, UNREADY_S),
            at_most("ready again after the load, s", again_s, READY_AGAIN_S),
            *found,
            *_told("before and between these", others),
        ]

    def _since(self) -> tuple[float, float]:
        return self._node.cpu_s(), time.monotonic()

    def _node_bound_step(self, name: str, tally: Tally, since: tuple[float, float]) -> list[Target]:
        before, began = since
        step = Step.of(name, tally, self._node.cpu_s() - before, self.lateness.ms(began))
        self.crowded.append(step)
        print(step, flush=True)
        return _told(name, tally)

    async def _overload(self, lag: str) -> None:
        self._node.write(
            owners__index={"url": self._owners["quick"], "concurrency": MOST_CALLERS},
            facets__search={"limit": MOST_CALLERS},
            overload={"lag": lag, "unready_after": f"{UNREADY_AFTER_S}s"},
        )
        await self._node.reload()


def _told(name: str, tally: Tally) -> list[Target]:
    """Return what is to hold of every call of *tally*."""
    return [
        at_most(f"{name}: refusals that do not say when to come back", sum(tally.silent.values()), 0),
        at_most(f"{name}: calls without an answer", sum(tally.lost.values()), 0),
    ]


async def run(owners: dict[str, str], rounds: int, seconds: float) -> tuple[Walk, list[Target]]:
    """Start a node and walk it; return what came of it."""
    nowhere = {"url": "unix:/nowhere/owner"}
    sections: dict[str, dict[str, object]] = {
        "facets.search": {"limit": GATE},
        "owners.mailbox": dict(nowhere),
        "owners.storage": dict(nowhere),
        "drain": {"grace": "0s"},
        "limits": {name: 2 * MOST_CALLERS for name in ("max_calls", "max_connections", "max_handshakes")},
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
            targets.append(at_most("lines that a log never has", len(node.log.bad), 0))
            return walk, targets
        finally:
            await node.kill()


def _rounded(what: Step | Target) -> dict[str, object]:
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in attrs.asdict(what).items()
    }


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each step")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON in the end")
    parser.add_argument("--save", action="store_true", help="write the figures into docs/")
    options = parser.parse_args()
    raise_open_files()
    about = regions.about()
    with keeping() as keeper:
        owners = {
            "slow": TimedIndex(keeper, SERVICE_S).url,
            "quick": TimedIndex(keeper, 0.0, HITS).url,
        }
        walk, targets = asyncio.run(run(owners, options.rounds, options.seconds))
    for target in targets:
        print(target)
    document = about | {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "steps": list(map(_rounded, walk.steps)),
        "crowded": list(map(_rounded, walk.crowded)),
        "targets": [_rounded(target) | {"met": target.met} for target in targets],
    }
    if options.json:
        print(json.dumps(document))
    if options.save:
        regions.WALK.save(document)
    return 0 if all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
