"""A network in memory: the node connects, the test is the owner at the other end of each connection."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure


class OwnerEnd(StringTransport):
    """One accepted connection, seen from the owner.

    :ivar aborted: whether the node cut it, not closed it.
    :ivar lost: whether the node knows that it is gone.
    """

    def __init__(self, clock: MemoryReactorClock) -> None:
        super().__init__(lenient=True)
        self.aborted = False
        self.lost = False
        self._clock = clock
        self.protocol: IProtocol | None = None

    @property
    def closed(self) -> bool:
        """Whether the node has closed or cut it."""
        return self.aborted or self.disconnecting

    def heard(self) -> bytes:
        """Return what the node has sent since the last time."""
        value: bytes = self.value()
        self.clear()
        return value

    def send(self, data: bytes) -> None:
        """Send *data* to the node, which must be reading."""
        assert not self.closed, "the node has closed this connection"
        assert self.producerState == "producing", "the node does not read"
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    def hang_up(self, *, cleanly: bool = True) -> None:
        """Close the connection, or reset it."""
        self._lose(ConnectionDone() if cleanly else ConnectionLost("reset"))

    def fill(self) -> None:
        """Take no more bytes from the node."""
        assert self.producer is not None
        self.producer.pauseProducing()

    def drain(self) -> None:
        """Take bytes again."""
        assert self.producer is not None
        self.producer.resumeProducing()

    # ITCPTransport

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._clock.callLater(0, self._lose, ConnectionDone())

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = True
            self._clock.callLater(0, self._lose, ConnectionAborted())

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        # As a real transport does, and unlike StringTransport: harmless when there is none.
        self.producer = None

    def _lose(self, reason: Exception) -> None:
        if not self.lost:
            self.lost = True
            assert self.protocol is not None
            self.protocol.connectionLost(Failure(reason))


class MemoryNetwork:
    """Hands out the connections that the code under test opens through :attr:`reactor`."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.accepted: list[OwnerEnd] = []
        self._tried = 0

    @property
    def connects(self) -> int:
        """How many connections were tried."""
        return len(self.reactor.tcpClients) + len(self.reactor.unixClients)

    def destination(self) -> tuple[Any, ...]:
        """Return host and port of the latest connect."""
        host, port, *_ = self.reactor.tcpClients[-1]
        return host, port

    def accept(self) -> OwnerEnd:
        """Accept the oldest connect that waits."""
        factory = self._next()
        end = OwnerEnd(self.reactor)
        end.protocol = factory.buildProtocol(None)
        self.accepted.append(end)
        end.protocol.makeConnection(end)
        return end

    def serve(self) -> OwnerEnd:
        """Return the connection the latest request went to: a new one (accepted now) or the latest kept."""
        return self.accept() if self.connects > self._tried else self.accepted[-1]

    def refuse(self, error: Exception | None = None) -> None:
        """Let the oldest connect that waits fail."""
        self._next().clientConnectionFailed(None, Failure(error or ConnectionRefusedError()))

    def settle(self) -> None:
        """Let closed connections be lost."""
        self.reactor.advance(0)

    def _next(self) -> Any:
        factories = [client[2] for client in self.reactor.tcpClients]
        factories += [client[1] for client in self.reactor.unixClients]
        factory = factories[self._tried]
        self._tried += 1
        return factory


def response(body: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return a whole HTTP response, of a true length unless *length* is given."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *fields]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
