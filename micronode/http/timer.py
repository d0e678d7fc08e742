"""A deadline that moves with every request and hardly ever touches the reactor's heap."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class LazyTimer:
    """Calls *expired* when the deadline has passed.

    A deadline that moves later leaves the delayed call where it is: that one fires too early, looks
    again and goes back to sleep. A kept-alive connection so costs one call a minute, not two a request.
    """

    __slots__ = ("_at_s", "_call", "_clock", "_expired")

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._at_s: float | None = None
        self._call: IDelayedCall | None = None

    def expect(self, at_s: float | None) -> None:
        """Set the deadline, in the clock's seconds; None: there is none."""
        self._at_s = at_s
        if at_s is None:
            return
        if self._call is not None:
            if self._call.getTime() <= at_s:
                return
            self._call.cancel()
        self._call = self._clock.callLater(max(0.0, at_s - self._clock.seconds()), self._tick)

    def close(self) -> None:
        """Stop for good."""
        self._at_s = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self._call = None
        at_s = self._at_s
        if at_s is None:
            return
        if self._clock.seconds() < at_s:
            self.expect(at_s)
        else:
            self._at_s = None
            self._expired()
