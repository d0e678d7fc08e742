"""``python -m tests.interleavings``: try all orders of all worlds, or of those named, and count them.

``python -m tests.interleavings WORLD 'EVENT, EVENT, ...'`` lets one order happen, step by step. What a world
may do after the events that are given is done in the order in which it offers it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tests.interleavings.explorer import BrokenError, explore, replay, schedule_of
from tests.interleavings.worlds import WORLDS


def main(argv: Sequence[str]) -> int:
    """Do it; return 1 where something does not hold, 2 for a wrong name."""
    unknown = [name for name in argv[:1] if name not in WORLDS]
    if unknown:
        print(f"no world is called {unknown[0]}; there are {', '.join(WORLDS)}")
        return 2
    try:
        if len(argv) == 2 and argv[1] not in WORLDS:
            for step, event in enumerate(replay(WORLDS[argv[0]].make, schedule_of(argv[1]), name=argv[0]), 1):
                print(f"{step:3}. {event}")
            return 0
        total = 0
        for name in argv or WORLDS:
            began = time.process_time()
            count = explore(WORLDS[name].make, name=name)
            total += count
            print(f"{name:34}{count:8} schedules{time.process_time() - began:7.1f} s", flush=True)
        print(f"{'all':34}{total:8} schedules")
    except BrokenError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
