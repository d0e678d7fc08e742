"""The connections to one URL of an owner: those that wait for a request, and a count of all there are.

The one that waited least is used first, so that those too many for the load grow old and are closed. One
timer runs for all of them.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from micronode.adapters.connection import OwnerConnection
from micronode.concurrency.outgoing import Outgoing

#: Seconds an unused connection is kept: below the 5 s that owners commonly keep theirs, so that the
#: node closes first and no request meets a closing connection.
POOL_IDLE_S: Final = 4.0
#: Connections beside those of calls: health probes, and such as are being closed.
SPARE_CONNECTIONS: Final = 8
#: Seconds a connection gets to close well: its owner may answer no close_notify, nor take what is unsent.
_CLOSE_S: Final = 1.0


class TooManyConnectionsError(Exception):
    """There are as many connections as there may be; none was tried."""


class ConnectionPool(Factory):
    """See the module's docstring. It is the factory of its connections, too, and logs nothing about them.

    :param endpoint: connects anew, and resolves anew, for each connection.
    :ivar size: how many idle connections are kept; so many and :data:`SPARE_CONNECTIONS` may be open.
    """

    noisy = False

    def __init__(self, clock: IReactorTime, endpoint: IStreamClientEndpoint, size: int) -> None:
        self.size = size
        self.closed = False
        self._clock = clock
        self._endpoint = endpoint
        #: With the time since when; the oldest first.
        self._idle: list[tuple[float, OwnerConnection]] = []
        self._open: set[OwnerConnection] = set()
        self._connecting = 0
        self.outgoing = Outgoing(clock)
        self._sweep: IDelayedCall | None = None
        #: Connections that are closed in good order and not lost yet, since when; and who waits for them.
        self._closing: dict[OwnerConnection, float] = {}
        self._waiting: list[Deferred[None]] = []
        self._patience: IDelayedCall | None = None

    @property
    def open(self) -> int:
        """How many connections there are, and are being made."""
        return len(self._open) + self._connecting

    @property
    def waiting(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    def take(self) -> OwnerConnection | None:
        """Return an idle connection, which is its user's then; None where there is none."""
        while self._idle:
            _, connection = self._idle.pop()
            if connection.clean:
                return connection
            connection.kill()
        return None

    def connect(self) -> Deferred[OwnerConnection]:
        """Make a connection.

        :return: fires with it; fails as its endpoint does, or with :exc:`TooManyConnectionsError`.
        """
        if self.open >= self.size + SPARE_CONNECTIONS:
            if not self._idle:
                return fail(TooManyConnectionsError("there are too many connections"))
            self._close_oldest()
        self._connecting += 1
        return self._endpoint.connect(self).addCallbacks(self._made, self._not_made)

    def close(self) -> Deferred[None]:
        """Close idle connections, and others as soon as they are idle.

        :return: fires (None) when the idle ones, and those just closing, are closed, a second later at most.
        """
        self.closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._close_oldest()
        if not self._closing:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    # Keeper, of its connections

    def idle(self, connection: OwnerConnection) -> None:
        """Keep it, and for that close another one, or close it."""
        if self.closed:
            connection.retire()
            return
        now = self._clock.seconds()
        self._idle.append((now, connection))
        if len(self._idle) > self.size:
            self._close_oldest()
        if self._sweep is None:
            self._sweep = self._clock.callLater(POOL_IDLE_S, self._close_old)

    def dropped(self, connection: OwnerConnection) -> None:
        """Count it no more."""
        self._open.discard(connection)
        self._idle = [each for each in self._idle if each[1] is not connection]

    def retired(self, connection: OwnerConnection) -> None:
        """Cut it where it takes too long to close."""
        self._closing[connection] = self._clock.seconds()
        if self._patience is None:
            self._patience = self._clock.callLater(_CLOSE_S, self._cut)

    def lost(self, connection: OwnerConnection) -> None:
        """As :meth:`dropped`; and it may be the last that :meth:`close` waits for."""
        self.dropped(connection)
        if self._closing.pop(connection, None) is not None and not self._closing:
            self._all_closed()

    # Factory

    def buildProtocol(self, addr: IAddress | None) -> OwnerConnection:
        return OwnerConnection(self)

    def _made(self, connection: OwnerConnection) -> OwnerConnection:
        self._connecting -= 1
        if not connection.dead:
            self._open.add(connection)
        return connection

    def _not_made(self, failure: Failure) -> Failure:
        self._connecting -= 1
        return failure

    def _close_oldest(self) -> None:
        _, connection = self._idle.pop(0)
        connection.retire()

    def _close_old(self) -> None:
        """Close what has waited too long, in good order where that does not need its owner's help."""
        self._sweep = None
        now = self._clock.seconds()
        while self._idle and self._idle[0][0] + POOL_IDLE_S <= now:
            self._idle[0][1].part()
        if self._idle:
            self._sweep = self._clock.callLater(self._idle[0][0] + POOL_IDLE_S - now, self._close_old)

    def _cut(self) -> None:
        self._patience = None
        now = self._clock.seconds()
        later = []
        for connection, since in list(self._closing.items()):
            # Or the clock was set back.
            if not since <= now < since + _CLOSE_S:
                connection.cut()
            else:
                later.append(since)
        if later:
            self._patience = self._clock.callLater(later[0] + _CLOSE_S - now, self._cut)

    def _all_closed(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
