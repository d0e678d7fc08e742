"""Interleaved rounds: what may be said of a machine that others use too.

CPU time is measured: others may take the processor, and do not count. Contestants take turns within each
round, so that what disturbs one disturbs all, and what counts is the median of the rounds' ratios, not the
ratio of two numbers from different moments.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping


def interleave(contestants: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Run each contestant once a round; return name -> its CPU seconds, by round.

    :raises AssertionError: two of them did not do the same amount of work.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    assert len({run() for run in contestants.values()}) == 1
    for _ in range(rounds):
        for name, run in contestants.items():
            gc.collect()
            started = time.process_time()
            run()
            times[name].append(time.process_time() - started)
    return times


def ratio(times: Mapping[str, list[float]], one: str, other: str) -> float:
    """Return how many times as fast *one* is as *other*: the median over the rounds."""
    return statistics.median(theirs / ours for ours, theirs in zip(times[one], times[other], strict=True))
