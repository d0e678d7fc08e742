"""When a connection of a node that drains is told to go away: while no call is on its way to be refused.

A START behind GOAWAY is ``draining`` (``specs/oap-1.md`` section 3), and a caller cannot know of GOAWAY
before it comes. What the node can know is when a caller does not ask: while it waits for answers. One that
makes so many calls at a time waits for all of them when so many are open. So a connection is watched from the
beginning of the drain for the most that were open at once, and GOAWAY is said, before any of their answers,
when as many are again; to one that has been quiet for a while, at once. Who does not come to that is told at
its next call.

(Rejected: to go on serving for a while what comes behind GOAWAY. Its ``last_corr_id`` would not be true any
more, from which a caller takes what was certainly not done.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.concurrency.hangup import Pending
from micronode.concurrency.timer import EPSILON_S
from micronode.errors import ErrorCode, NodeError

if TYPE_CHECKING:
    from micronode.oap.session import Session
    from micronode.oap.wire.events import StreamOpened

#: Seconds after which a caller without a call in flight is taken for one that will not ask at once.
QUIET_S: Final = 1.0
#: Seconds that a connection is watched at least.
WATCH_S: Final = 0.4
#: Seconds after its turn within which as many calls should be open as ever; a node's last call lasts longer.
PATIENCE_S: Final = 0.75


class Line(Protocol):
    """The connection, as far as its leaving needs it."""

    transport: Any

    @property
    def quiet_s(self) -> float:
        """For how many seconds its caller has said nothing."""

    def say_goaway(self, retry_after_ms: int) -> None:
        """Say GOAWAY, if it may be said and was not."""

    def goaway(self, retry_after_ms: int) -> None:
        """The same, and close when no call is open, or the last one is over."""


def draining(retry_after_ms: int) -> NodeError:
    """Return what ends a call, or a subscription, of a node that goes away."""
    return NodeError(ErrorCode.DRAINING, "the node is stopping", retry_after_s=retry_after_ms / 1000)


class Leaving:
    """Watches the calls of one connection, and says GOAWAY in its turn.

    Made when the node begins to drain, or the connection if that is later; :meth:`opened` stands in the place
    of the session's from then on.
    """

    def __init__(self, clock: IReactorTime, session: Session, line: Line) -> None:
        self._clock = clock
        self._session = session
        self._line = line
        self._since_s = clock.seconds()
        #: The most calls that were open at once.
        self._most = len(session.streams)
        #: What the caller is told about when to come back, from its turn on.
        self._retry_after_ms: int | None = None
        self._patience: IDelayedCall | None = None

    def leave(self, retry_after_ms: int) -> None:
        """It is its turn: say GOAWAY as soon as that is well, and end its subscriptions."""
        self._retry_after_ms = retry_after_ms
        if self._is_well():
            self._go(retry_after_ms)
        elif self._patience is None:
            self._patience = self._clock.callLater(PATIENCE_S, self._impatient)

    def opened(self, event: StreamOpened) -> None:
        """Take a call of which the wire has told."""
        count = len(self._session.streams) + 1
        self._most = max(self._most, count)
        retry_after_ms = self._retry_after_ms if count >= self._most and self._watched else None
        if retry_after_ms is not None:
            # Before the answer to it, which ends its caller's wait.
            self._line.say_goaway(retry_after_ms)
            self.close()
        self._session.opened(event)
        if retry_after_ms is not None:
            # Only now: a connection that goes away is closed behind its last stream, and this call was taken.
            self._session.end_subscriptions(draining(retry_after_ms))

    def close(self) -> None:
        """Wait for nothing any more."""
        self._retry_after_ms = None
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()

    @property
    def _watched(self) -> bool:
        return self._clock.seconds() - self._since_s >= WATCH_S - EPSILON_S

    def _is_well(self) -> bool:
        """Whether no call can be on its way now, as far as can be known."""
        count = len(self._session.streams)
        if not count:
            return self._line.quiet_s >= QUIET_S
        return self._watched and count >= self._most and not Pending(self._line.transport).is_there()

    def _impatient(self) -> None:
        self._most = 0
        self._since_s -= WATCH_S
        retry_after_ms = self._retry_after_ms
        if retry_after_ms is not None and self._is_well():
            self._go(retry_after_ms)

    def _go(self, retry_after_ms: int) -> None:
        self.close()
        self._line.goaway(retry_after_ms)
        self._session.end_subscriptions(draining(retry_after_ms))
