"""Timeouts of one length, of which hardly any passes: those of a facet's calls.

Who came first is late first, so one delayed call does for all of them. One of its own for each would cost the
reactor's heap two operations a call, for nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.concurrency.timer import EPSILON_S


class Timeouts:
    """Calls what was added *seconds* ago and is not removed yet, in order.

    Nothing of it is in the reactor while there is nothing in it.
    """

    __slots__ = ("_call", "_clock", "_ends", "_last_s", "seconds")

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.seconds = seconds
        self._clock = clock
        #: When each one is over, in the clock's seconds: in the order in which they were added.
        self._ends: dict[Callable[[], None], float] = {}
        #: When the one that was added last is over.
        self._last_s = 0.0
        self._call: IDelayedCall | None = None

    @property
    def running(self) -> int:
        """How many have been added and are not over."""
        return len(self._ends)

    def add(self, late: Callable[[], None]) -> None:
        """Call *late*, which is not in it, when the time has passed; once."""
        end_s = self._clock.seconds() + self.seconds
        if end_s < self._last_s:
            self._begin_anew(end_s)
        self._last_s = self._ends[late] = end_s
        if len(self._ends) == 1:
            self._call = self._clock.callLater(self.seconds, self._look)

    def _begin_anew(self, end_s: float) -> None:
        """Let all be over at *end_s*: the clock was set back, and who came first must not be late last."""
        self._ends = dict.fromkeys(self._ends, end_s)
        if self._call is not None:
            self._call.reset(self.seconds)

    def remove(self, late: Callable[[], None]) -> None:
        """Do not call *late*; harmless where it was called, or never added."""
        if self._ends.pop(late, None) is not None and not self._ends:
            call, self._call = self._call, None
            if call is not None:
                call.cancel()

    def _look(self) -> None:
        self._call = None
        now = self._clock.seconds()
        try:
            while self._ends:
                late, at_s = next(iter(self._ends.items()))
                if at_s - now > EPSILON_S:
                    break
                del self._ends[late]
                # It may add and remove whatever it likes.
                late()
        finally:
            if self._ends and self._call is None:
                left_s = next(iter(self._ends.values())) - now
                self._call = self._clock.callLater(max(0.0, left_s), self._look)
