"""Deadlines of a connection and its streams, cheap enough to be moved with every frame.

Moving a deadline only notes the new moment; the reactor's timer is set again when it goes off too
early. A busy connection therefore costs one timer a deadline, not two heap operations a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Sums of floats differ in their last digits; below this a deadline has passed.
_EPSILON_S: Final = 1e-6


class Deadline:
    """Calls *expired* when it was started and neither moved nor stopped for *seconds*.

    :param clock: times it.
    :param seconds: how long from :meth:`start` (or the next one) to the call of *expired*.
    :param expired: called without arguments; the deadline has stopped by then.
    """

    __slots__ = ("_call", "_clock", "_expired", "_left_s", "_seconds", "_until_s")

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expired = expired
        self._call: IDelayedCall | None = None
        #: The moment it expires; None while it is stopped or held.
        self._until_s: float | None = None
        #: What was left when it was held; None while it is not.
        self._left_s: float | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and neither stopped nor expired (it may be held)."""
        return self._until_s is not None or self._left_s is not None

    def start(self) -> None:
        """Start, or start anew, with all of its seconds."""
        self._left_s = None
        self._until_s = self._clock.seconds() + self._seconds
        if self._call is None:
            self._call = self._clock.callLater(self._seconds, self._look)

    def stop(self) -> None:
        """Stop; it may be started again."""
        self._until_s = self._left_s = None

    def hold(self) -> None:
        """Stand still until :meth:`release`."""
        if self._until_s is not None:
            self._left_s = max(0.0, self._until_s - self._clock.seconds())
            self._until_s = None

    def release(self) -> None:
        """Go on with what was left; harmless when it was not held."""
        left_s = self._left_s
        if left_s is None:
            return
        self._left_s = None
        self._until_s = self._clock.seconds() + left_s
        if self._call is None:
            self._call = self._clock.callLater(left_s, self._look)
        elif self._call.getTime() > self._until_s:
            self._call.reset(left_s)

    def close(self) -> None:
        """Stop for good and leave nothing in the reactor."""
        self.stop()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        self._call = None
        if self._until_s is None:
            return
        left_s = self._until_s - self._clock.seconds()
        if left_s > _EPSILON_S:
            self._call = self._clock.callLater(left_s, self._look)
            return
        self._until_s = None
        self._expired()
