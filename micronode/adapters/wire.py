"""A connection to an owner as bytes see it: whether it lives, whether it is read, how it is closed."""

from __future__ import annotations

from typing import Any
from typing import Protocol as Shape

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol

from micronode.concurrency.hangup import Pending


class Keeper(Shape):
    """Who made a connection, and hears what becomes of it before anyone else does."""

    def idle(self, connection: Any) -> None:
        """It may be used again."""

    def dropped(self, connection: Any) -> None:
        """It will never be used again, and is closed or about to be."""

    def retired(self, connection: Any) -> None:
        """It was dropped, and is closed in good order; it is to be cut where that takes too long."""

    def send_soon(self, connection: Any, data: bytes) -> None:
        """Call *connection*'s ``send`` with *data* in the reactor's next turn."""

    def lost(self, connection: Any) -> None:
        """It is closed. It may not have been dropped before."""


class OwnerWire(Protocol):
    """What :class:`~micronode.adapters.connection.OwnerConnection` stands on.

    :ivar wire: the transport.
    :ivar dead: whether it is closed, or about to be.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.dead = False
        self.wire: Any = None
        self.keeper = keeper
        self._reading = True
        self._pending: Pending | None = None
        #: Whether the kernel has taken all that was written, so that what follows may go to it directly.
        self._unbuffered = False

    def connectionMade(self) -> None:
        self.wire = self.transport
        # The pieces of an upload leave as they come, whatever the owner has acknowledged.
        no_delay = getattr(self.wire, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        # By its class: what wraps a transport, as TLS does, may offer what is below it as its own.
        self._unbuffered = isinstance(self.wire, FileDescriptor) and not ISSLTransport.providedBy(self.wire)
        if self._unbuffered:
            # What an endpoint puts between them has done its work: it tells that there is a connection.
            self.wire.protocol = self

    def write(self, data: bytes) -> None:
        """Let *data* leave, a request that is whole, in the reactor's next turn."""
        if self._unbuffered:
            self.keeper.send_soon(self, data)
        else:
            self.wire.write(data)

    def buffered(self) -> Any:
        """Return the transport for somebody who writes to it; so does everybody from now on, in order."""
        self._unbuffered = False
        return self.wire

    def send(self, data: bytes) -> None:
        """Hand *data* to the kernel; what it does not take, and how it failed, is the transport's."""
        if self.dead:
            return
        sent = self.wire.writeSomeData(data) if self._unbuffered else 0
        if sent != len(data):
            rest = data[sent:] if isinstance(sent, int) else data
            self.buffered().write(rest)

    @property
    def clean(self) -> bool:
        """Whether nothing was sent to it, nor has it ended, that the reactor has not told yet."""
        if self._pending is None:
            self._pending = Pending(self.wire)
        # TLS may have ended a turn of the reactor before the connection beneath it is lost.
        return not (self.dead or getattr(self.wire, "ended", False) or self._pending.is_there())

    def read(self, reading: bool) -> None:
        """Read, or stop."""
        if reading is not self._reading and not self.dead:
            self._reading = reading
            if reading:
                self.wire.resumeProducing()
            else:
                self.wire.pauseProducing()

    def kill(self) -> None:
        """Close it at once, whatever it does; it is never used again."""
        if not self.dead:
            self.dead = True
            self.keeper.dropped(self)
            self.wire.abortConnection()

    def retire(self) -> None:
        """Close it in good order; it is idle, or its answer was whole. It may take its owner to end it."""
        if not self.dead:
            self.dead = True
            self.keeper.dropped(self)
            self.keeper.retired(self)
            self.wire.loseConnection()

    def part(self) -> None:
        """Close it in good order, or at once where its owner might not answer: over TLS, to close_notify."""
        if ISSLTransport.providedBy(self.wire):
            self.kill()
        else:
            self.retire()

    def cut(self) -> None:
        """End a :meth:`retire` that takes too long."""
        self.wire.abortConnection()
