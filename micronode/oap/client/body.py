"""A request's body on its way out: as much as the windows and the transport take, and the rest waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.oap.fairness import Backlog


class Way(Protocol):
    """The connection, as far as a request's body needs it."""

    @property
    def full(self) -> bool:
        """Whether the transport has more than it can send at once."""

    def room(self, corr_id: int) -> int | None:
        """Return how many bytes the windows have room for; None: there are no windows."""

    def send_body(self, corr_id: int, data: bytes) -> None:
        """Send body bytes; as many as there is room for, at most."""

    def send_end(self, corr_id: int) -> None:
        """Send the body's end."""

    def starve(self, corr_id: int) -> None:
        """Flush this body when there is room again; it goes to the end of the line."""


@implementer(IConsumer)
class RequestBody:
    """The body of one request, written by a producer or piece by piece.

    What is written while there is no room is held, and the writer is told to stop: a producer is paused, and
    the Deferred of :meth:`send` waits. So what is held is what a writer had at hand.

    :param broke: told what a producer failed with, or that a writer's wait was cancelled: the body will
        never be whole.
    """

    def __init__(self, way: Way, corr_id: int, broke: Callable[[Failure | None], None]) -> None:
        self._way = way
        self._corr_id = corr_id
        self._broke = broke
        self._held = Backlog()
        self._producer: IBodyProducer | None = None
        self._paused = False
        self._waiters: list[Deferred[None]] = []
        #: No more will be written.
        self._whole = False
        #: Nothing more is sent: the end was, or the stream is over.
        self._over = False
        self._failure: Failure | None = None

    @property
    def held(self) -> int:
        """How many bytes wait for room."""
        return len(self._held)

    def produce(self, producer: IBodyProducer) -> None:
        """Send what *producer* has; the end is when it says so."""
        self._producer = producer
        maybeDeferred(producer.startProducing, self).addCallbacks(self._produced, self._failed)
        self.settle()

    def send(self, data: bytes) -> Deferred[None]:
        """Send *data*.

        :return: a Deferred that fires (None) when all of it went and there is room for more. Cancelling it
            leaves half a body, so it cancels the call.
        """
        self.write(data)
        return self._when_free()

    def finish(self) -> Deferred[None]:
        """Send the end, behind what is held.

        :return: a Deferred that fires (None) when it went.
        """
        self._finish()
        return self._when_free()

    def _finish(self) -> None:
        if not self._whole:
            self._whole = True
            self.flush()

    def flush(self) -> None:
        """Send what there is room for."""
        held, corr_id = self._held, self._corr_id
        if held and not self._way.full:
            room = self._way.room(corr_id)
            size = len(held) if room is None else min(room, len(held))
            if size:
                self._way.send_body(corr_id, held.take(size))
        if self._over:
            return
        if held:
            self._way.starve(corr_id)
        elif self._whole:
            self._over = True
            self._way.send_end(corr_id)
        self.settle()

    def settle(self) -> None:
        """Stop the writer, or let it go on, as there is room."""
        full = not self._over and (bool(self._held) or self._way.full)
        producer = self._producer
        if producer is not None and full != self._paused:
            self._paused = full
            if full:
                producer.pauseProducing()
            else:
                producer.resumeProducing()
        if not full:
            self._release(None)

    def stop(self, failure: Failure | None = None) -> None:
        """Send nothing more: the stream is over.

        :param failure: what those who wait are told; None: that all is well, as the answer was whole.
        """
        if not self._over:
            self._failure = failure
        self._over = self._whole = True
        self._held.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._release(failure)

    def _when_free(self) -> Deferred[None]:
        if self._failure is not None:
            return fail(self._failure)
        if self._over or not (self._held or self._way.full):
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._abandoned)
        self._waiters.append(waiter)
        return waiter

    def _abandoned(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            if not self._over:
                self._broke(None)

    def _release(self, failure: Failure | None) -> None:
        # Those who wait now, one at a time: what one of them does may cancel another, or wait anew.
        for _ in range(len(self._waiters)):
            if not self._waiters:
                return
            waiter = self._waiters.pop(0)
            waiter.callback(None) if failure is None else waiter.errback(failure)

    def _produced(self, _: object) -> None:
        if self._producer is not None:
            self._producer = None
            self._finish()

    def _failed(self, failure: Failure) -> None:
        if self._producer is not None:
            self._producer = None
            self._broke(failure)

    # IConsumer, for the producer

    def write(self, data: bytes) -> None:
        """Send body bytes, or hold them."""
        if self._whole or not data:
            return
        if not self._held and not self._way.full:
            room = self._way.room(self._corr_id)
            if room is None or room >= len(data):
                self._way.send_body(self._corr_id, data)
                return
        self._held.append(data)
        self.flush()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Body producers need no registration: the body is known already."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""
