"""Deadlines of a connection and its streams: so many seconds from each start, and they can be held."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from micronode.concurrency.timer import LazyTimer


class Deadline:
    """Calls *expired* when it was started and neither moved nor stopped for *seconds*.

    :param clock: times it.
    :param seconds: how long from :meth:`start` (or the next one) to the call of *expired*.
    :param expired: called without arguments; the deadline has stopped by then.
    """

    __slots__ = ("_clock", "_left_s", "_seconds", "_timer")

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._timer = LazyTimer(clock, expired)
        #: What was left when it was held; None while it is not.
        self._left_s: float | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and neither stopped nor expired (it may be held)."""
        return self._timer.at_s is not None or self._left_s is not None

    @property
    def elapsed_s(self) -> float:
        """How many seconds of it are over; 0 where it does not run."""
        if self._left_s is not None:
            return self._seconds - self._left_s
        if self._timer.at_s is None:
            return 0.0
        return self._seconds - (self._timer.at_s - self._clock.seconds())

    def start(self) -> None:
        """Start, or start anew, with all of its seconds."""
        self._left_s = None
        self._timer.expect(self._clock.seconds() + self._seconds)

    def stop(self) -> None:
        """Stop; it may be started again."""
        self._left_s = None
        self._timer.expect(None)

    def hold(self) -> None:
        """Stand still until :meth:`release`."""
        if self._timer.at_s is not None:
            self._left_s = max(0.0, self._timer.at_s - self._clock.seconds())
            self._timer.expect(None)

    def release(self) -> None:
        """Go on with what was left; harmless when it was not held."""
        left_s, self._left_s = self._left_s, None
        if left_s is not None:
            self._timer.expect(self._clock.seconds() + left_s)

    def close(self) -> None:
        """Stop for good and leave nothing in the reactor."""
        self._left_s = None
        self._timer.close()
