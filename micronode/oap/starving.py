"""How long an answer waits for CREDIT: not too long at a time, and not most of the time.

What a stream with a window takes is what it gives CREDIT for. One that gives a byte of it now and then is as
slow as one that reads a byte now and then. Only the time counts in which the window is empty: what an owner
is long in sending is no fault of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from micronode.concurrency.stall import WINDOW_S
from micronode.oap.timers import Deadline


class Starving:
    """Calls *expired* once, when one wait lasted *seconds*, or too little CREDIT came for :data:`WINDOW_S`.

    :param min_rate: bytes a second; 0: any number will do.
    """

    __slots__ = ("_clock", "_deadline", "_expired", "_granted", "_min_rate", "_since_s", "_waited_s")

    def __init__(
        self, clock: IReactorTime, seconds: float, expired: Callable[[], None], *, min_rate: int
    ) -> None:
        self._clock = clock
        self._min_rate = min_rate
        self._expired = expired
        self._deadline = Deadline(clock, seconds, expired)
        #: When the wait began that lasts, or since when it is not held; None: there is none.
        self._since_s: float | None = None
        #: Of the waits that are looked at together: how long they were, and what there had been CREDIT for
        #: before. What came before the first wait counts for it.
        self._waited_s = 0.0
        self._granted = 0

    def start(self) -> None:
        """The window is empty."""
        self._deadline.start()
        self._since_s = self._clock.seconds()

    def stop(self, up_to: int) -> None:
        """There is room in it; *up_to* is how much of the answer there has been CREDIT for in all."""
        self._deadline.stop()
        self._count()
        if self._waited_s < WINDOW_S:
            return
        enough = up_to - self._granted >= self._min_rate * self._waited_s
        self._waited_s, self._granted = 0.0, up_to
        if not enough:
            self.close()
            self._expired()

    def hold(self) -> None:
        """Let no time count until :meth:`release`: nothing of the caller is read."""
        self._count()
        self._deadline.hold()

    def release(self) -> None:
        """Go on; harmless when it was not held."""
        self._deadline.release()
        if self._deadline.running and self._since_s is None:
            self._since_s = self._clock.seconds()

    def close(self) -> None:
        """Stop for good, and leave nothing in the reactor."""
        self._since_s = None
        self._deadline.close()

    def _count(self) -> None:
        if self._since_s is not None:
            self._waited_s += self._clock.seconds() - self._since_s
            self._since_s = None
