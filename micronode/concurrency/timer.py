"""A deadline that moves with every request or frame and hardly ever touches the reactor's heap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Sums of floats differ in their last digits; below this a deadline has passed.
EPSILON_S: Final = 1e-6


class LazyTimer:
    """Calls *expired* when the deadline has passed.

    A deadline that moves later leaves the delayed call where it is: that one fires too early, looks
    again and goes back to sleep. A busy connection so costs one call a deadline, not two heap
    operations a frame or request.

    :ivar at_s: the deadline, in the clock's seconds; None while there is none.
    """

    __slots__ = ("_call", "_clock", "_expired", "at_s")

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self.at_s: float | None = None
        self._clock = clock
        self._expired = expired
        self._call: IDelayedCall | None = None

    def expect(self, at_s: float | None) -> None:
        """Set the deadline, in the clock's seconds; None: there is none."""
        self.at_s = at_s
        if at_s is None:
            return
        if self._call is not None:
            if self._call.getTime() <= at_s:
                return
            self._call.cancel()
        self._call = self._clock.callLater(max(0.0, at_s - self._clock.seconds()), self._look)

    def close(self) -> None:
        """Stop for good, and leave nothing in the reactor."""
        self.at_s = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        self._call = None
        at_s = self.at_s
        if at_s is None:
            return
        if at_s - self._clock.seconds() > EPSILON_S:
            self.expect(at_s)
        else:
            self.at_s = None
            self._expired()
