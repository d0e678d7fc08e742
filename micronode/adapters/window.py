"""Counting what happened lately: how often, and how often of a certain kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_SLOTS: Final = 10


class Window:
    """Two counts over the last *span_s* seconds, of which the oldest tenth is forgotten at a time.

    *Why not the times of all.* An owner may be called thousands of times a second; here a count costs the
    same however many there are, and so does what is held.

    :param seconds: tells the time.
    :ivar all: how often something happened. It is right after :meth:`look`, and so is the next.
    :ivar marked: how often it was marked.
    """

    __slots__ = ("_all", "_marked", "_seconds", "_slot", "_step_s", "all", "marked")

    def __init__(self, seconds: Callable[[], float], span_s: float) -> None:
        self.all = 0
        self.marked = 0
        self._seconds = seconds
        self._step_s = span_s / _SLOTS
        self._all = [0] * _SLOTS
        self._marked = [0] * _SLOTS
        self._slot = int(seconds() / self._step_s)

    def add(self) -> None:
        """Something happened."""
        # For every call, twice: no call of ours in it, mostly.
        if int(self._seconds() / self._step_s) != self._slot:
            self.look()
        self.all += 1
        self._all[self._slot % _SLOTS] += 1

    def mark(self) -> None:
        """Something of the kind happened; that it happened is counted apart, by :meth:`add`."""
        self.look()
        self.marked += 1
        self._marked[self._slot % _SLOTS] += 1

    def look(self) -> None:
        """Forget what is too old."""
        now = int(self._seconds() / self._step_s)
        if now == self._slot:
            return
        if now < self._slot:
            # The clock was set back: what was counted is as if it were of now, to be forgotten in time.
            self._slot = now
            for counts, in_all in ((self._all, self.all), (self._marked, self.marked)):
                counts[:] = [0] * _SLOTS
                counts[now % _SLOTS] = in_all
            return
        for slot in range(self._slot + 1, min(now, self._slot + _SLOTS) + 1):
            index = slot % _SLOTS
            self.all -= self._all[index]
            self.marked -= self._marked[index]
            self._all[index] = self._marked[index] = 0
        self._slot = now

    def clear(self) -> None:
        """Forget everything."""
        self.all = self.marked = 0
        self._all = [0] * _SLOTS
        self._marked = [0] * _SLOTS
