"""The HTTP side of a call's answer: an :class:`~micronode.interfaces.IResponseSink` over one connection.

Owns how a NodeError looks in HTTP and that an answer is never longer or shorter than its head says.
The caller may go at any moment, also in the middle of a method here: ``_line`` is None from then on
and everything becomes a no-op.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.concurrency.memory import ANSWER_BYTES, UNDERWAY_BYTES
from micronode.errors import ErrorCode, NodeError, http_status
from micronode.http.flow import Flow
from micronode.http.request import Request
from micronode.http.response import BODILESS, error_parts, head_bytes
from micronode.interfaces import IResponseSink

_log = Logger()
#: Recorded for a caller that left before its answer was whole.
GONE: Final = NodeError(ErrorCode.CANCELLED, "the caller has gone")


class Line(Protocol):
    """The connection, as far as a sink needs it."""

    @property
    def flow(self) -> Flow:
        """What pauses a producer with the transport."""

    def closes(self) -> bool:
        """Tell whether the connection ends with this answer."""

    def send(self, pieces: tuple[bytes, ...]) -> None:
        """Hand bytes to the transport."""

    def answered(self, *, refused: bool, close: bool) -> None:
        """Go on with the next request, or end the connection: the answer is whole."""

    def cut(self) -> None:
        """Reset the connection: the answer is over, and cannot be made whole."""

    def follow(self) -> None:
        """Give up a caller that takes nothing of what this answer and those behind it send, also of little.

        Otherwise it is given up only while the transport's buffer is full.
        """

    @property
    def behind(self) -> bool:
        """Whether bytes were sent that the caller has not taken, as far as the transport can tell."""


class Ledger(Protocol):
    """Who keeps the books, as far as a sink needs it."""

    @property
    def clock(self) -> IReactorTime:
        """What everything is timed by."""

    def date(self) -> str:
        """Return the ``Date`` line."""

    def first_byte(self, request: Request) -> None:
        """Note that the answer has begun."""

    def record(self, request: Request, status: int, error: NodeError | None) -> None:
        """Note how the request ended; once for each."""


@implementer(IResponseSink, IConsumer)
class ResponseSink:
    """Writes the answer to *request*."""

    def __init__(self, line: Line, ledger: Ledger, request: Request) -> None:
        self._line: Line | None = line
        self._ledger = ledger
        self._request = request
        self.started = False
        #: Why it did not end well.
        self.error: NodeError | None = None
        #: True when the answer ended because the connection did.
        self.cut = False
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

    @property
    def clock(self) -> IReactorTime:
        """What everything is timed by."""
        return self._ledger.clock

    @property
    def request_id(self) -> str:
        """The id of the request, for errors that are told in a body."""
        return self._request.request_id

    @property
    def _subscribes(self) -> bool:
        return self._request.route is not None and self._request.route.subscribes

    @property
    def behind(self) -> bool:
        """Whether bytes were sent that the caller has not taken, as far as the transport can tell."""
        return self._line is not None and self._line.behind

    def start(self, head: ResponseHead) -> None:
        """Send *head*."""
        line, data = self._line, self._begin(head)
        if line is not None and data is not None:
            line.send((data,))

    def _begin(self, head: ResponseHead) -> bytes | None:
        """Take *head*, and return it as it is to be sent; None: it is none, or none is wanted any more."""
        line = self._line
        if line is None or self.started:
            return None
        request = self._request
        if request.head.method == "GET" and (full := line.flow.refusal(head.length)) and request.reads:
            # Nothing was changed by it, so that it may be asked again.
            self.fail(full)
            return None
        bodiless = request.head.method == "HEAD" or head.status in BODILESS
        chunked = head.length is None and not bodiless and request.head.http11
        # Without a length or chunks only the end of the connection tells the end of the body.
        close = line.closes() or (head.length is None and not bodiless and not chunked)
        try:
            data = head_bytes(
                head, date=self._ledger.date(), request_id=request.request_id, chunked=chunked, close=close
            )
        except ValueError:
            # Also a UnicodeEncodeError: the owner's fields are no HTTP.
            self.fail(NodeError(ErrorCode.BAD_GATEWAY, "the owner's answer has a malformed head"))
            return None
        self.started = True
        self._status = head.status
        self._bodiless, self._chunked, self._close = bodiless, chunked, close
        self._owed = None if bodiless else head.length
        self._ledger.first_byte(request)
        if head.length is None and not bodiless:
            # It may last, and send so little at a time that a caller who has vanished never fills a buffer.
            line.follow()
        return data

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

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause *producer* while the caller does not read; stop it where the caller has gone."""
        if not streaming:
            raise ValueError("only push producers: nobody pulls here")
        producer = cast(IPushProducer, producer)
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        line = self._line
        if line is None:
            producer.stopProducing()
            return
        self._producer = producer
        line.flow.attach(producer, UNDERWAY_BYTES if self._subscribes else ANSWER_BYTES)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        if self._producer is not None:
            self._producer = None
            if self._line is not None:
                self._line.flow.detach()

    def answer(self, head: ResponseHead, body: bytes) -> Deferred[None]:
        """Send a whole answer: in one piece, where its length is known. The Deferred is as finish()'s."""
        line, data = self._line, self._begin(head)
        if line is not None and data is not None:
            if len(body) == self._owed:
                self._owed = 0
                self._request.bytes_out += len(body)
                line.send((data, body))
            else:
                line.send((data,))
                self.write(body)
        return self.finish()

    def finish(self) -> Deferred[None]:
        """End the answer. Where the transport is full the Deferred fires when it is empty, or gone."""
        return self.end(None)

    def end(self, error: NodeError | None, *, close: bool = False) -> Deferred[None]:
        """End the answer whole; where *error* is why it ends, its body has said so.

        :param close: end the connection with it, whatever the head said.
        :return: as that of :meth:`finish`.
        """
        line = self._line
        if line is None:
            return succeed(None)
        if not self.started:
            raise RuntimeError("finish() before start()")
        if self._owed:
            self._break_length()
            return succeed(None)
        self._end(line)
        self.error = error
        if self._chunked:
            line.send((b"0\r\n\r\n",))
        status = self._status if error is None else http_status(error.code)
        self._ledger.record(self._request, status, error)
        left = line.flow.left()
        line.answered(refused=False, close=self._close or close)
        return left

    def fail(self, error: NodeError) -> None:
        """Answer with *error*.

        After start() it cuts the connection instead, so that nobody takes the part for the whole.
        """
        line = self._line
        if line is None:
            return
        self._end(line)
        self.error = error
        request = self._request
        head, body = error_parts(error, request_id=request.request_id)
        if self.started:
            self.cut = True
            self._ledger.record(request, head.status, error)
            line.cut()
            return
        self.started = True
        close = line.closes()
        data = head_bytes(head, date=self._ledger.date(), request_id=request.request_id, close=close)
        self._ledger.first_byte(request)
        if request.head.method == "HEAD":
            body = b""
        request.bytes_out += len(body)
        line.send((data + body,))
        self._ledger.record(request, head.status, error)
        line.answered(refused=True, close=close)

    def disconnected(self, error: NodeError = GONE) -> None:
        """Take note that the caller has gone: cancel the call, stop its producer.

        :param error: why, for metrics and logs.
        """
        if self._line is None:
            return
        self._line = None
        self.cut = True
        self.error = error
        request = self._request
        self._ledger.record(request, http_status(error.code), error)
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
            line.flow.detach()

    def _break_length(self) -> None:
        _log.error(
            "route {route}: the body does not have the length its head says",
            route=self._request.route.name if self._request.route is not None else "",
        )
        self.fail(NodeError(ErrorCode.INTERNAL, "the body does not have the length its head says"))
