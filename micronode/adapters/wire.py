"""A connection to an owner as bytes see it: whether it lives, whether it is read, how it is closed."""

from __future__ import annotations

from typing import Any
from typing import Protocol as Shape

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol

from micronode.concurrency.hangup import Pending
from micronode.concurrency.outgoing import Outgoing, Outlet


class Keeper(Shape):
    """Who made a connection, and hears what becomes of it before anyone else does."""

    outgoing: Outgoing

    def idle(self, connection: Any) -> None:
        """It may be used again."""

    def dropped(self, connection: Any) -> None:
        """It will never be used again, and is closed or about to be."""

    def retired(self, connection: Any) -> None:
        """It was dropped, and is closed in good order; it is to be cut where that takes too long."""

    def lost(self, connection: Any) -> None:
        """It is closed. It may not have been dropped before."""


class OwnerWire(Protocol):
    """What :class:`~micronode.adapters.connection.OwnerConnection` stands on.

    :ivar wire: the transport.
    :ivar outlet: writes to it.
    :ivar dead: whether it is closed, or about to be.
    :ivar reading: whether it is read.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.dead = False
        self.wire: Any = None
        self.keeper = keeper
        self.reading = True
        self._pending: Pending | None = None

    def connectionMade(self) -> None:
        self.wire = self.transport
        # The pieces of an upload leave as they come, whatever the owner has acknowledged.
        no_delay = getattr(self.wire, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        self.outlet = Outlet(self.wire, self.keeper.outgoing)
        if self.outlet.past_buffers:
            # What an endpoint puts between them has done its work: it tells that there is a connection.
            self.wire.protocol = self

    @property
    def clean(self) -> bool:
        """Whether nothing was sent to it, nor has it ended, that the reactor has not told yet."""
        if self._pending is None:
            self._pending = Pending(self.wire)
        # TLS may have ended a turn of the reactor before the connection beneath it is lost.
        return not (self.dead or getattr(self.wire, "ended", False) or self._pending.is_there())

    def read(self, reading: bool) -> None:
        """Read, or stop."""
        if reading is not self.reading and not self.dead:
            self.reading = reading
            if reading:
                self.wire.resumeProducing()
            else:
                self.wire.pauseProducing()

    def kill(self) -> None:
        """Close it at once, whatever it does; it is never used again."""
        if not self.dead:
            self.dead = True
            self.outlet.drop()
            self.keeper.dropped(self)
            self.wire.abortConnection()

    def retire(self) -> None:
        """Close it in good order; it is idle, or its answer was whole. It may take its owner to end it."""
        if not self.dead:
            self.dead = True
            self.keeper.dropped(self)
            self.keeper.retired(self)
            self.outlet.buffered().loseConnection()

    def part(self) -> None:
        """Close it in good order, or at once where its owner might not answer: over TLS, to close_notify."""
        if ISSLTransport.providedBy(self.wire):
            self.kill()
        else:
            self.retire()

    def cut(self) -> None:
        """End a :meth:`retire` that takes too long."""
        self.wire.abortConnection()
