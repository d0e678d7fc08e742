"""One HTTP/1.x connection: feeds the head and body readers, runs one request at a time, keeps the clock.

Why not twisted.web's HTTPChannel: it reads heads line by line without a deadline, spools bodies to
disk, and answers what it dislikes with a bare status line; overriding that leaves nothing of it. So
this is a Protocol of its own over the sans-IO readers in ``head`` and ``framing``.

A connection is in one :class:`State`. Requests are served in order: what is pipelined behind the one
being served waits in ``_buffer``, up to 16 KiB and one read, then the transport is paused. Responses
are not buffered here at all: while the transport's buffer is full the producer of the running call is
paused and no further request is begun. Nor is one where the connection has had its share of this turn of
the reactor.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.concurrency.farewell import Farewell
from micronode.concurrency.hangup import Intake, Pending
from micronode.concurrency.memory import unsent
from micronode.concurrency.origin import origin_of
from micronode.concurrency.outgoing import Outlet
from micronode.concurrency.shutdown import LAST_CALL_S
from micronode.concurrency.stall import StallWatch, unacknowledged
from micronode.concurrency.timer import EPSILON_S, LazyTimer
from micronode.errors import ErrorCode, NodeError
from micronode.http.flow import Flow
from micronode.http.framing import ChunkedBody, SizedBody, body_reader
from micronode.http.head import HeadReader, RequestHead
from micronode.http.limits import MAX_PIPELINED_BYTES, MAX_STEPS
from micronode.http.request import Request, make_request
from micronode.http.run import admit, run
from micronode.http.sink import GONE, ResponseSink

if TYPE_CHECKING:
    from micronode.http.site import HttpSite


#: Seconds within which the reactor reads what its socket has.
_NEXT_READ_S: Final = 0.02


class State(Enum):
    """What a connection is doing."""

    #: Waiting for a head, or in the middle of one.
    HEAD = auto()
    #: Collecting the body of a request whose head was accepted.
    BODY = auto()
    #: The request runs, its answer is on its way.
    CALL = auto()
    #: Its end has begun: what still comes in is thrown away.
    CLOSING = auto()


@implementer(IHalfCloseableProtocol)
class HttpChannel(Protocol):
    """One connection of *site*; towards its sinks it is their :class:`~micronode.http.sink.Line`."""

    transport: Any  # TCP, TLS or Unix; what differs is asked for where it is used
    flow: Flow

    def __init__(self, site: HttpSite) -> None:
        self._site = site
        #: Of the last request whose head was whole, or of when it was connected.
        self._settings = site.settings
        self._clock = site.clock
        self._timer = LazyTimer(site.clock, self._expired)
        self._state = State.HEAD
        self._buffer = bytearray()
        self._reader = HeadReader()
        self._request: Request | None = None
        self._body: SizedBody | ChunkedBody | None = None
        #: When the current wait began: for the rest of a head, or for a next request.
        self._since_s = 0.0
        #: Whether the wait is for the rest of a head.
        self._head_begun = False
        self._pumping = False
        #: Set while what is in the buffer waits for the next turn.
        self._rest: IDelayedCall | None = None
        self._input_ended = False
        #: Whether there was ever more to write than the transport's buffer holds.
        self._much = False
        #: Bytes of the body of the request that runs; of an answer that a full transport has; and what of
        #: all that is held is charged.
        self._kept = self._unsent = self._charged = 0
        #: Whether the head of a request was whole.
        self._greeted = False
        #: Whether all that is sent is watched, not only a full buffer. It stays so: while something of the
        #: answer that asked for it waits to be taken, what is behind it counts, too.
        self._following = False

    # Protocol

    def connectionMade(self) -> None:
        """Start the clock."""
        if ITCPTransport.providedBy(transport := self.transport):
            transport.setTcpNoDelay(True)
        self.peer = getattr(transport.getPeer(), "host", None) or "unix"
        self._origin = origin_of(transport)
        self._watch = StallWatch(self._clock, transport, self._stalled)
        deadlines = self._settings.deadlines
        self._farewell = Farewell(
            transport,
            self._clock,
            stall_s=deadlines.write_stall_s,
            min_rate=deadlines.min_rate,
            cut=self._stalled,
        )
        self._intake = Intake(self._clock, transport, lost=self.abort)
        self._outlet = Outlet(transport, self._site.outgoing)
        self.flow = Flow(transport, filled=self._filled, emptied=self._emptied, buffers=self._site.buffers)
        # The first head has its deadline from here on: a connection costs as much as a request.
        self._since_s = self._clock.seconds()
        self._head_begun = True
        self._site.opened(self)
        self.settle()

    def dataReceived(self, data: bytes) -> None:
        """Take what came, whichever request it belongs to."""
        if self._state is State.CLOSING:
            self._farewell.received(len(data))
        else:
            self._buffer += data
            self._pump()

    def readConnectionLost(self) -> None:
        """Take note of the end of input: requests that came whole are still answered, then it is closed."""
        if self._state is State.CLOSING:
            self._farewell.input_ended()
        else:
            self._input_ended = True
            self.settle()
            if self._request is not None and self._request.ask is not None:
                self._request.ask()
                self._intake.look_soon()

    def writeConnectionLost(self) -> None:
        """Take note that all is written, and our side shut down as we asked for it."""
        self._farewell.shut()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Cancel what runs for the caller."""
        self._state = State.CLOSING
        self._outlet.drop()
        self._timer.close()
        self._watch.close()
        self._intake.close()
        self._farewell.over()
        self.flow.lost()
        self._drop()
        self._body = None
        self._site.closed(self)
        self._abandon(GONE)
        self.flow.detach()
        self._unsent = 0
        self._charge()

    # Reading

    def _pump(self) -> None:
        """Read as many requests as the buffer holds and the transport has room for answers to."""
        if self._pumping or self._rest is not None:
            return
        self._pumping = True
        steps = 0
        try:
            while self._buffer and not self.flow.full and self._step():
                steps += 1
                if steps == MAX_STEPS and self._buffer:
                    self._rest = self._clock.callLater(0, self._rested)
                    break
        finally:
            self._pumping = False
        self.settle()

    def _rested(self) -> None:
        self._rest = None
        self._pump()

    def _drop(self) -> None:
        """Throw away what was read."""
        self._buffer.clear()
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()

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
        request = self._own(head)
        if admit(self._settings.routes, request):
            self._accept(request)
        return True

    def _own(self, head: RequestHead) -> Request:
        if not self._greeted:
            self._greeted = True
            self._site.held.greeted(self)
        self._settings = self._site.settings
        request = make_request(head, peer=self.peer, origin=self._origin, began_s=self._clock.seconds())
        request.sink = ResponseSink(self, self._site, request)
        self._request = request
        self._state = State.CALL
        return request

    def _refuse_unreadable(self, error: NodeError) -> None:
        self._own(self._reader.unreadable()).sink.fail(error)

    def _accept(self, request: Request) -> None:
        head = request.head
        if not head.has_body:
            run(self._settings.routes, request, b"")
            return
        if self._site.buffers.tight:
            request.sink.fail(self._site.buffers.refusal())
            return
        self._state = State.BODY
        self._body = body_reader(head.body_length, request.max_encoded_bytes)
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
        self._charge()
        if self._site.buffers.full:
            request.sink.fail(self._site.buffers.refusal())
            return False
        if whole:
            self._body = None
            self._kept = len(body.data)
            self._state = State.CALL
            run(self._settings.routes, request, bytes(body.data))
        return whole

    def _charge(self) -> None:
        """Bring the node's account in line with what is held here."""
        held = len(self._buffer) + self._kept + self._unsent
        if self._body is not None:
            held += len(self._body.data)
        if held != self._charged:
            self._site.buffers.add(held - self._charged)
            self._charged = held

    # Line, towards the sink

    def closes(self) -> bool:
        """Tell whether the connection ends with the answer being begun."""
        ended = self._input_ended and not self._buffer
        return ended or self._site.ending or self._request is None or self._request.is_last

    def send(self, pieces: tuple[bytes, ...]) -> None:
        """Hand *pieces* to the transport."""
        self._watch.written += (size := sum(map(len, pieces)))
        self._outlet.write(pieces)
        if self._following:
            deadlines = self._settings.deadlines
            self._watch.sent(size, deadlines.write_stall_s, deadlines.min_rate)

    def follow(self) -> None:
        """Watch whether what this answer sends is taken, also while the transport's buffer is not full."""
        self._following = True
        self._outlet.buffered()

    @property
    def behind(self) -> bool:
        """Whether the caller has still to take bytes that were sent."""
        return self.flow.full or bool(unacknowledged(self.transport))

    def answered(self, *, refused: bool, close: bool) -> None:
        """Go on with the next request, or end the connection."""
        self._request = self._body = None
        self._kept = 0
        if close:
            self._end(linger=refused or bool(self._buffer))
        else:
            self._state = State.HEAD
            self._since_s = self._clock.seconds()
            self._pump()

    # Flow and deadlines

    def _filled(self) -> None:
        self._much = True
        self._unsent = unsent(self.transport)
        self._charge()
        deadlines = self._settings.deadlines
        self._watch.start(deadlines.write_stall_s, deadlines.min_rate)

    def _emptied(self) -> None:
        self._watch.stop()
        self._unsent = 0
        if self._state is State.HEAD:
            # The time its reader took for an answer is not taken from the next request.
            self._since_s = self._clock.seconds()
        self._pump()

    def settle(self) -> None:
        """Bring reading and the timer in line with the state."""
        if self._state is State.CLOSING:
            return
        held_up = self._state is State.CALL or self.flow.full or self._rest is not None
        if self._input_ended and not held_up:
            # What is there of a request will never be whole.
            self._abandon(GONE)
            self._end()
            return
        held = len(self._buffer) + self._kept
        if held != self._charged or self._body is not None or self._unsent:
            self._charge()
        if self._input_ended or (held_up and len(self._buffer) > MAX_PIPELINED_BYTES):
            self._intake.pause()  # It sees who goes; the transport does not, behind the end of input.
        elif self._site.buffers.tight and self._state is not State.BODY:
            self._intake.pause(look=held_up)
        else:
            self._intake.resume()
        self._timer.expect(self._deadline())

    def _deadline(self) -> float | None:
        if self._body is not None:
            assert self._request is not None
            return self._request.began_s + self._settings.deadlines.body_within_s(len(self._body.data))
        if self._state is not State.HEAD or self.flow.full or self._rest is not None:
            return None
        deadlines = self._site.settings.deadlines
        if self._site.draining and not self._unfinished():
            return self._since_s + min(LAST_CALL_S, deadlines.idle_s)
        return self._since_s + (deadlines.read_s if self._head_begun else deadlines.idle_s)

    def _expired(self) -> None:
        deadline = self._deadline()
        if deadline is not None and deadline - self._clock.seconds() > EPSILON_S:
            # A reload has given it more time.
            self._timer.expect(deadline)
        elif self._state is State.HEAD and self._site.buffers.tight:
            # It is not read, so that it cannot be late.
            self._since_s = self._clock.seconds()
            self._timer.expect(self._deadline())
        elif self._state is State.BODY:
            assert self._request is not None
            self._request.sink.fail(self._settings.deadlines.late_body())
        elif self._unfinished():
            self._refuse_unreadable(self._site.settings.deadlines.late_head())
        elif self._site.draining:
            self._leave()
        else:
            # Nobody asked anything: a browser's spare connection, a port scan, an idle keep-alive.
            self._end()

    def _unfinished(self) -> bool:
        return bool(self._buffer) or self._reader.begun

    def _stalled(self) -> None:
        self._site.slow_reader()
        self._abandon(NodeError(ErrorCode.TIMEOUT, "the caller takes no byte, or too few"))
        self.abort()

    # Towards its listener

    @property
    def idle_since_s(self) -> float | None:
        """Since when it has waited for a next request; None: it does not."""
        used = self._head_begun or self._unfinished() or self._input_ended or self.flow.full
        return self._since_s if self._state is State.HEAD and not used else None

    def reap(self) -> bool:
        """Close it: it waits for a next request, and there are too many connections.

        False: a request is there, be it in the socket.
        """
        if self.idle_since_s is None or Pending(self.transport).is_there():
            return False
        self._end(linger=True)
        return True

    def make_way(self) -> None:
        """Close it: its first head is not whole, and others wait for its place."""
        if self._state is not State.HEAD:
            return
        if self._unfinished():
            self._refuse_unreadable(NodeError(ErrorCode.TIMEOUT, "the head was not whole, and others wait"))
        else:
            self._end(linger=True)

    # Ending

    def drain(self) -> None:
        """Close in a moment if nothing is going on; otherwise a next answer will be the last."""
        if self._state is State.HEAD and not self._unfinished():
            self._since_s = self._clock.seconds()
            self._timer.expect(self._deadline())

    def _leave(self) -> None:
        """Close an idle connection, unless a request is there that the reactor has not told of yet.

        One that comes now is not answered. It is read all the same: its caller sees an end, and no reset.
        """
        if Pending(self.transport).is_there():
            self._timer.expect(self._clock.seconds() + _NEXT_READ_S)
        else:
            self._end(linger=True)

    def give_up(self, error: NodeError) -> None:
        """Answer with *error* what is not answered yet, and end; an answer that has begun is cut.

        A request that the reactor has not told of yet is left to who refuses calls by now.
        """
        request = self._request
        if request is not None:
            running = request.running
            # The answer first: a call that was cancelled would make none, and a caller be told nothing.
            request.sink.fail(error)
            if running is not None:
                running.cancel()
        elif self._state is State.HEAD and self._unfinished():
            self._refuse_unreadable(error)
        elif self._state is State.HEAD and not Pending(self.transport).is_there():
            self._end()

    def _abandon(self, error: NodeError) -> None:
        """Cancel what runs for the caller."""
        request, self._request = self._request, None
        self._kept = 0
        if request is not None:
            request.sink.disconnected(error)

    def cut(self) -> None:
        """See :class:`~micronode.http.sink.Line`."""
        # The request is over, and nothing of it may be touched any more.
        self._request = None
        self.abort()

    def end(self) -> None:
        """End with the node: what the kernel alone has still to pass on is left to it, all else cut."""
        if not self._farewell.leave():
            self.abort()

    def abort(self) -> None:
        """Reset the connection: a clean end would make a part of an answer look whole."""
        if self._request is not None and self._request.sink.ended:
            # It is over, and parts with its sink before the connection is lost.
            self._request = None
        self._state = State.CLOSING
        self._timer.expect(None)
        self._drop()
        self._body = None
        self._charge()
        self._intake.close()
        self._outlet.drop()
        self.transport.abortConnection()

    def _end(self, *, linger: bool = False) -> None:
        self._state = State.CLOSING
        self._timer.expect(None)
        discarded = len(self._buffer)
        self._drop()
        self._charge()
        self._watch.close()
        self.flow.close()
        self._outlet.buffered()
        # Input that waits in the kernel would turn the close into a reset.
        self._intake.resume()
        self._farewell.begin(discarded, linger=linger and not self._input_ended, much=self._much)
