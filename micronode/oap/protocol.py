"""One OAP/1 connection on a transport: feeds the core, passes its events on, keeps the deadlines.

Whatever a peer does ends here as an error frame, a close, or a count, never as an exception.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.calls.context import fresh_request_id
from micronode.concurrency.farewell import Farewell
from micronode.concurrency.hangup import Intake
from micronode.concurrency.stall import unacknowledged
from micronode.errors import ErrorCode, NodeError, error_object
from micronode.oap.compression import deflate, make_inflate
from micronode.oap.hello import hello_reply
from micronode.oap.outbox import Outbox
from micronode.oap.rate import Rate
from micronode.oap.session import Session
from micronode.oap.timers import Deadline
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

#: PINGs that are echoed in so many seconds.
_PINGS: Final = 10
_PINGS_S: Final = 1.0
#: Cancels before the head of an answer that are borne in so many seconds.
_CANCELS: Final = 256
_CANCELS_S: Final = 10.0
#: When a caller that cancelled more than that may come back.
_CHURN_RETRY_MS: Final = 1_000
_UNREAD: Final = NodeError(ErrorCode.TIMEOUT, "the caller took no byte of what was sent")


@implementer(IHalfCloseableProtocol)
class OAPProtocol(Protocol):
    """A connection; made by :class:`~micronode.oap.factory.OAPFactory`, which keeps track of it."""

    def __init__(self, factory: OAPFactory) -> None:
        services, limits = factory.services, factory.limits
        timeouts, clock = services.timeouts, services.clock
        self.factory = factory
        self._listener = factory
        self._services = services
        self._meter = services.meter
        self._clock = clock
        self._wire = NodeConnection(
            max_frame=limits.max_frame,
            max_chunk=limits.max_chunk,
            max_inflight=limits.max_inflight,
            inflate=make_inflate(limits.decompress_ratio),
            deflate=deflate,
        )
        #: Events not yet asked for, and input not yet decoded: both only wait while reading is stopped.
        self._events: Iterator[Event] = iter(())
        self._input: deque[bytes] = deque()
        self._pumping = False
        #: Why nothing is read: a stream is full, or too much output waits. Empty: it is read.
        self._reasons: set[str] = set()
        #: The caller will send no more (it half-closed).
        self._input_ended = False
        self._closing = False
        self._aborted = False
        self._lost = False
        #: What the kernel had not got rid of when the caller was last looked at.
        self._unsent: int | None = None
        self._handshake = Deadline(clock, timeouts.handshake, self._hello_late)
        self._frame = Deadline(clock, timeouts.read, self._frame_late)
        self._idle = Deadline(clock, timeouts.idle, self._silent)
        self._echo = Deadline(clock, timeouts.read, self._no_echo)
        self._deadlines = (self._handshake, self._frame, self._idle, self._echo)
        self._pings = Rate(clock, _PINGS, _PINGS_S)
        self._cancels = Rate(clock, _CANCELS, _CANCELS_S)

    def connectionMade(self) -> None:
        """Wait for HELLO."""
        transport = self._transport
        self._listener.opened(self)
        self._meter.connections.inc()
        self._outbox = Outbox(
            transport,
            self._clock,
            stall_s=self._services.timeouts.write_stall,
            broken=self._unread,
            relieved=lambda: self.go_on_reading("output"),
        )
        # A caller that sends no more may still read: its answers are owed, and so is what it asked unread.
        self._intake = Intake(self._clock, transport, lost=self.abort)
        self._farewell = Farewell(transport, self._clock, stall_s=self._services.timeouts.write_stall)
        peer = getattr(transport.getPeer(), "host", None) or "unix"
        self._session = Session(self._services, self._wire, self._outbox, self, peer=peer)
        self._handshake.start()

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
        self._input.append(data)
        self._pump()

    def _pump(self) -> None:
        """Pass on what was read, event by event, until there is no more or a stream is full."""
        if self._pumping:
            return
        self._pumping = True
        happened = False
        self._outbox.cork()
        try:
            while not (self._reasons or self._closing):
                if self._outbox.crowded:
                    self.stop_reading("output")
                    break
                event = next(self._events, None)
                if event is not None:
                    happened = True
                    self._handle(event)
                elif self._input:
                    self._events = self._wire.receive(self._input.popleft())
                else:
                    break
            self._session.send_credits()
        finally:
            self._pumping = False
            self._outbox.uncork()
        if self._reasons or self._closing:
            return
        if happened and self._idle.running:
            self._idle.start()
            self._echo.stop()
        if not self._wire.mid_frame:
            self._frame.stop()
        elif happened or not self._frame.running:
            # What is begun now began after the last frame that was whole.
            self._frame.start()
        if self._input_ended:
            self._end_of_input()

    def _handle(self, event: Event) -> None:
        self._meter.received(event)
        match event:
            case BodyReceived():
                self._session.body(event)
            case StreamOpened():
                self._session.opened(event)
            case StreamCancelled():
                self._cancelled(event)
            case StreamFailed():
                self._session.failed(event)
            case StreamRefused():
                self._session.refused(event)
                if event.code is ErrorCode.CANCELLED and not self._cancels.allows():
                    self._churned()
            case CreditReceived():
                self._session.credited(event.corr_id)
            case PingReceived():
                self._pinged(event)
            case FrameIgnored():
                self._meter.dropped(event.reason)
            case HelloReceived():
                self._greet(event)
            case ConnectionFailed():
                self._fail(event)

    def _pinged(self, event: PingReceived) -> None:
        if self._pings.allows():
            self._meter.event_out.inc()
            self._outbox.write_control(self._wire.send_pong(event))
        else:
            self._meter.dropped("ping")

    def _cancelled(self, event: StreamCancelled) -> None:
        """Cancel a stream. Calls that are begun to be given up cost an owner more than their caller."""
        early = self._session.unanswered(event.corr_id)
        self._session.cancelled(event.corr_id)
        if early and not self._cancels.allows():
            self._churned()

    def _churned(self) -> None:
        self._meter.dropped("cancels")
        self.goaway(_CHURN_RETRY_MS)
        if not self._closing:
            self._session.close()
            self._close()

    def _greet(self, event: HelloReceived) -> None:
        self._handshake.stop()
        self._idle.start()
        self._meter.hello_out.inc()
        reply = hello_reply(self._transport, idle_s=self._services.timeouts.idle)
        self._outbox.write_control(self._wire.send_hello(event, reply))

    # Reading, and when not to

    def stop_reading(self, reason: str = "upload") -> None:
        """Read nothing, for *reason*. Deadlines for what the caller sends stand still."""
        reads = not self._reasons
        self._reasons.add(reason)
        if reads:
            for deadline in (self._frame, self._idle, self._echo):
                deadline.hold()
            self._session.hold(True)
            if not self._closing:
                self._intake.pause()

    def go_on_reading(self, reason: str = "upload") -> None:
        """Go on with what was read already, then read, unless there is another reason not to."""
        if reason not in self._reasons:
            return
        self._reasons.remove(reason)
        if self._reasons:
            return
        for deadline in (self._frame, self._idle, self._echo):
            deadline.release()
        self._session.hold(False)
        self._pump()
        if not (self._reasons or self._closing):
            self._intake.resume()

    def stream_ended(self) -> None:
        """Close when this was the last stream of a connection that has no future."""
        if self._closing or self._session.streams:
            return
        busy = self._pumping or self._reasons
        if self._wire.state is ConnectionState.LEAVING or (self._input_ended and not busy):
            self._close()
        elif self._idle.running and not self._reasons:
            self._idle.start()

    # The end of a connection

    def goaway(self, retry_after_ms: int) -> None:
        """Take no new streams; close when the open ones are over.

        :param retry_after_ms: what the caller is told about when to come back.
        """
        if self._closing:
            return
        if self._wire.state is ConnectionState.OPEN:
            self._meter.event_out.inc()
            self._outbox.write_control(self._wire.send_goaway(retry_after_ms))
        if not self._session.streams:
            self._close()

    def abort(self) -> None:
        """Drop the connection now; its calls are cancelled when the transport says that it is gone."""
        if self._aborted or self._lost:
            return
        self._aborted = self._closing = True
        self._stop_deadlines()
        self._intake.close()
        self._transport.abortConnection()

    def _fail(self, failed: ConnectionFailed) -> None:
        """Say what was wrong, once, and close."""
        self._meter.refused(failed.code)
        self._meter.error_out.inc()
        # Before the frame: it is the last thing that this connection says.
        self._closing = True
        self._session.close()
        error = error_object(failed.code, failed.message, request_id=fresh_request_id())
        self._outbox.write_control(self._wire.send_failure(failed, error))
        self._close()

    def _close(self) -> None:
        """Let what was written reach the caller, then close."""
        if self._aborted:
            return
        self._closing = True
        self._stop_deadlines()
        self._outbox.close()
        # Input that waits in the kernel would turn the close into a reset.
        self._intake.resume()
        self._farewell.begin(sum(map(len, self._input)), linger=not self._input_ended)
        self._input.clear()

    def _stop_deadlines(self) -> None:
        for deadline in self._deadlines:
            deadline.close()

    # Transport events

    def readConnectionLost(self) -> None:
        """Take note of the end of input: what was asked before it is still answered."""
        self._input_ended = True
        if self._closing:
            self._farewell.input_ended()
        else:
            self._pump()

    def _end_of_input(self) -> None:
        self._session.half_closed()
        if not (self._closing or self._session.streams):
            self._close()

    def writeConnectionLost(self) -> None:
        """Our side is shut down, as we asked."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel what runs for this caller."""
        self._lost = self._closing = True
        self._stop_deadlines()
        self._outbox.discard()
        self._session.close()
        self._intake.close()
        self._farewell.over()
        self._events = iter(())
        self._input.clear()
        if self._wire.close():
            self._meter.dropped("truncated")
        self._meter.connections.dec()
        self._listener.closed(self)

    # Deadlines

    def _hello_late(self) -> None:
        self._fail_for(ErrorCode.BAD_HELLO, "no HELLO in time")

    def _frame_late(self) -> None:
        self._fail_for(ErrorCode.FRAME_TIMEOUT, "a frame was not whole in time")

    def _fail_for(self, code: ErrorCode, message: str) -> None:
        failed = self._wire.fail(code, message)
        if failed is not None and not self._closing:
            self._fail(failed)

    def _unread(self) -> None:
        self._session.close(_UNREAD)
        self.abort()

    def _silent(self) -> None:
        """End a connection that nobody uses; ask the caller of one with open streams whether it is there."""
        if not self._session.streams:
            self.goaway(0)
            return
        self._idle.start()
        # A caller that sends no more answers no PING; one that does not read has its own deadline.
        if not (self._input_ended or self._outbox.full):
            self._meter.event_out.inc()
            self._outbox.write_control(self._wire.send_ping())
            self._unsent = unacknowledged(self._transport)
            self._echo.start()

    def _no_echo(self) -> None:
        """Close: the caller does not answer. One that still takes what was sent before the PING may yet."""
        unsent, before = unacknowledged(self._transport), self._unsent
        if self._outbox.full or (unsent and unsent != before):
            self._unsent = unsent
            self._echo.start()
        else:
            self.abort()
