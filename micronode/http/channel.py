"""One HTTP/1.x connection: feeds the head and body readers, runs one request at a time, keeps the clock.

Why not twisted.web's HTTPChannel: it reads heads line by line without a deadline, spools bodies to
disk, and answers what it dislikes with a bare status line; overriding that leaves nothing of it. So
this is a Protocol of its own over the sans-IO readers in ``head`` and ``framing``.

A connection is in one :class:`State`. Requests are served in order: what is pipelined behind the one
being served waits in ``_buffer``, up to 16 KiB and one read, then the transport is paused. Responses
are not buffered here at all: while the transport's buffer is full the producer of the running call is
paused and no further request is begun.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from micronode.concurrency.stall import StallWatch
from micronode.errors import ErrorCode, NodeError
from micronode.http.body import BytesBody
from micronode.http.closing import Closing
from micronode.http.flow import Flow
from micronode.http.framing import ChunkedBody, SizedBody
from micronode.http.head import HeadReader, RequestHead
from micronode.http.limits import MAX_PIPELINED_BYTES
from micronode.http.request import Request, make_request, make_unreadable
from micronode.http.run import defect, run
from micronode.http.sink import ResponseSink
from micronode.http.timer import LazyTimer
from micronode.oap.wire.limits import LINGER_S

if TYPE_CHECKING:
    from micronode.http.site import HttpSite


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


class HttpChannel(Protocol):
    """One connection of *site*; towards its sinks it is their :class:`~micronode.http.sink.Line`."""

    transport: Any  # TCP, TLS or Unix; what differs is asked for where it is used
    flow: Flow
    _watch: StallWatch
    _closing: Closing

    def __init__(self, site: HttpSite) -> None:
        self._site = site
        self._clock = site.clock
        self._timer = LazyTimer(site.clock, self._expired)
        self._state = State.HEAD
        self._buffer = bytearray()
        self._reader = HeadReader()
        self._request: Request | None = None
        self._body: SizedBody | ChunkedBody | None = None
        #: When the current wait began: for the rest of a head or body, or for a next request.
        self._since_s = 0.0
        #: Whether the wait is for the rest of a head.
        self._head_begun = False
        self._pumping = False
        self.peer = ""

    # Protocol

    def connectionMade(self) -> None:
        """Start the clock."""
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self.peer = getattr(transport.getPeer(), "host", None) or "unix"
        self._watch = StallWatch(self._clock, transport, self._stalled)
        self._closing = Closing(transport, self._watch)
        self.flow = Flow(transport, filled=self._filled, emptied=self._emptied)
        # The first head has its deadline from here on: a connection costs as much as a request.
        self._since_s = self._clock.seconds()
        self._head_begun = True
        self._site.opened(self)
        self._settle()

    def dataReceived(self, data: bytes) -> None:
        """Take what came, whichever request it belongs to."""
        if self._state is State.LINGER:
            if self._closing.discard(len(data)):
                self._close()
        elif self._state is not State.CLOSED:
            self._buffer += data
            self._pump()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Cancel what runs for the caller."""
        self._state = State.CLOSED
        self._timer.close()
        self._watch.close()
        self._buffer.clear()
        self._body = None
        self._site.closed(self)
        request, self._request = self._request, None
        if request is not None:
            request.sink.disconnected()

    # Reading

    def _pump(self) -> None:
        """Read as many requests as the buffer holds and the transport has room for answers to."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._buffer and not self.flow.full and self._step():
                pass
        finally:
            self._pumping = False
        self._settle()

    def _step(self) -> bool:
        """Take one thing off the buffer; False: more input, or the end of a call, must come first."""
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
        request = make_request(head, peer=self.peer, began_s=self._clock.seconds())
        self._own(request)
        try:
            self._site.routes.admit(request)
        except NodeError as error:
            request.sink.fail(error)
        except Exception:
            defect(request, Failure())
        else:
            self._accept(request, head)
        return True

    def _refuse_unreadable(self, error: NodeError) -> None:
        request = make_unreadable(peer=self.peer, began_s=self._clock.seconds())
        self._own(request)
        request.sink.fail(error)

    def _own(self, request: Request) -> None:
        request.sink = ResponseSink(self, self._site, request)
        self._request = request
        self._state = State.CALL

    def _accept(self, request: Request, head: RequestHead) -> None:
        assert request.route is not None
        max_bytes = request.route.max_body_bytes
        if not head.has_body:
            if max_bytes is not None:
                request.body = BytesBody(b"")
            run(self._site.routes, request)
            return
        assert max_bytes is not None
        self._state = State.BODY
        self._since_s = request.began_s
        self._body = ChunkedBody(max_bytes) if head.body_length is None else SizedBody(head.body_length)
        if head.expects_continue:
            self.send((b"HTTP/1.1 100 Continue\r\n\r\n",))

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
            request.body = BytesBody(bytes(body.data))
            run(self._site.routes, request)
        return whole

    # Line, towards the sink

    def closes(self) -> bool:
        """Tell whether the connection ends with the answer being begun."""
        request = self._request
        return (
            request is None
            or self._site.draining
            or not request.head.keep_alive
            # A refusal: the body is still to come, and nobody will read it.
            or (request.head.has_body and not request.dispatched)
        )

    def send(self, pieces: tuple[bytes, ...]) -> None:
        """Hand *pieces* to the transport."""
        self.transport.writeSequence(pieces)

    def answered(self, *, refused: bool, close: bool) -> None:
        """Go on with the next request, or end the connection."""
        self._request = None
        self._body = None
        if not close and not self._site.draining:
            self._state = State.HEAD
            self._since_s = self._clock.seconds()
            self._pump()
        elif refused or self._buffer:
            self._linger()
        else:
            self._close()

    def broken(self) -> None:
        """Reset the connection: a clean end would make a part look whole."""
        self._request = None
        self.abort()

    # Flow and deadlines

    def _filled(self) -> None:
        self._watch.start(self._site.deadlines.write_stall_s)

    def _emptied(self) -> None:
        self._watch.stop()
        if self._state is State.HEAD:
            # The time its reader took for an answer is not taken from the next request.
            self._since_s = self._clock.seconds()
        self._pump()

    def _settle(self) -> None:
        """Bring reading and the timer in line with the state."""
        if self._state in (State.LINGER, State.CLOSED):
            return
        held_up = self._state is State.CALL or self.flow.full
        self.flow.read(not held_up or len(self._buffer) <= MAX_PIPELINED_BYTES)
        self._timer.expect(self._deadline())

    def _deadline(self) -> float | None:
        deadlines = self._site.deadlines
        if self._body is not None:
            return self._since_s + deadlines.body_within_s(len(self._body.data))
        if self._state is not State.HEAD or self.flow.full:
            return None
        return self._since_s + (deadlines.read_s if self._head_begun else deadlines.idle_s)

    def _expired(self) -> None:
        deadlines = self._site.deadlines
        if self._state is State.BODY:
            assert self._request is not None
            message = f"the body was not whole within {deadlines.body_s:g} s and 1 s per 64 KiB"
            self._request.sink.fail(NodeError(ErrorCode.TIMEOUT, message))
        elif self._state is State.HEAD and self._unfinished():
            message = f"the head was not whole within {deadlines.read_s:g} s"
            self._refuse_unreadable(NodeError(ErrorCode.TIMEOUT, message))
        else:
            # The end of lingering; or nobody asked anything: a browser's spare connection, a port
            # scan, an idle keep-alive.
            self._close()

    def _unfinished(self) -> bool:
        return bool(self._buffer) or self._reader.begun

    def _stalled(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.sink.disconnected(NodeError(ErrorCode.TIMEOUT, "the caller takes no byte"))
        self.abort()

    # Ending

    def drain(self) -> None:
        """Close if nothing is going on; otherwise the answer in progress will be the last."""
        if self._state is State.HEAD and not self._unfinished():
            self._close()

    def abort(self) -> None:
        """Drop the connection, and with it what waits to be sent."""
        self._state = State.CLOSED
        self._timer.expect(None)
        self._buffer.clear()
        self.transport.abortConnection()

    def _linger(self) -> None:
        self._state = State.LINGER
        self._closing.discard(len(self._buffer))
        self._buffer.clear()
        self.flow.read(True)
        self._closing.half_close()
        self._timer.expect(self._clock.seconds() + LINGER_S)

    def _close(self) -> None:
        self._state = State.CLOSED
        self._timer.expect(None)
        self._buffer.clear()
        self._closing.close(self._site.deadlines.write_stall_s)
