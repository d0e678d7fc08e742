"""The requests of one HTTP/1.x connection and their answers, one after the other.

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

from abc import abstractmethod
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from micronode.concurrency.memory import buffered_bytes
from micronode.concurrency.stall import CUT_OFF
from micronode.errors import NodeError
from micronode.http.connection import HttpConnection
from micronode.http.framing import ChunkedBody, SizedBody, body_reader
from micronode.http.head import HeadReader, RequestHead
from micronode.http.limits import MAX_STEPS
from micronode.http.request import Request, make_request
from micronode.http.run import admit, run
from micronode.http.sink import ResponseSink

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
    #: Its end has begun: what still comes in is thrown away.
    CLOSING = auto()


class HttpExchanges(HttpConnection):
    """What is asked and answered over one connection; its sinks' :class:`~micronode.http.sink.Line`."""

    def __init__(self, site: HttpSite) -> None:
        super().__init__(site)
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
        #: Bytes of the body of the request that runs; of an answer that a full transport has; and what of
        #: all that is held is charged.
        self._kept = self._unsent = self._charged = 0
        #: Whether what was read of a request is noted as not whole.
        self._partial = False
        #: Whether the head of a request was whole.
        self._greeted = False

    # Protocol

    def dataReceived(self, data: bytes) -> None:
        """Take what came, whichever request it belongs to."""
        if self._state is State.CLOSING:
            self._farewell.received(len(data))
        else:
            self._buffer += data
            self._pump()

    @abstractmethod
    def settle(self) -> None:
        """Bring reading and the timer in line with the state."""

    @abstractmethod
    def _greet(self) -> None:
        """Its first request was read."""

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
            self._came(len(self._buffer))
            return False
        self._head_begun = False
        request = self._own(head)
        if admit(self._settings.routes, request):
            self._accept(request)
        return True

    def _came(self, size: int) -> None:
        """Note that so much of a request is there, and that it is not whole."""
        self._partial = True
        self._site.buffers.unfinished.came(self, size, self._clock.seconds())

    def _complete(self) -> None:
        """Note that nothing is there of which the rest has still to come."""
        if self._partial:
            self._partial = False
            self._site.buffers.unfinished.over(self)

    @abstractmethod
    def make_room(self) -> None:
        """Give up the request that is not whole: memory is tight."""

    def _own(self, head: RequestHead) -> Request:
        self._complete()
        if not self._greeted:
            self._greeted = True
            self._greet()
        self._settings = self._site.settings
        request = make_request(head, peer=self.peer, origin=self._origin, began_s=self._clock.seconds())
        request.sink = ResponseSink(self, self._site, request)
        self._request = request
        self._state = State.CALL
        return request

    def _refuse_unreadable(self, error: NodeError) -> None:
        self._own(self._reader.unreadable()).sink.fail(error)

    def _accept(self, request: Request) -> None:
        head, buffers = request.head, self._site.buffers
        if buffers.tight and (head.has_body or not buffers.deaf or buffers.full):
            request.sink.fail(buffers.refusal())
            return
        if not head.has_body:
            run(self._settings.routes, request, b"")
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
        if not whole:
            self._came(request.bytes_in)
        else:
            self._complete()
            self._body = None
            self._kept = len(body.data)
            self._state = State.CALL
            run(self._settings.routes, request, bytes(body.data))
            if request is self._request and request.body is not None:
                # Inflated it may be ten times what came.
                self._kept = request.body.length
        return whole

    def _charge(self) -> None:
        """Bring the node's account in line with what is held here."""
        held = len(self._buffer) + self._kept + self.flow.beyond(self._unsent)
        if self._body is not None:
            held += len(self._body.data)
        if held != self._charged:
            self._site.buffers.add(held - self._charged)
            self._charged = held

    # Line, towards the sink

    def closes(self) -> bool:
        """Tell whether the connection ends with the answer being begun."""
        return self._site.ending or self._request is None or self._request.is_last

    def answered(self, *, refused: bool, close: bool) -> None:
        """Go on with the next request, or end the connection."""
        running = None if self._request is None else self._request.running
        self._request = self._body = None
        self._kept = 0
        if close:
            self._end(linger=refused or bool(self._buffer))
            return
        self._state = State.HEAD
        self._since_s = self._clock.seconds()
        if running is not None and self._buffer:
            # The call has its permit until it is over, and what is asked next may need that.
            running.addBoth(self._go_on)
        else:
            self._pump()

    def _go_on(self, result: None) -> None:
        self._pump()

    # Flow

    def _filled(self) -> None:
        self._much = True
        self._unsent = buffered_bytes(self.transport)
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

    # Ending

    def _stalled(self) -> None:
        self._site.slow_reader()
        self._abandon(CUT_OFF)
        self.abort()

    def _abandon(self, error: NodeError) -> None:
        """Cancel what runs for the caller."""
        request, self._request = self._request, None
        self._body = None
        self._kept = 0
        if request is not None:
            request.sink.disconnected(error)

    def cut(self) -> None:
        """See :class:`~micronode.http.sink.Line`."""
        # The request is over, and nothing of it may be touched any more.
        self._request = None
        self.abort()

    def abort(self) -> None:
        """Reset the connection: a clean end would make a part of an answer look whole."""
        if self._request is not None and self._request.sink.ended:
            # It is over, and parts with its sink before the connection is lost.
            self._request = None
        self._state = State.CLOSING
        self._complete()
        self._timer.expect(None)
        self._drop()
        self._body = None
        self._charge()
        self._reset()

    def _end(self, *, linger: bool = False) -> None:
        self._state = State.CLOSING
        self._complete()
        self._timer.expect(None)
        discarded = len(self._buffer)
        self._drop()
        self._charge()
        self._close(discarded, linger=linger)
