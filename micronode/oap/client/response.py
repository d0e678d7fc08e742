"""What a caller gets: :class:`OAPResponse`, the head of an answer and its body as it is taken."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer
from zope.interface import implementer

from micronode.oap.client.errors import OAPError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES

__all__ = ["OAPError", "OAPResponse", "Source"]


class Source(Protocol):
    """Where a body comes from: the call, as far as it matters here."""

    def taken(self, size: int) -> None:
        """Note that *size* bytes of the body are held here no more."""

    def hold(self) -> None:
        """Let nothing more come until :meth:`let_go`, unless a window sees to that."""

    def let_go(self) -> None:
        """Let more come."""

    def give_up(self) -> None:
        """Cancel the call."""


@implementer(IPushProducer)
class OAPResponse:
    """An answer: its head is here, its body comes as it is taken, in one of three ways: :meth:`deliver` it to
    a consumer, :meth:`read` it whole, or :meth:`take` it piece by piece.

    What is not taken yet is held, 128 KiB at most. Then the node stops sending, and what it waits for is
    this stream alone. (A node that offers no windows stops the whole connection.) So an answer that is of
    no use must be given up with :meth:`abort`.

    :ivar head: ``status``, and where known ``content_type``, ``length``, ``etag``, ``range``, ``verified``.
    """

    def __init__(self, source: Source, head: dict[str, Any]) -> None:
        self.head = head
        self._source = source
        self._buffer = bytearray()
        self._consumer: IConsumer | None = None
        self._delivered: Deferred[None] | None = None
        self._waiting: Deferred[bytes] | None = None
        #: What is waited for, at most.
        self._most = 0
        #: Whether the body was given to somebody, by which way ever.
        self._claimed = False
        self._paused = False
        #: Nothing more comes: the terminal frame has come, or we gave up.
        self._ended = False
        self._error: Exception | None = None

    @property
    def held(self) -> int:
        """How many bytes wait to be taken."""
        return len(self._buffer)

    def deliver(self, consumer: IConsumer) -> Deferred[None]:
        """Write the body to *consumer* as it comes; once.

        :return: a Deferred that fires (None) when the body is whole, and fails with :class:`OAPError`
            when it will not be. Cancelling it cancels the call.
        """
        if self._claimed:
            raise RuntimeError("a body is delivered once")
        self._claimed = True
        delivered = self._delivered = Deferred(lambda _: self._drop())
        self._consumer = consumer
        consumer.registerProducer(self, True)
        self._drain()
        return delivered

    def read(self, max_bytes: int) -> Deferred[bytes]:
        """Collect the body.

        :return: a Deferred that fires with it; fails with :class:`OAPError`, ``body_too_large`` when it
            is longer than *max_bytes*.
        """
        collector = _Collector(max_bytes)
        return self.deliver(collector).addCallback(lambda _: bytes(collector.data))

    def take(self, max_bytes: int) -> Deferred[bytes]:
        """Take the next piece of the body; one at a time.

        :return: a Deferred that fires with at most *max_bytes* as soon as there are any, with ``b""`` when
            the body was whole; fails with :class:`OAPError`. Cancelling it cancels the call.
        """
        if self._delivered is not None or self._waiting is not None or max_bytes < 1:
            raise RuntimeError("a body is taken piece by piece, one at a time, or delivered")
        self._claimed = True
        if self._buffer:
            data = bytes(self._buffer[:max_bytes])
            del self._buffer[:max_bytes]
            self._took(len(data))
            return succeed(data)
        if self._ended:
            return succeed(b"") if self._error is None else fail(self._error)
        self._most = max_bytes
        waiting = self._waiting = Deferred(lambda _: self._drop())
        return waiting

    def abort(self) -> None:
        """Give the answer up: the call is cancelled, and what waits for its body fails."""
        self._fail(OAPError.from_code(ErrorCode.CANCELLED, "given up by the caller"))

    # The connection's side

    def receive(self, data: bytes) -> None:
        """Take body bytes."""
        consumer = self._consumer
        if self._ended or not data:
            return
        if consumer is not None and not self._paused and not self._buffer:
            consumer.write(data)
            self._source.taken(len(data))
            return
        waiting, self._waiting = self._waiting, None
        piece = b""
        if waiting is not None:
            piece, data = data[: self._most], data[self._most :]
        self._buffer += data
        if len(self._buffer) >= STREAM_WINDOW_BYTES:
            self._source.hold()
        if waiting is not None:
            self._source.taken(len(piece))
            waiting.callback(piece)

    def end(self, error: OAPError | None) -> None:
        """Take note that no more will come."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        if error is not None:
            # A body that is void is not worth waiting for.
            self._buffer.clear()
        self._drain()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(b"") if error is None else waiting.errback(error)

    # IPushProducer, for the consumer

    def pauseProducing(self) -> None:
        """Hold what comes: the consumer is full."""
        if self._consumer is not None and not self._paused:
            self._paused = True
            self._source.hold()

    def resumeProducing(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._drain()

    def stopProducing(self) -> None:
        """Cancel the call: the consumer has gone."""
        self.abort()

    def _drain(self) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        if self._buffer and not self._paused:
            data = bytes(self._buffer)
            self._buffer.clear()
            consumer.write(data)
            self._source.taken(len(data))
        # Writing may have paused, or ended, everything.
        if not self._paused and not self._buffer:
            self._source.let_go()
        if self._ended and not self._buffer and self._consumer is not None:
            self._finish(self._error)

    def _took(self, size: int) -> None:
        self._source.taken(size)
        if len(self._buffer) < STREAM_WINDOW_BYTES:
            self._source.let_go()

    def _finish(self, error: Exception | None) -> None:
        consumer, delivered = self._consumer, self._delivered
        self._consumer = self._delivered = None
        if consumer is not None:
            consumer.unregisterProducer()
        self._source.let_go()
        if delivered is not None:
            if error is None:
                delivered.callback(None)
            else:
                delivered.errback(error)

    def _fail(self, error: OAPError) -> None:
        delivered, waiting = self._delivered, self._waiting
        self._drop(error)
        for each in (delivered, waiting):
            if each is not None:
                each.errback(error)

    def _drop(self, error: OAPError | None = None) -> None:
        """Forget what is held and tell the node."""
        self._claimed = True
        self._delivered = self._waiting = None
        if self._buffer or not self._ended:
            self._buffer.clear()
            self._error = error or OAPError.from_code(ErrorCode.CANCELLED, "cancelled by the caller")
        if not self._ended:
            self._ended = True
            self._source.give_up()
        self._finish(None)


@implementer(IConsumer)
class _Collector:
    """Keeps what it is given, up to a limit."""

    def __init__(self, max_bytes: int) -> None:
        self.data = bytearray()
        self._max_bytes = max_bytes
        self._producer: OAPResponse | None = None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Remember the response, to stop it."""
        assert isinstance(producer, OAPResponse)
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Nothing more will come."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Take *data*, or give the call up."""
        self.data += data
        producer = self._producer
        if len(self.data) > self._max_bytes and producer is not None:
            limit = self._max_bytes
            producer._fail(
                OAPError.from_code(ErrorCode.BODY_TOO_LARGE, f"the answer is longer than {limit} bytes")
            )
