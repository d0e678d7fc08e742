"""Whether a caller is still there, and in good faith: HELLO and whole frames in time, no silence for ever.

``specs/oap-1.md`` sections 1 (frame timeout) and 3 (HELLO, silence, PING).
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from micronode.concurrency.stall import unacknowledged
from micronode.errors import ErrorCode
from micronode.oap.outbox import Outbox
from micronode.oap.rate import Rate
from micronode.oap.services import Services
from micronode.oap.session import Session
from micronode.oap.timers import Deadline
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.events import PingReceived

#: PINGs that are echoed in so many seconds.
_PINGS: Final = 10
_PINGS_S: Final = 1.0
#: Cancels before the head of an answer that are borne in so many seconds.
_CANCELS: Final = 256
_CANCELS_S: Final = 10.0


class Line(Protocol):
    """The connection, as far as its liveness needs it."""

    transport: Any
    #: The caller sends no more, so that it answers nothing.
    input_ended: bool

    def fail_for(self, code: ErrorCode, message: str) -> None:
        """Say what was wrong, and close."""

    def goaway(self, retry_after_ms: int) -> None:
        """Take no more streams, and close."""

    def abort(self) -> None:
        """Drop the connection."""


class Liveness:
    """The deadlines of one connection, and how often its caller may do what costs it nothing.

    :ivar cancels: how often a call may be cancelled before the head of its answer.
    """

    def __init__(
        self, services: Services, wire: NodeConnection, outbox: Outbox, session: Session, line: Line
    ) -> None:
        clock, timeouts = services.clock, services.timeouts
        self.cancels = Rate(clock, _CANCELS, _CANCELS_S)
        self._pings = Rate(clock, _PINGS, _PINGS_S)
        self._meter = services.meter
        self._wire = wire
        self._outbox = outbox
        self._session = session
        self._line = line
        #: What the kernel had not got rid of when the caller was last looked at.
        self._unsent: int | None = None
        self._handshake = Deadline(clock, timeouts.handshake, self._hello_late)
        self._frame = Deadline(clock, timeouts.read, self._frame_late)
        self._idle = Deadline(clock, timeouts.idle, self._silent)
        self._echo = Deadline(clock, timeouts.read, self._no_echo)
        self._handshake.start()

    @property
    def quiet_s(self) -> float:
        """For how many seconds the caller has said nothing; 0 before its HELLO."""
        return self._idle.elapsed_s

    def greeted(self) -> None:
        """HELLO came."""
        self._handshake.stop()
        self._idle.start()

    def heard(self, happened: bool, *, mid_frame: bool) -> None:
        """Take note of input that was handled.

        :param happened: whether a frame became whole.
        :param mid_frame: whether another has begun and is not.
        """
        if happened and self._idle.running:
            self._idle.start()
            self._echo.stop()
        if not mid_frame:
            self._frame.stop()
        elif happened or not self._frame.running:
            # What is begun now began after the last frame that was whole.
            self._frame.start()

    def stream_ended(self) -> None:
        """The last stream is over: silence begins."""
        if self._idle.running:
            self._idle.start()

    def hold(self, hold: bool) -> None:
        """While nothing is read, nobody is too slow to send."""
        for deadline in (self._frame, self._idle, self._echo):
            if hold:
                deadline.hold()
            else:
                deadline.release()

    def close(self) -> None:
        """Wait for nothing any more."""
        for deadline in (self._handshake, self._frame, self._idle, self._echo):
            deadline.close()

    def pinged(self, event: PingReceived) -> None:
        """Echo a PING, unless they come too often."""
        if self._pings.allows():
            self._meter.event_out.inc()
            self._outbox.write_control(self._wire.send_pong(event))
        else:
            self._meter.dropped("ping")

    def ask(self) -> None:
        """PING a caller that may have gone: the kernel of one that has answers with a reset.

        Not where output waits already: the caller does not read, and has the outbox's deadline.
        """
        if not self._outbox.full:
            self._meter.event_out.inc()
            self._outbox.write_control(self._wire.send_ping())

    # Deadlines

    def _hello_late(self) -> None:
        self._line.fail_for(ErrorCode.BAD_HELLO, "no HELLO in time")

    def _frame_late(self) -> None:
        self._line.fail_for(ErrorCode.FRAME_TIMEOUT, "a frame was not whole in time")

    def _silent(self) -> None:
        """End a connection that nobody uses; ask the caller of one with open streams whether it is there."""
        if not self._session.streams:
            self._line.goaway(0)
            return
        self._idle.start()
        # A caller that sends no more answers no PING; one that does not read has its own deadline.
        if not (self._line.input_ended or self._outbox.full):
            self.ask()
            self._unsent = unacknowledged(self._line.transport)
            self._echo.start()

    def _no_echo(self) -> None:
        """Close: the caller does not answer. One that still takes what was sent before the PING may yet."""
        unsent, before = unacknowledged(self._line.transport), self._unsent
        if self._outbox.full or (unsent and unsent != before):
            self._unsent = unsent
            self._echo.start()
        else:
            self._line.abort()
