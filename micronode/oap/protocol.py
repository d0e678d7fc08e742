"""One OAP/1 connection on a transport: feeds the core, passes its events on, keeps the deadlines.

Whatever a peer does ends here as an error frame, a close, or a count, never as an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.calls.context import fresh_request_id
from micronode.concurrency.farewell import Farewell
from micronode.concurrency.hangup import Intake, Pending
from micronode.concurrency.origin import origin_of
from micronode.errors import ErrorCode, NodeError, error_object
from micronode.oap.compression import deflate, make_inflate
from micronode.oap.hello import hello_reply
from micronode.oap.leaving import Leaving, draining
from micronode.oap.liveness import Liveness
from micronode.oap.outbox import Outbox
from micronode.oap.pump import MEMORY, OUTPUT, TURN, UPLOAD, Pump
from micronode.oap.session import Session
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.events import (
    BodyReceived,
    ConnectionFailed,
    CreditReceived,
    Event,
    FrameIgnored,
    HelloReceived,
    PingReceived,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.states import ConnectionState

if TYPE_CHECKING:
    from micronode.oap.factory import OAPFactory

#: When a caller that cancelled more than that may come back.
_CHURN_RETRY_MS: Final = 1_000
_UNREAD: Final = NodeError(ErrorCode.TIMEOUT, "the caller took nothing of what was sent, or too little")


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
        self._pump = Pump(self._wire.receive, self._handle, self._rest)
        #: Set while what was read waits for the next turn of the reactor.
        self._resting: IDelayedCall | None = None
        #: When it is to go away; None while the node stays.
        self._leaving: Leaving | None = None
        #: The caller will send no more (it half-closed).
        self.input_ended = False
        #: Bytes of a begun frame that are charged to the node's account.
        self._charged = 0
        #: Nothing more is handled; and: the transport is gone, or about to be.
        self._closing = self._gone = False

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
            crowded=lambda: self.stop_reading(OUTPUT),
            relieved=lambda: self.go_on_reading(OUTPUT),
            buffers=self._services.buffers,
        )
        # A caller that sends no more may still read: its answers are owed, and so is what it asked unread.
        self._intake = Intake(clock, transport, lost=self.abort, ask=self._ask)
        self._farewell = Farewell(
            transport,
            clock,
            stall_s=timeouts.write_stall,
            min_rate=self._services.limits.min_rate,
            cut=self._unread,
        )
        self.peer = getattr(transport.getPeer(), "host", None) or "unix"
        origin = origin_of(transport)
        self._session = Session(self._services, self._wire, self._outbox, self, peer=self.peer, origin=origin)
        self._liveness = Liveness(self._services, self._wire, self._outbox, self._session, self)
        self._handlers = self._make_handlers()
        self._listener.opened(self)

    @property
    def _transport(self) -> Any:
        # No one interface has all that is used here, with half-close where it exists.
        return self.transport

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the transport."""
        if self._closing:
            self._farewell.received(len(data))
            return
        self._pump.put(data)
        self._run()

    def _run(self) -> None:
        """Pass on what was read, event by event, until there is no more or a reason not to."""
        pump = self._pump
        if pump.running:
            return
        self._outbox.cork()
        try:
            happened = pump.run()
            self._session.handled()
            self._session.send_credits()
        finally:
            self._outbox.uncork()
        if self._wire.held != self._charged:
            self._charge(self._wire.held)
        if pump.reasons or self._closing:
            return
        self._liveness.heard(happened, mid_frame=self._wire.mid_frame)
        if self.input_ended:
            self._end_of_input()

    def _handle(self, event: Event) -> None:
        self._meter.received(event)
        self._handlers[type(event)](event)

    def _make_handlers(self) -> dict[type[Any], Callable[[Any], None]]:
        session, liveness = self._session, self._liveness
        return {
            BodyReceived: session.body,
            StreamOpened: session.opened,
            StreamCancelled: self._cancelled,
            StreamFailed: session.failed,
            StreamRefused: self._refused,
            CreditReceived: session.credited,
            PingReceived: liveness.pinged,
            FrameIgnored: self._ignored,
            HelloReceived: self._greet,
            ConnectionFailed: self._fail,
        }

    def _refused(self, event: StreamRefused) -> None:
        self._session.refused(event)
        if event.code is ErrorCode.CANCELLED and not self._liveness.cancels.allows():
            self._churned()

    def _ignored(self, event: FrameIgnored) -> None:
        self._meter.dropped(event.reason)

    def _cancelled(self, event: StreamCancelled) -> None:
        """Cancel a stream. Calls that are begun to be given up cost an owner more than their caller."""
        early = self._session.unanswered(event.corr_id)
        self._session.cancelled(event.corr_id)
        if early and not self._liveness.cancels.allows():
            self._churned()

    def _churned(self) -> None:
        self._meter.dropped("cancels")
        self.goaway(_CHURN_RETRY_MS)
        if not self._closing:
            self._session.close()
            self._close()

    def _greet(self, event: HelloReceived) -> None:
        self._liveness.greeted()
        self._listener.held.greeted(self)
        self._meter.hello_out.inc()
        reply = hello_reply(self._transport, idle_s=self._services.timeouts.idle)
        self._outbox.write_control(self._wire.send_hello(event, reply))

    # Reading, and when not to

    def stop_reading(self, reason: str = UPLOAD) -> None:
        """Read nothing, for *reason*. Deadlines for what the caller sends stand still."""
        reasons = self._pump.reasons
        if not reasons:
            self._liveness.hold(True)
            self._session.hold(True)
        reasons.add(reason)
        if not self._closing:
            # Nothing runs for who is not read for want of memory: it may go unnoticed.
            self._intake.pause(look=reason is not MEMORY)

    def go_on_reading(self, reason: str = UPLOAD) -> None:
        """Go on with what was read already, then read, unless there is another reason not to."""
        reasons = self._pump.reasons
        if reason not in reasons:
            return
        reasons.remove(reason)
        if reasons:
            return
        self._liveness.hold(False)
        self._session.hold(False)
        self._run()
        if not (reasons or self._closing or self.input_ended):
            self._intake.resume()

    def _rest(self) -> None:
        self.stop_reading(TURN)
        self._resting = self._services.clock.callLater(0, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.go_on_reading(TURN)

    def spare_memory(self, tight: bool) -> None:
        """Read nothing while memory is *tight*, unless something runs for the caller: that must go on."""
        if not tight:
            self.go_on_reading(MEMORY)
        elif self.idle_since_s is not None and not self.input_ended:
            self.stop_reading(MEMORY)

    def _charge(self, held: int) -> None:
        self._services.buffers.add(held - self._charged)
        self._charged = held

    def _ask(self) -> None:
        """Learn whether the caller has gone, while nothing of it is read, or will be."""
        if not self._closing:
            self._liveness.ask()

    def stream_ended(self) -> None:
        """Close when this was the last stream of a connection that has no future."""
        if self._closing or self._session.streams:
            return
        waits = self._pump.reasons
        if self._wire.state is ConnectionState.LEAVING or (
            self.input_ended and not (waits or self._pump.running)
        ):
            self._close()
        elif not waits:
            self._liveness.stream_ended()
            if self._services.buffers.tight:
                self.spare_memory(True)

    # Towards its listener

    @property
    def idle_since_s(self) -> float | None:
        """Since when it has heard nothing and has had no stream; None: it has one, or is closing."""
        used = self._session.streams or self._wire.mid_frame
        if used or self._closing or self._wire.state is not ConnectionState.OPEN:
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
        if self._closing:
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
        if self._leaving is None and not self._closing:
            self._leaving = Leaving(self._services.clock, self._session, self)
            self._handlers[StreamOpened] = self._leaving.opened

    def leave(self, retry_after_ms: int) -> None:
        """Go away, as soon as no call is on its way here that would be refused; end subscriptions."""
        self.watch()
        if self._leaving is not None and not self._closing:
            self._leaving.leave(retry_after_ms)

    def give_up(self, retry_after_ms: int) -> None:
        """Go away now: calls that are open are cancelled, and their callers told that the node drains."""
        self.goaway(retry_after_ms)
        self._session.give_up(draining(retry_after_ms))

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
        self._intake.close()
        self._outbox.discard()
        self._transport.abortConnection()

    def _fail(self, failed: ConnectionFailed) -> None:
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
        # Input that waits in the kernel would turn the close into a reset.
        self._intake.resume()
        self._farewell.begin(self._pump.held, linger=not self.input_ended)
        self._pump.clear()

    def _stop(self) -> None:
        """Handle nothing more, and wait for nothing."""
        self._closing = True
        self._pump.close()
        self._liveness.close()
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()
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
        if self._closing:
            self._farewell.input_ended()
            return
        self._run()
        if not self._closing:
            # It is owed answers, or it has gone: it is asked at once, and as long as there are any.
            self._intake.pause()
            self._ask()
            self._intake.look_soon()

    def _end_of_input(self) -> None:
        self._session.half_closed()
        if not (self._closing or self._session.streams):
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
        self._intake.close()
        self._farewell.over()
        self._pump.clear()
        self._charge(0)
        if self._wire.close():
            self._meter.dropped("truncated")
        self._meter.connections.dec()
        self._listener.closed(self)

    def _unread(self) -> None:
        self._services.slow_reader()
        self._session.close(_UNREAD)
        self.abort()

    def fail_for(self, code: ErrorCode, message: str) -> None:
        """Fail the connection for a reason outside its bytes."""
        failed = self._wire.fail(code, message)
        if failed is not None and not self._closing:
            self._fail(failed)
