"""What one connection reads: handed on event by event, and when, and why, nothing is read.

While nothing is read, the deadlines for what the caller sends stand still, and whether the caller has gone is
asked of the transport (:mod:`micronode.concurrency.hangup`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

from micronode.concurrency.hangup import Intake
from micronode.oap.liveness import Liveness
from micronode.oap.outbox import Outbox
from micronode.oap.pump import MEMORY, TURN, UPLOAD, Pump
from micronode.oap.services import Services
from micronode.oap.session import Session
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.events import Event


class Line(Protocol):
    """The connection, as far as its reader needs it."""

    transport: Any
    #: The caller sends no more.
    input_ended: bool
    #: Nothing more is handled.
    closing: bool

    @property
    def idle_since_s(self) -> float | None:
        """Since when nothing runs for its caller; None: something does."""

    def end_of_input(self) -> None:
        """All that was read before the end is handled."""

    def abort(self) -> None:
        """Drop the connection."""


class Reader:
    """Passes on what comes from the transport of *line*.

    :ivar put: adds bytes from the transport; :meth:`run` passes them on.
    :ivar reasons: why nothing is read; empty while it is.
    """

    def __init__(self, line: Line, services: Services, wire: NodeConnection, outbox: Outbox) -> None:
        self._line = line
        self._services = services
        self._wire = wire
        self._outbox = outbox
        # A caller that sends no more may still read: its answers are owed, and so is what it asked unread.
        self._intake = Intake(services.clock, line.transport, lost=line.abort, ask=self._ask)
        #: Set while what was read waits for the next turn of the reactor.
        self._resting: IDelayedCall | None = None
        #: Bytes of a begun frame that are charged to the node's account.
        self._charged = 0

    def begin(self, session: Session, liveness: Liveness, handle: Callable[[Event], None]) -> None:
        """Hand on to *handle* what is read from now on; the other two are told when nothing is."""
        self._session = session
        self._liveness = liveness
        self._pump = Pump(self._wire.receive, handle, self._rest)
        self.put, self.reasons = self._pump.put, self._pump.reasons

    @property
    def running(self) -> bool:
        """Whether events are being handed on."""
        return self._pump.running

    def run(self) -> None:
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
        if pump.reasons or self._line.closing:
            return
        self._liveness.heard(happened, mid_frame=self._wire.mid_frame)
        if self._line.input_ended:
            self._line.end_of_input()

    def input_ended(self) -> None:
        """No more will come: handle what did, then find out whether the caller has gone."""
        self.run()
        if not self._line.closing:
            # It is owed answers, or it has gone: it is asked at once, and as long as there are any.
            self._intake.pause()
            self._ask()
            self._intake.look_soon()

    # Stop, and go on

    def stop_reading(self, reason: str = UPLOAD) -> None:
        """Read nothing, for *reason*. Deadlines for what the caller sends stand still."""
        reasons = self.reasons
        if not reasons:
            self._liveness.hold(True)
            self._session.hold(True)
        reasons.add(reason)
        if not self._line.closing:
            # Nothing runs for who is not read for want of memory: it may go unnoticed.
            self._intake.pause(look=reason is not MEMORY)

    def go_on_reading(self, reason: str = UPLOAD) -> None:
        """Go on with what was read already, then read, unless there is another reason not to."""
        reasons = self.reasons
        if reason not in reasons:
            return
        reasons.remove(reason)
        if reasons:
            return
        self._liveness.hold(False)
        self._session.hold(False)
        self.run()
        line = self._line
        if not (reasons or line.closing or line.input_ended):
            self._intake.resume()

    def spare_memory(self, deaf: bool) -> None:
        """Read nothing while the node is *deaf*, unless something runs for the caller: that must go on."""
        if not deaf:
            self.go_on_reading(MEMORY)
        elif self._line.idle_since_s is not None and not self._line.input_ended:
            self.stop_reading(MEMORY)

    def _rest(self) -> None:
        self.stop_reading(TURN)
        self._resting = self._services.clock.callLater(0, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.go_on_reading(TURN)

    def _charge(self, held: int) -> None:
        self._services.buffers.add(held - self._charged)
        self._charged = held

    def _ask(self) -> None:
        """Learn whether the caller has gone, while nothing of it is read, or will be."""
        if not self._line.closing:
            self._liveness.ask()

    # The end

    def stop(self) -> None:
        """Handle nothing more."""
        self._pump.close()
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()

    def drop(self) -> int:
        """Forget what was read, and read on: input that waits in the kernel would turn a close into a reset.

        :return: how many bytes were read and not decoded.
        """
        self._intake.resume()
        held = self._pump.held
        self._pump.clear()
        return held

    def close(self) -> None:
        """The transport is gone, or about to be."""
        self._intake.close()

    def over(self) -> None:
        """The connection is over."""
        self.close()
        self._pump.clear()
        self._charge(0)
