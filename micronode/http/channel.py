"""One HTTP/1.x connection: feeds the head and body readers, runs one request at a time, keeps the clock.

Why not twisted.web's HTTPChannel: it reads heads line by line without a deadline, spools bodies to
disk, lets a response be buffered without a bound's watch, and answers what it dislikes with a bare
status line. Overriding that leaves nothing of it; so this is a Protocol of its own over the sans-IO
readers in ``head`` and ``framing``.

A connection is in one :class:`State`. Requests are served in order: what is pipelined behind the one
being served waits in ``_buffer``, up to 16 KiB and one read, then the transport is paused. Responses
are not buffered here at all: while the transport's buffer is full the producer of the running call is
paused and no further request is begun.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.errors import ErrorCode, NodeError
from micronode.http.body import BytesBody
from micronode.http.framing import ChunkedBody, SizedBody
from micronode.http.head import HeadReader, RequestHead
from micronode.http.limits import MAX_PIPELINED_BYTES
from micronode.http.request import Request, make_request, make_unreadable
from micronode.http.sink import ResponseSink
from micronode.http.stall import StallWatch
from micronode.oap.wire.limits import LINGER_BYTES, LINGER_S

if TYPE_CHECKING:
    from micronode.http.site import HttpSite

_log = Logger()


class State(Enum):
    """What a connection is doing."""

    #: Waiting for a head, or in the middle of one.
    HEAD = auto()
    #: Collecting the body of a request whose head was accepted.
    BODY = auto()
    #: The request runs, its answer is on its way.
    CALL = auto()
    #: The last answer is sent; input is thrown away so that the answer is not lost to a reset.
    LINGER = auto()
    #: Closing, or closed.
    CLOSED = auto()


@implementer(IPushProducer)
class HttpChannel(Protocol):
    """One connection of *site*.

    It is registered as the transport's producer for as long as it lives, so that it hears of a full
    buffer whoever filled it.
    """

    transport: Any  # TCP, TLS or Unix; what differs is asked for where it is used

    def __init__(self, site: HttpSite) -> None:
        self._site = site
        self._clock = site.clock
        self._state = State.HEAD
        self._buffer = bytearray()
        self._reader = HeadReader()
        self._request: Request | None = None
        self._body: SizedBody | ChunkedBody | None = None
        #: When the current wait began: for a head, for a body, between requests.
        self._since_s = 0.0
        self._head_begun = False
        self._served = False
        self._pumping = False
        self._reading = True
        self._full = False
        self._producer: IPushProducer | None = None
        self._discarded = 0
        self._deadline_s: float | None = None
        self._timer: IDelayedCall | None = None
        self._watch: StallWatch | None = None
        self.peer = ""

    # Protocol

    def connectionMade(self) -> None:
        """Start the clock."""
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self.peer = getattr(transport.getPeer(), "host", None) or "unix"
        transport.registerProducer(self, True)
        self._watch = StallWatch(self._clock, transport, self.abort)
        # The first head has its deadline from here on: a connection costs as much as a request.
        self._since_s = self._clock.seconds()
        self._head_begun = True
        self._site.opened(self)
        self._settle()

    def dataReceived(self, data: bytes) -> None:
        """Take what came, whatever of whichever request it is."""
        if self._state is State.LINGER:
            self._discard(len(data))
        elif self._state is not State.CLOSED:
            self._buffer += data
            self._pump()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Cancel what runs for the caller."""
        self._state = State.CLOSED
        self._deadline_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            self._watch.close()
        self._buffer.clear()
        self._body = None
        self._site.closed(self)
        request, self._request = self._request, None
        if request is not None:
            request.sink.disconnected()
        self._producer = None

    # IPushProducer, towards the transport

    def pauseProducing(self) -> None:
        """Hold back: the transport's buffer is full."""
        self._full = True
        if self._watch is not None:
            self._watch.start(self._site.deadlines.write_stall_s)
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on: the transport's buffer is empty."""
        self._full = False
        if self._watch is not None:
            self._watch.stop()
        if self._producer is not None:
            self._producer.resumeProducing()
        self._pump()

    def stopProducing(self) -> None:
        """Do nothing: :meth:`connectionLost` follows."""

    # Reading

    def _pump(self) -> None:
        """Read as many requests as the buffer has and the transport has room for answers."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._buffer and not self._full and self._step():
                pass
        finally:
            self._pumping = False
        self._settle()

    def _step(self) -> bool:
        """Do the next thing the buffer allows; False: more input, or the end of a call, must come first."""
        if self._state is State.HEAD:
            return self._read_head()
        if self._state is State.BODY:
            return self._read_body()
        return False

    def _read_head(self) -> bool:
        if not self._head_begun:
            self._head_begun = True
            self._since_s = self._clock.seconds()
        try:
            head = self._reader.read(self._buffer)
        except NodeError as error:
            self._refuse_unreadable(error)
            return False
        if head is None:
            return False
        self._head_begun = False
        self._served = True
        self._begin(head)
        return True

    def _begin(self, head: RequestHead) -> None:
        request = make_request(head, peer=self.peer, began_s=self._clock.seconds())
        self._own(request)
        try:
            self._site.routes.admit(request)
        except NodeError as error:
            request.sink.fail(error)
            return
        assert request.route is not None
        if head.has_body:
            self._state = State.BODY
            self._since_s = request.began_s
            length, cap = head.body_length, request.route.max_body_bytes
            assert cap is not None
            self._body = ChunkedBody(cap) if length is None else SizedBody(length)
            if head.expects_continue:
                self.send((b"HTTP/1.1 100 Continue\r\n\r\n",))
        else:
            self._run(request, None if request.route.max_body_bytes is None else BytesBody(b""))

    def _own(self, request: Request) -> None:
        request.sink = ResponseSink(self, request)
        self._request = request
        self._state = State.CALL

    def _read_body(self) -> bool:
        body, request = self._body, self._request
        assert body is not None
        assert request is not None
        try:
            whole = body.feed(self._buffer)
        except NodeError as error:
            request.bytes_in = len(body.data)
            request.sink.fail(error)
            return False
        request.bytes_in = len(body.data)
        if whole:
            self._body = None
            self._state = State.CALL
            self._run(request, BytesBody(bytes(body.data)))
        return whole

    def _refuse_unreadable(self, error: NodeError) -> None:
        request = make_unreadable(peer=self.peer, began_s=self._clock.seconds())
        self._own(request)
        request.sink.fail(error)

    # Running

    def _run(self, request: Request, body: BytesBody | None) -> None:
        request.body = body
        request.dispatched = True
        try:
            running = self._site.routes.run(request)
        except Exception:
            self._defect(request, Failure())
            return
        if not isinstance(running, Deferred):
            running = None
        if request.sink.ended:
            if running is not None and request is not self._request and not running.called:
                # The caller left, or was cut off, while the handler was still being called.
                running.addErrback(lambda _: None)
                running.cancel()
            return
        if running is None:
            self._defect(request, None)
            return
        request.running = running
        running.addCallbacks(self._ran, self._failed, (request,), None, (request,), None)

    def _ran(self, _: None, request: Request) -> None:
        request.running = None
        if not request.sink.ended:
            self._defect(request, None)

    def _failed(self, failure: Failure, request: Request) -> None:
        request.running = None
        if not request.sink.ended:
            self._defect(request, failure)

    def _defect(self, request: Request, failure: Failure | None) -> None:
        route = request.route.name if request.route is not None else ""
        if failure is not None:
            _log.failure("route {route} failed", failure=failure, route=route)
        else:
            _log.error("route {route} left its request unanswered", route=route)
        request.sink.fail(NodeError(ErrorCode.INTERNAL, "the node could not answer this"))

    # Line, towards the sink

    def closes(self) -> bool:
        """Tell whether the connection ends with the answer being begun."""
        request = self._request
        return (
            self._site.draining
            or request is None
            or not request.head.keep_alive
            or self._body is not None
            # A refusal from the head: its body is still to come, and nobody will read it.
            or (request.head.has_body and not request.dispatched)
        )

    def date(self) -> str:
        """Return the ``Date`` line."""
        return self._site.date()

    def send(self, pieces: tuple[bytes, ...]) -> None:
        """Hand *pieces* to the transport."""
        self.transport.writeSequence(pieces)

    def attach(self, producer: IPushProducer) -> None:
        """Pause and resume *producer* with the transport, from now on."""
        self._producer = producer
        if self._full:
            producer.pauseProducing()

    def detach(self) -> None:
        """Forget the producer."""
        self._producer = None

    def head_sent(self, request: Request) -> None:
        """Measure the time to the first byte."""
        self._site.first_byte(request)

    def answered(self, request: Request, status: int, error: NodeError | None, *, close: bool) -> None:
        """Go on with the next request, or end the connection."""
        self._site.record(request, status, error)
        self._request = None
        self._body = None
        if close:
            if error is not None or self._buffer:
                self._linger()
            else:
                self._shut()
            return
        self._state = State.HEAD
        self._since_s = self._clock.seconds()
        self._pump()

    def broken(self, request: Request, status: int, error: NodeError) -> None:
        """Reset the connection: a clean end would make a part look whole."""
        self._request = None
        self._site.record(request, status, error)
        self.abort()

    def left(self, request: Request, status: int, error: NodeError) -> None:
        """Count a caller that did not wait."""
        self._site.record(request, status, error)

    # Deadlines and flow

    def _settle(self) -> None:
        """Bring reading and the timer in line with the state."""
        if self._state in (State.LINGER, State.CLOSED):
            return
        waiting = self._state is State.CALL or self._full
        read = not waiting or len(self._buffer) <= MAX_PIPELINED_BYTES
        if read != self._reading:
            self._reading = read
            if read:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()
        self._expect(self._deadline())

    def _deadline(self) -> float | None:
        deadlines = self._site.deadlines
        if self._state is State.BODY:
            assert self._body is not None
            return self._since_s + deadlines.body_within_s(len(self._body.data))
        if self._state is not State.HEAD or self._full:
            return None
        return self._since_s + (deadlines.read_s if self._head_begun else deadlines.idle_s)

    def _expect(self, at_s: float | None) -> None:
        # A timer that fires too early looks again; so most requests never touch the reactor's heap.
        self._deadline_s = at_s
        if at_s is None:
            return
        if self._timer is not None:
            if self._timer.getTime() <= at_s:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, at_s - self._clock.seconds()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        deadline = self._deadline_s
        if deadline is None:
            return
        if self._clock.seconds() < deadline:
            self._expect(deadline)
        else:
            self._expired()

    def _expired(self) -> None:
        deadlines = self._site.deadlines
        if self._state is State.LINGER:
            self._shut()
        elif self._state is State.BODY:
            assert self._request is not None
            self._request.sink.fail(
                NodeError(
                    ErrorCode.TIMEOUT,
                    f"the body was not whole within {deadlines.body_s:g} s and 1 s per 64 KiB",
                )
            )
        elif self._buffer or self._reader.begun:
            self._refuse_unreadable(
                NodeError(ErrorCode.TIMEOUT, f"the head was not whole within {deadlines.read_s:g} s")
            )
        else:
            # Nobody asked anything: a browser's spare connection, a port scan, an idle keep-alive.
            self._shut()

    # Ending

    def drain(self) -> None:
        """Close if nothing is going on; otherwise the answer in progress will be the last."""
        if self._state is State.HEAD and not self._buffer and not self._reader.begun:
            self._shut()

    def abort(self) -> None:
        """Drop the connection and what waits to be sent."""
        self._state = State.CLOSED
        self._deadline_s = None
        self._buffer.clear()
        self.transport.abortConnection()

    def _linger(self) -> None:
        self._state = State.LINGER
        transport = self.transport
        transport.unregisterProducer()
        if not self._reading:
            self._reading = True
            transport.resumeProducing()
        # TLS has no half-close of its own, and the one of the socket beneath would cut off what is
        # not encrypted yet; there Content-Length and "Connection: close" have to do.
        if not ISSLTransport.providedBy(transport) and hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()
        self._expect(self._clock.seconds() + LINGER_S)
        held = len(self._buffer)
        self._buffer.clear()
        self._discard(held)

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > LINGER_BYTES:
            self._shut()

    def _shut(self) -> None:
        """Close after what was written is sent; abort if the caller does not take it."""
        if self._state is not State.LINGER:
            self.transport.unregisterProducer()
        self._state = State.CLOSED
        self._deadline_s = None
        self._buffer.clear()
        self.transport.loseConnection()
        # loseConnection may have ended it at once.
        if self.connected and self._watch is not None:
            self._watch.start(self._site.deadlines.write_stall_s)
