"""How many calls of one owner there may be at a time, and how many may wait for that, and how long."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.concurrency.backpressure import Gate


class NoPermitError(Exception):
    """There was no permit in time, or too many wait for one."""


class _Waiter:
    """One that waits."""

    __slots__ = ("got", "timer")
    timer: IDelayedCall

    def __init__(self, got: Deferred[None]) -> None:
        self.got = got


class Permits:
    """A gate with a bounded queue: first come, first served.

    A permit goes from who gives it back to who waits longest, so that nobody can step in between.
    """

    def __init__(self, clock: IReactorTime, limit: int, queue: int = 0) -> None:
        """:param limit: permits there are.
        :param queue: how many may wait.
        """
        self._clock = clock
        self._gate = Gate(limit)
        self._queue = queue
        self._waiters: deque[_Waiter] = deque()
        self._serving = False

    @property
    def in_use(self) -> int:
        """How many are out."""
        return self._gate.in_use

    @property
    def limit(self) -> int:
        """How many there are."""
        return self._gate.limit

    @property
    def room(self) -> int:
        """How many may wait."""
        return self._queue

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def resize(self, limit: int, queue: int = 0) -> None:
        """Set both bounds. Where more are out than *limit*, none is given until there are fewer."""
        self._gate.limit = limit
        self._queue = queue
        self._serve()

    def try_acquire(self) -> bool:
        """Take a permit if one is free and nobody waits; who got one calls :meth:`release` exactly once."""
        return not self._waiters and self._gate.try_acquire()

    def wait(self, wait_s: float) -> Deferred[None]:
        """Wait for a permit, after :meth:`try_acquire` had none.

        :param wait_s: seconds at most; with none, or where the queue is full, it fails at once.
        :return: fires (None) when a permit was taken; fails with :class:`NoPermitError`. It may be cancelled.
        """
        if wait_s <= 0 or len(self._waiters) >= self._queue:
            return fail(NoPermitError())
        waiter = _Waiter(Deferred(lambda _: self._leave(waiter)))
        waiter.timer = self._clock.callLater(wait_s, self._give_up, waiter)
        self._waiters.append(waiter)
        return waiter.got

    def release(self) -> None:
        """Give a permit back."""
        self._gate.release()
        if self._waiters:
            self._serve()

    def _serve(self) -> None:
        # One at a time: who gets one may give it back, or leave others, before the next. And here alone, or
        # a queue of calls that each end at once would be as deep a stack.
        if self._serving:
            return
        self._serving = True
        try:
            while self._waiters and self._gate.try_acquire():
                waiter = self._waiters.popleft()
                waiter.timer.cancel()
                waiter.got.callback(None)
        finally:
            self._serving = False

    def _leave(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.timer.cancel()

    def _give_up(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.got.errback(NoPermitError())
