"""One measure of how well the node is, against its threshold; and what follows where it is above."""

from __future__ import annotations

import os
from enum import IntEnum
from statistics import median
from typing import Final

#: Beats of which the median is judged.
BEATS: Final = 3


class Level(IntEnum):
    """What is refused."""

    NONE = 0
    WRITES = 1
    ALL = 2

    @property
    def label(self) -> str:
        """How it is called in logs, events and the status."""
        return self.name.lower()


class Measure:
    """One measure against its threshold.

    :param name: how it is called.
    :param all_at: how many times its threshold it has to be for everything to be refused.
    :param clear_at: below which share of its threshold it is well again.
    :ivar value: the last one.
    """

    def __init__(self, name: str, all_at: float, clear_at: float) -> None:
        self.name = name
        self.threshold = 0.0
        self.value = 0.0
        self._all_at = all_at
        self._clear_at = clear_at
        self._last = [0.0] * BEATS

    def watch(self, threshold: float) -> None:
        """Judge by *threshold* from now on; 0: do not."""
        self.threshold = threshold

    def add(self, value: float) -> None:
        """Take note of a measurement."""
        self.value = value
        self._last = [*self._last[1:], value]

    def clear(self) -> None:
        """Forget what was measured."""
        self._last = [0.0] * BEATS

    @property
    def judged(self) -> float:
        """What is judged: the median."""
        return median(self._last)

    @property
    def share(self) -> float:
        """What it is of its threshold, by the median."""
        return self.judged / self.threshold if self.threshold else 0.0

    @property
    def level(self) -> Level:
        """What it alone would have refused."""
        share = self.share
        return Level.ALL if share >= self._all_at else Level.WRITES if share >= 1 else Level.NONE

    @property
    def well(self) -> bool:
        """Whether it is far enough below its threshold, by the median."""
        return self.share < self._clear_at

    @property
    def calm(self) -> bool:
        """Whether the last measurement alone is."""
        return not self.threshold or self.value < self._clear_at * self.threshold


def process_rss() -> int:
    """Return how many bytes of memory the process has; 0 where nobody tells."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError, IndexError):
        return 0
