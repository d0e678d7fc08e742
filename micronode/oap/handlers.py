"""Who handles which event of the core: its connection's session, its liveness, or the connection itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from micronode.errors import ErrorCode
from micronode.oap.liveness import Liveness
from micronode.oap.meter import Meter
from micronode.oap.session import Session
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

#: When a caller that cancelled more than that may come back.
_CHURN_RETRY_MS: Final = 1_000


class Line(Protocol):
    """The connection, as far as its events need it."""

    def greet(self, event: HelloReceived) -> None:
        """Answer HELLO."""

    def fail(self, failed: ConnectionFailed) -> None:
        """Say what was wrong, once, and close."""

    def dismiss(self, retry_after_ms: int) -> None:
        """Say GOAWAY, cancel what runs, and close."""


class Handlers:
    """Passes each event of one connection on, and counts it."""

    def __init__(self, session: Session, liveness: Liveness, meter: Meter, line: Line) -> None:
        self._session = session
        self._liveness = liveness
        self._meter = meter
        self._line = line
        self._table: dict[type[Any], Callable[[Any], None]] = {
            BodyReceived: session.body,
            StreamOpened: session.opened,
            StreamCancelled: self._cancelled,
            StreamFailed: session.failed,
            StreamRefused: self._refused,
            CreditReceived: session.credited,
            PingReceived: liveness.pinged,
            FrameIgnored: self._ignored,
            HelloReceived: line.greet,
            ConnectionFailed: line.fail,
        }

    def handle(self, event: Event) -> None:
        """Pass *event* on."""
        self._meter.received(event)
        self._table[type(event)](event)

    def open_with(self, opened: Callable[[StreamOpened], None]) -> None:
        """Let *opened* stand in the place of the session's."""
        self._table[StreamOpened] = opened

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
        self._line.dismiss(_CHURN_RETRY_MS)
