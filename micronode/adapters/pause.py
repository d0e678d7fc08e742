"""Pauses that grow while what they are for comes back soon after them."""

from __future__ import annotations

from collections.abc import Callable


class Pause:
    """How long something is left alone: *first_s*, then twice as long each time, at most *longest_s*.

    One that begins later after the last one's end than the last one took is a first one again: what was
    well for that long has got over it.

    :param seconds: tells the time.
    """

    __slots__ = ("_first_s", "_length_s", "_longest_s", "_seconds", "_until")

    def __init__(self, seconds: Callable[[], float], first_s: float, longest_s: float) -> None:
        self._seconds = seconds
        self._first_s = first_s
        self._longest_s = longest_s
        self._length_s = 0.0
        self._until = 0.0

    def begin(self) -> float:
        """Begin one, instead of the one that is; return how many seconds it takes."""
        now = self._seconds()
        soon = self._length_s > 0 and now - self._until <= self._length_s
        self._length_s = min(self._length_s * 2, self._longest_s) if soon else self._first_s
        self._until = now + self._length_s
        return self._length_s

    def end(self) -> None:
        """End the one that is, early; it counts as one of its whole length."""
        self._until = min(self._until, self._seconds())

    @property
    def left_s(self) -> float:
        """How many seconds are left of it; 0 where there is none."""
        now = self._seconds()
        # The reactor's clock is the machine's, which may be set back by any time.
        self._until = min(self._until, now + self._length_s)
        return max(0.0, self._until - now)
