"""What a caller gets: :class:`OAPResponse`, and :class:`OAPError` where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer
from zope.interface import implementer

from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES


class OAPError(Exception):
    """A call, or the connection, failed.

    :ivar code: the status, as in the error table (404, 503, …).
    :ivar name: the error's name (``not_found``, ``owner_unavailable``, …).
    :ivar message: what the node says about it.
    :ivar retryable: whether the same call may do better later.
    :ivar retry_after_ms: when, if the node said so.
    """

    def __init__(
        self,
        code: int,
        name: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(code, name, message)
        self.code = code
        self.name = name
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms

    def __str__(self) -> str:
        return f"{self.code} {self.name}: {self.message}"

    @classmethod
    def from_code(cls, code: ErrorCode, message: str, *, retry_after_ms: int | None = None) -> OAPError:
        """Make an error of this side's own."""
        return cls(code.status, code.value, message, retryable=code.retryable, retry_after_ms=retry_after_ms)

    @classmethod
    def from_object(cls, code: int, error: Mapping[str, Any]) -> OAPError:
        """Read an error object; members that are missing or no good fall back to what *code* says."""
        name, message = error.get("code"), error.get("message")
        wait = error.get("retry_after_ms")
        return cls(
            code,
            name if isinstance(name, str) else _name_of(code),
            message if isinstance(message, str) else "",
            retryable=error.get("retryable") is True,
            retry_after_ms=wait if isinstance(wait, int) and not isinstance(wait, bool) else None,
        )


def _name_of(code: int) -> str:
    return next((each.value for each in ErrorCode if each.status == code), "unknown")


class Source(Protocol):
    """Where a response comes from: the connection, as far as it matters here."""

    def hold(self, response: OAPResponse) -> None:
        """Read nothing from the node until *response* lets go."""

    def let_go(self, response: OAPResponse) -> None:
        """Read again, if no other response holds on."""

    def give_up(self, response: OAPResponse) -> None:
        """Cancel the call of *response*."""


@implementer(IPushProducer)
class OAPResponse:
    """An answer: its head is here, its body comes as it is read.

    Until :meth:`deliver` or :meth:`read` is called, up to 128 KiB of body are kept; more stops the
    reading of the whole connection, and so does a consumer that pauses. So an answer that is of no use
    must be given up with :meth:`abort`.

    :ivar head: ``status``, and where known ``content_type``, ``length``, ``etag``, ``range``, ``verified``.
    """

    def __init__(self, source: Source, head: dict[str, Any]) -> None:
        self.head = head
        self._source = source
        self._buffer = bytearray()
        self._consumer: IConsumer | None = None
        self._delivered: Deferred[None] | None = None
        self._taken = False
        self._paused = False
        #: The terminal frame has come.
        self._ended = False
        self._error: OAPError | None = None

    def deliver(self, consumer: IConsumer) -> Deferred[None]:
        """Write the body to *consumer* as it comes; once.

        :return: a Deferred that fires (None) when the body is whole, and fails with :class:`OAPError`
            when it will not be. Cancelling it cancels the call.
        """
        if self._taken:
            raise RuntimeError("a body is delivered once")
        self._taken = True
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

    def abort(self) -> None:
        """Give the answer up: the call is cancelled, and a pending :meth:`deliver` fails."""
        self._fail(OAPError.from_code(ErrorCode.CANCELLED, "given up by the caller"))

    # The connection's side

    def receive(self, data: bytes) -> None:
        """Take body bytes."""
        consumer = self._consumer
        if not data:
            return
        if consumer is not None and not self._paused and not self._buffer:
            consumer.write(data)
        elif not self._taken or consumer is not None:
            self._buffer += data
            if len(self._buffer) >= STREAM_WINDOW_BYTES:
                self._source.hold(self)

    def end(self, error: OAPError | None) -> None:
        """Take note that no more will come."""
        self._ended = True
        self._error = error
        if error is not None:
            # A body that is void is not worth waiting for.
            self._buffer.clear()
        self._drain()

    # IPushProducer, for the consumer

    def pauseProducing(self) -> None:
        """Stop the connection: the consumer is full."""
        if self._consumer is not None and not self._paused:
            self._paused = True
            self._source.hold(self)

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
        # Writing may have paused, or ended, everything.
        if not self._paused and not self._buffer:
            self._source.let_go(self)
        if self._ended and not self._buffer and self._consumer is not None:
            self._finish(self._error)

    def _finish(self, error: OAPError | None) -> None:
        consumer, delivered = self._consumer, self._delivered
        self._consumer = self._delivered = None
        if consumer is not None:
            consumer.unregisterProducer()
        self._source.let_go(self)
        if delivered is not None:
            if error is None:
                delivered.callback(None)
            else:
                delivered.errback(error)

    def _fail(self, error: OAPError) -> None:
        delivered, self._delivered = self._delivered, None
        self._drop()
        if delivered is not None:
            delivered.errback(error)

    def _drop(self) -> None:
        """Forget what is held and tell the node."""
        self._taken = True
        self._delivered = None
        self._buffer.clear()
        if not self._ended:
            self._ended = True
            self._source.give_up(self)
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
