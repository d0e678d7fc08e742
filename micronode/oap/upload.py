"""The body of one request on its way to the facet: an IBodyProducer fed by frames.

What the consumer does not take waits in one buffer. It is bounded by the stream's window, where there is
one; else by the session, which stops reading the connection while the buffer is full.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
class Upload:
    """A request body, of unknown length unless it is whole before anyone asks for it (:meth:`settle`).

    :param held_changed: called with the difference in bytes whenever ``held`` changes.
    :param taken: called with the number of bytes whenever some were written to the consumer, or dropped
        because it has gone; None: the request has no window.
    :param whole: the request ended with its START.
    :ivar held: bytes in the buffer.
    :ivar moved: whether the consumer took something since this was last set to False.
    :ivar passed_on: fires (None) when the whole body was given to the consumer; never fails, and
        never fires for a body that was broken off.
    """

    def __init__(
        self,
        held_changed: Callable[[int], None],
        *,
        whole: bool,
        taken: Callable[[int], None] | None = None,
    ) -> None:
        self.length: int | str = 0 if whole else UNKNOWN_LENGTH
        self.passed_on: Deferred[None] = Deferred()
        self._held_changed = held_changed
        self._taken = taken
        # One flat buffer: a list of one-byte chunks would cost forty times what it holds.
        self._buffer = bytearray()
        self._whole = whole
        self._stopped = False
        self._paused = False
        self.moved = True
        self._consumer: IConsumer | None = None
        self._produced: Deferred[None] | None = None

    @property
    def windowed(self) -> bool:
        """Whether the request has a window."""
        return self._taken is not None

    @property
    def whole(self) -> bool:
        """Whether the request has ended."""
        return self._whole

    @property
    def over(self) -> bool:
        """Whether nothing more is to be passed on: it was all, or nobody takes it."""
        return self._stopped

    @property
    def held(self) -> int:
        """Bytes that wait for the consumer."""
        return len(self._buffer)

    # The session's side

    def receive(self, data: bytes) -> None:
        """Take a chunk from the wire."""
        if not data:
            return
        if self._stopped:
            self._took(len(data))
        elif self._consumer is not None and not self._paused and not self._buffer:
            self.moved = True
            self._consumer.write(data)
            self._took(len(data))
        else:
            self._buffer += data
            self._held_changed(len(data))

    def end(self) -> None:
        """The request is whole."""
        self._whole = True
        self._drain()

    def settle(self) -> None:
        """Say the length, where all of the body is there. It is asked for from now on, and stays as it is."""
        if self._whole:
            self.length = len(self._buffer)

    def abandon(self) -> None:
        """The stream is over: forget what is held, write nothing more.

        The Deferred of startProducing() is left alone: whoever asked the owner has been cancelled, or
        has his answer and closes.
        """
        self._consumer = None
        self._stop()

    # IBodyProducer

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Give the body to *consumer*.

        :return: a Deferred that fires (None) when all of it was written. It never fires when the
            stream ends before that. Cancelling it stops the body.
        """
        if self._consumer is not None:
            raise RuntimeError("a body is handed over whole or not at all, so it starts once")
        if self._stopped:
            return Deferred()
        self._consumer = consumer
        produced = self._produced = Deferred(lambda _: self.stopProducing())
        self._drain()
        return produced

    def pauseProducing(self) -> None:
        """The consumer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The consumer takes more."""
        self._paused = False
        self._drain()

    def stopProducing(self) -> None:
        """The consumer has gone: what still comes is dropped."""
        self._consumer = None
        self._produced = None
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        held = len(self._buffer)
        if held:
            self._buffer = bytearray()
            self._held_changed(-held)
            self._took(held)

    def _took(self, size: int) -> None:
        if self._taken is not None:
            self._taken(size)

    def _drain(self) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        if self._buffer and not self._paused:
            data = bytes(self._buffer)
            self._buffer.clear()
            self.moved = True
            consumer.write(data)
            self._held_changed(-len(data))
            self._took(len(data))
        # Writing, or what followed from it, may have changed everything.
        produced = self._produced
        if self._whole and not self._buffer and produced is not None:
            self._produced = None
            self._consumer = None
            self._stopped = True
            produced.callback(None)
            self.passed_on.callback(None)
