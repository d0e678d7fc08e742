"""One OAP/1 connection on a transport: feeds the core, passes its events on, keeps the deadlines.

Whatever a peer does ends here as an error frame, a close, or a count, never as an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.calls.context import fresh_request_id
from micronode.calls.outcome import cut
from micronode.concurrency.farewell import Farewell
from micronode.concurrency.hangup import Pending
from micronode.concurrency.origin import origin_of
from micronode.concurrency.stall import CUT_OFF
from micronode.errors import ErrorCode, error_object
from micronode.oap.compression import deflate, make_inflate
from micronode.oap.handlers import Handlers
from micronode.oap.hello import hello_reply
from micronode.oap.leaving import Leaving, draining
from micronode.oap.liveness import Liveness
from micronode.oap.outbox import Outbox
from micronode.oap.pump import OUTPUT
from micronode.oap.reader import Reader
from micronode.oap.session import Session
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.events import ConnectionFailed, HelloReceived
from micronode.oap.wire.states import ConnectionState

if TYPE_CHECKING:
    from micronode.oap.factory import OAPFactory


@implementer(IHalfCloseableProtocol)
class OAPProtocol(Protocol):
    """A connection; made by :class:`~micronode.oap.factory.OAPFactory`, which keeps track of it."""

    def __init__(self, factory: OAPFactory) -> None:
        # For as long as it lives, whatever is configured meanwhile.
        services, limits = factory.services, factory.services.limits
        self.factory = self._listener = factory
        self._services, self._meter = services, services.meter
        self._wire = NodeConnection(
            max_frame=limits.max_frame,
            max_chunk=limits.max_chunk,
            max_inflight=limits.max_inflight,
            inflate=make_inflate(limits.decompress_ratio),
            deflate=deflate,
        )
        #: When it is to go away; None while the node stays.
        self._leaving: Leaving | None = None
        #: The caller will send no more (it half-closed).
        self.input_ended = False
        #: Nothing more is handled.
        self.closing = False
        #: The transport is gone, or about to be.
        self._gone = False

    def connectionMade(self) -> None:
        """Wait for HELLO."""
        transport, clock, timeouts = self._transport, self._services.clock, self._services.timeouts
        self._meter.connections.inc()
        self._outbox = Outbox(
            transport,
            clock,
            outgoing=self._services.outgoing,
            stall_s=timeouts.write_stall,
            min_rate=self._services.limits.min_rate,
            broken=self._unread,
            crowded=lambda: self._reader.stop_reading(OUTPUT),
            relieved=lambda: self._reader.go_on_reading(OUTPUT),
            buffers=self._services.buffers,
        )
        self._farewell = Farewell(
            transport,
            clock,
            stall_s=timeouts.write_stall,
            min_rate=self._services.limits.min_rate,
            cut=self._unread,
        )
        self.peer = getattr(transport.getPeer(), "host", None) or "unix"
        services, wire, outbox = self._services, self._wire, self._outbox
        self._reader = Reader(self, services, wire, outbox)
        origin, ended = origin_of(transport), self._stream_ended
        self._session = Session(
            services, wire, outbox, self._reader, peer=self.peer, origin=origin, stream_ended=ended
        )
        self._liveness = Liveness(services, wire, outbox, self._session, self)
        self._handlers = Handlers(self._session, self._liveness, self._meter, self)
        self._reader.begin(self._session, self._liveness, self._handlers.handle)
        self._listener.opened(self)

    @property
    def _transport(self) -> Any:
        # No one interface has all that is used here, with half-close where it exists.
        return self.transport

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the transport."""
        if self.closing:
            self._farewell.received(len(data))
            return
        self._reader.put(data)
        self._reader.run()

    def greet(self, event: HelloReceived) -> None:
        """Answer HELLO."""
        self._liveness.greeted()
        self._listener.held.greeted(self)
        self._meter.hello_out.inc()
        reply = hello_reply(self._transport, idle_s=self._services.timeouts.idle)
        self._outbox.write_control(self._wire.send_hello(event, reply))

    def spare_memory(self, deaf: bool) -> None:
        """Read nothing while the node is *deaf*, for want of memory, unless something runs for the caller."""
        self._reader.spare_memory(deaf)

    def _stream_ended(self) -> None:
        """Close when this was the last stream of a connection that has no future."""
        if self.closing or self._session.streams:
            return
        waits = self._reader.reasons
        if self._wire.state is ConnectionState.LEAVING or (
            self.input_ended and not (waits or self._reader.running)
        ):
            self._close()
        elif not waits:
            self._liveness.stream_ended()
            if self._services.buffers.deaf:
                self.spare_memory(True)

    # Towards its listener

    @property
    def idle_since_s(self) -> float | None:
        """Since when it has heard nothing and has had no stream; None: it has one, or is closing."""
        used = self._session.streams or self._wire.mid_frame
        if used or self.closing or self._wire.state is not ConnectionState.OPEN:
            return None
        return self._services.clock.seconds() - self._liveness.quiet_s

    def reap(self) -> bool:
        """Close it: nobody uses it, and there are too many connections.

        False: somebody does, or is about to.
        """
        if self.idle_since_s is None or Pending(self._transport).is_there():
            return False
        self.goaway(0)
        return True

    def make_way(self) -> None:
        """Close it: HELLO has not come, and others wait for its place."""
        self.fail_for(ErrorCode.TIMEOUT, "no HELLO yet, and others wait")

    # The end of a connection

    def goaway(self, retry_after_ms: int) -> None:
        """Take no new streams; close when the open ones are over.

        :param retry_after_ms: what the caller is told about when to come back.
        """
        if self.closing:
            return
        self.say_goaway(retry_after_ms)
        if not self._session.streams:
            self._close()

    def say_goaway(self, retry_after_ms: int) -> None:
        """Say GOAWAY, if it may be said and was not."""
        if self._wire.state is ConnectionState.OPEN:
            self._meter.event_out.inc()
            self._outbox.write_control(self._wire.send_goaway(retry_after_ms))

    def watch(self) -> None:
        """The node goes away: watch for when this connection may be told so; see :meth:`leave`."""
        if self._leaving is None and not self.closing:
            self._leaving = Leaving(self._services.clock, self._session, self)
            self._handlers.open_with(self._leaving.opened)

    def leave(self, retry_after_ms: int) -> None:
        """Go away, as soon as no call is on its way here that would be refused; end subscriptions."""
        self.watch()
        if self._leaving is not None and not self.closing:
            self._leaving.leave(retry_after_ms)

    def give_up(self, retry_after_ms: int) -> None:
        """Go away now: calls that are open are cancelled, and their callers told whether they were begun."""
        self.goaway(retry_after_ms)
        self._session.give_up(draining(retry_after_ms), cut(retry_after_ms / 1000))

    def end(self) -> None:
        """End with the node: what the kernel alone has still to pass on is left to it, all else cut."""
        if not self._farewell.leave():
            self.abort()

    def abort(self) -> None:
        """Drop the connection now; its calls are cancelled when the transport says that it is gone."""
        if self._gone:
            return
        self._gone = True
        self._stop()
        self._reader.close()
        self._outbox.discard()
        self._transport.abortConnection()

    def dismiss(self, retry_after_ms: int) -> None:
        """Say GOAWAY, cancel what runs without another word, and close."""
        self.goaway(retry_after_ms)
        if not self.closing:
            self._session.close()
            self._close()

    def fail(self, failed: ConnectionFailed) -> None:
        """Say what was wrong, once, and close."""
        self._meter.refused(failed.code)
        self._meter.error_out.inc()
        # Before the frame: it is the last thing that this connection says.
        self._stop()
        self._session.close()
        error = error_object(failed.code, failed.message, request_id=fresh_request_id())
        self._outbox.write_control(self._wire.send_failure(failed, error))
        self._close()

    def _close(self) -> None:
        """Let what was written reach the caller, then close."""
        if self._gone:
            return
        self._stop()
        self._outbox.close()
        self._farewell.begin(self._reader.drop(), linger=not self.input_ended)

    def _stop(self) -> None:
        """Handle nothing more, and wait for nothing."""
        self.closing = True
        self._reader.stop()
        self._liveness.close()
        if self._leaving is not None:
            self._leaving.close()

    @property
    def quiet_s(self) -> float:
        """For how many seconds the caller has said nothing; 0 before its HELLO."""
        return self._liveness.quiet_s

    # Transport events

    def readConnectionLost(self) -> None:
        """Take note of the end of input: what was asked before it is still answered."""
        self.input_ended = True
        if self.closing:
            self._farewell.input_ended()
            return
        self._reader.input_ended()

    def end_of_input(self) -> None:
        """All that was read before the end of input is handled: close when nothing of it is open."""
        self._session.half_closed()
        if not (self.closing or self._session.streams):
            self._close()

    def writeConnectionLost(self) -> None:
        """Our side is shut down, as we asked, and all is written."""
        self._farewell.shut()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel what runs for this caller."""
        self._gone = True
        self._stop()
        self._outbox.discard()
        self._session.close()
        self._reader.over()
        self._farewell.over()
        if self._wire.close():
            self._meter.dropped("truncated")
        self._meter.connections.dec()
        self._listener.closed(self)

    def _unread(self) -> None:
        self._services.slow_reader()
        self._session.close(CUT_OFF)
        self.abort()

    def fail_for(self, code: ErrorCode, message: str) -> None:
        """Fail the connection for a reason outside its bytes."""
        failed = self._wire.fail(code, message)
        if failed is not None and not self.closing:
            self.fail(failed)
