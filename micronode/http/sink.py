"""The HTTP side of a call's answer: an :class:`~micronode.interfaces.IResponseSink` over one connection.

Owns how a NodeError looks in HTTP and that an answer is never longer or shorter than its head says.
The caller may go at any moment, also in the middle of a method here: ``_line`` is None from then on
and everything becomes a no-op.
"""

from __future__ import annotations

from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.http.request import Request
from micronode.http.response import BODILESS, error_parts, head_bytes
from micronode.interfaces import IResponseSink

_log = Logger()
#: Recorded for a caller that left before its answer was whole.
GONE: Final = NodeError(ErrorCode.CANCELLED, "the caller has gone")


class Line(Protocol):
    """The connection, as far as a sink needs it."""

    def closes(self) -> bool:
        """Tell whether the connection ends with this answer."""

    def date(self) -> str:
        """Return the ``Date`` line."""

    def send(self, pieces: tuple[bytes, ...]) -> None:
        """Hand bytes to the transport."""

    def attach(self, producer: IPushProducer) -> None:
        """Pause and resume *producer* with the transport."""

    def detach(self) -> None:
        """Forget the producer."""

    def head_sent(self, request: Request) -> None:
        """Note that the answer has begun."""

    def answered(self, request: Request, status: int, error: NodeError | None, *, close: bool) -> None:
        """Note that the answer is whole; the next request may be read."""

    def broken(self, request: Request, status: int, error: NodeError) -> None:
        """Cut the connection: the answer cannot be made whole."""

    def left(self, request: Request, status: int, error: NodeError) -> None:
        """Note that the caller has gone without a whole answer."""


@implementer(IResponseSink, IConsumer)
class ResponseSink:
    """Writes the answer to *request*."""

    def __init__(self, line: Line, request: Request) -> None:
        self._line: Line | None = line
        self._request = request
        self.started = False
        self._status = 0
        self._close = False
        self._chunked = False
        #: The head promises no body (HEAD, 204, 304): what is written is dropped.
        self._bodiless = False
        #: Bytes still owed; None: no length was promised.
        self._owed: int | None = None
        self._producer: IPushProducer | None = None

    @property
    def ended(self) -> bool:
        """True once the answer ended, well or not, or the caller has gone."""
        return self._line is None

    def start(self, head: ResponseHead) -> None:
        """Send *head*."""
        line = self._line
        if line is None or self.started:
            return
        request = self._request
        bodiless = request.head.method == "HEAD" or head.status in BODILESS
        chunked = head.length is None and not bodiless and request.head.http11
        # Without a length or chunks only the end of the connection tells the end of the body.
        close = line.closes() or (head.length is None and not bodiless and not chunked)
        try:
            data = head_bytes(
                head, date=line.date(), request_id=request.request_id, chunked=chunked, close=close
            )
        except ValueError:
            # Also a UnicodeEncodeError: the owner's fields are no HTTP.
            self.fail(NodeError(ErrorCode.BAD_GATEWAY, "the owner's answer has a malformed head"))
            return
        self.started = True
        self._status = head.status
        self._bodiless, self._chunked, self._close = bodiless, chunked, close
        self._owed = None if bodiless else head.length
        line.head_sent(request)
        line.send((data,))

    def write(self, data: bytes) -> None:
        """Send body bytes. More than the head promised cuts the connection."""
        line = self._line
        if line is None or not data or self._bodiless:
            return
        if not self.started:
            raise RuntimeError("write() before start()")
        if self._owed is not None:
            if len(data) > self._owed:
                self._break_length()
                return
            self._owed -= len(data)
        self._request.bytes_out += len(data)
        if self._chunked:
            line.send((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            line.send((data,))

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause *producer* while the caller does not read; stop it where the caller has gone."""
        if not streaming:
            raise ValueError("only push producers: nobody pulls here")
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        line = self._line
        if line is None:
            producer.stopProducing()
            return
        self._producer = producer
        line.attach(producer)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        if self._producer is not None:
            self._producer = None
            if self._line is not None:
                self._line.detach()

    def finish(self) -> Deferred[None]:
        """End the answer. The Deferred has fired already: nothing is buffered here."""
        line = self._line
        if line is not None:
            if not self.started:
                raise RuntimeError("finish() before start()")
            if self._owed:
                self._break_length()
            else:
                self._end(line)
                if self._chunked:
                    line.send((b"0\r\n\r\n",))
                line.answered(self._request, self._status, None, close=self._close)
        return succeed(None)

    def fail(self, error: NodeError) -> None:
        """Answer with *error*; after start() cut the connection, so that nobody takes the part for the whole."""
        line = self._line
        if line is None:
            return
        self._end(line)
        request = self._request
        head, body = error_parts(error, request_id=request.request_id)
        if self.started:
            line.broken(request, head.status, error)
            return
        self.started = True
        close = line.closes()
        data = head_bytes(head, date=line.date(), request_id=request.request_id, close=close)
        line.head_sent(request)
        if request.head.method == "HEAD":
            body = b""
        request.bytes_out += len(body)
        line.send((data + body,))
        line.answered(request, head.status, error, close=close)

    def disconnected(self) -> None:
        """Take note that the caller has gone: cancel the call, stop its producer."""
        line = self._line
        if line is None:
            return
        self._line = None
        request = self._request
        line.left(request, ErrorCode.CANCELLED.status, GONE)
        if request.running is not None:
            request.running.cancel()
        # Cancelling unregisters it as a rule; a producer that nobody cancelled must not go on.
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def _end(self, line: Line) -> None:
        self._line = None
        if self._producer is not None:
            self._producer = None
            line.detach()

    def _break_length(self) -> None:
        _log.error(
            "route {route}: the body does not have the length its head says",
            route=self._request.route.name if self._request.route is not None else "",
        )
        self.fail(NodeError(ErrorCode.INTERNAL, "the body does not have the length its head says"))
