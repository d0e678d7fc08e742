"""Tells of what may come in floods, without a line for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

#: Seconds between two lines of one kind.
PERIOD_S: Final = 5.0


class Tally:
    """Tells of the first at once, and then at most every :data:`PERIOD_S` how many there were.

    It has no timer: what comes last in a flood is told with the next of its kind. Metrics count them all.

    :param tell: called with how many there were since it was called last.
    """

    __slots__ = ("_clock", "_count", "_tell", "_told_s")

    def __init__(self, clock: IReactorTime, tell: Callable[[int], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._count = 0
        self._told_s: float | None = None

    def add(self) -> None:
        """Note one more."""
        self._count += 1
        now = self._clock.seconds()
        if self._told_s is None or now - self._told_s >= PERIOD_S:
            count, self._count = self._count, 0
            self._told_s = now
            self._tell(count)
