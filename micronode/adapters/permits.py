"""How many calls of one owner there may be at a time, and how many may wait for that, and how long."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from micronode.concurrency.backpressure import Gate


class NoPermitError(Exception):
    """There was no permit in time, or too many wait for one."""


class Permits(Gate):
    """A gate at which nobody waits longer than for a while."""

    __slots__ = ("_clock",)

    def __init__(self, clock: IReactorTime, limit: int, queue: int = 0) -> None:
        """:param limit: permits there are.
        :param queue: how many may wait.
        """
        super().__init__(limit, queue=queue)
        self._clock = clock

    def resize(self, limit: int, queue: int = 0) -> None:
        """Set both bounds. Where more are out than *limit*, none is given until there are fewer."""
        self.queue = queue
        self.limit = limit

    def wait_for(self, seconds: float) -> Deferred[None]:
        """Wait for a permit as :meth:`wait` does, after :meth:`try_acquire` had none.

        :param seconds: at most; with none, or where the queue is full, it fails at once.
        :return: fires (None) when a permit was taken; fails with :class:`NoPermitError`. It may be cancelled.
        """
        if seconds <= 0 or not self.has_place:
            return fail(NoPermitError())
        turn = self.wait()
        patience = self._clock.callLater(seconds, turn.cancel)

        def over(result: Failure | None) -> Failure | None:
            if patience.active():
                # It was granted, or whoever waits does not want it any more.
                patience.cancel()
                return result
            return Failure(NoPermitError())

        return turn.addBoth(over)
