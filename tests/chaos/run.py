"""What ``bin/chaos_degrade_shed.sh`` runs: faults and load through a node in a process of its own.

    python -m tests.chaos.run [--minutes N | --seconds S] [--gate N]

Prints a row for each stage as it ends, what was seen meanwhile, and the bounds that broke; exits with 1 where
one did. A bound of time is not judged where this machine was busy with something else.

Without ``--minutes`` it is over within a minute. With it the stages are repeated at a moderate load
for so long, and the node's memory is looked at after each round.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench.processes import keeping
from tests.chaos import report, sickness, soak, stages
from tests.chaos.chaos import Chaos
from tests.chaos.owners import Owners
from tests.chaos.stage import Bound, Stage

#: How long a stage's load lasts, in seconds, and how many calls of search are served at a time.
UNIT_S: Final = 2.5
GATE: Final = 32
SOAK_GATE: Final = 8


#: All that is done to a node again and again in a soak, and then what ends it.
ROUND: Final = (
    stages.calm,
    stages.peak,
    stages.overload,
    stages.too_often,
    stages.storage_stalls,
    stages.index_refuses,
    sickness.node_bound,
    sickness.too_large,
    sickness.buffers_full,
    stages.slow_uploads,
    stages.callers_leave,
    stages.reloads,
    stages.recovery,
)


async def once(chaos: Chaos, tell: Callable[[Stage], None]) -> None:
    """Do each stage once, from the calm to the drain, and *tell* what came of it."""
    for stage in (*ROUND, stages.drain):
        tell(await chaos.do(stage))


def tell(done: Stage) -> None:
    """Print the row of a stage, and what of it broke."""
    print(report.line(done), flush=True)
    for bound in done.bounds:
        if not bound.holds:
            print(f"  BROKEN  {bound.what}", flush=True)


def broken(chaos: Chaos) -> list[tuple[str, Bound]]:
    """Return the bounds that broke, each with the name of its stage; the log's is one of them."""
    found = [(stage.name, bound) for stage in chaos.stages for bound in stage.bounds if not bound.holds]
    bad = chaos.node.log.bad
    if bad:
        found.append(
            ("log", Bound(False, f"{len(bad)} lines that it never has, first: {bad[0].strip()[:500]}"))
        )
    if chaos.watch.unanswered:
        found.append(("admin", Bound(False, f"{chaos.watch.unanswered} pages did not come")))
    if chaos.watch.silent:
        found.append(("admin", Bound(False, f"{chaos.watch.silent} times unready without Retry-After")))
    return found


async def main_loop(owners: Owners, options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        lasting = options.minutes is not None
        chaos = Chaos(
            owners,
            Path(folder),
            unit_s=options.seconds,
            gate=options.gate or (SOAK_GATE if lasting else GATE),
            module="tests.chaos.collected" if lasting else "micronode",
        )
        await chaos.start()
        try:
            print(f"{report.LEGEND}\n{report.HEAD}", flush=True)
            if lasting:
                print(await soak.run(chaos, ROUND, options.minutes * 60, tell))
            else:
                await once(chaos, tell)
            print(report.seen(chaos))
        finally:
            await chaos.close()
    breaks = broken(chaos)
    for name, bound in breaks:
        print(f"BROKEN  {name}: {bound.what}")
    bounds = sum(len(stage.bounds) for stage in chaos.stages)
    unjudged = sum(stage.unjudged for stage in chaos.stages)
    print(f"{bounds + unjudged} bounds, {len(breaks)} broken, {unjudged} not judged")
    return 1 if breaks else 0


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bin/chaos_degrade_shed.sh",
        description=__doc__,
        epilog=f"stages:\n{report.explained((*ROUND, stages.drain))}\n\ncolumns:\n{report.LEGEND}",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, help="how long to go on, at a moderate load")
    parser.add_argument("--seconds", type=float, default=UNIT_S, help="of load a stage (default %(default)s)")
    parser.add_argument("--gate", type=int, help="calls of search that are served at a time")
    options = parser.parse_args()
    with keeping() as keeper:
        return asyncio.run(main_loop(Owners(keeper), options))


if __name__ == "__main__":
    sys.exit(main())
