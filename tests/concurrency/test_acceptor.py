"""Accepting within bounds: one by one, not beyond them, and not in circles where there are no descriptors."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.concurrency.acceptor import BATCH, REST_S, Acceptor, accept_within
from micronode.concurrency.connections import Bounds, Connections
from micronode.concurrency.tally import PERIOD_S

HOST = IPv4Address("TCP", "127.0.0.1", 5310)


class StubSocket:
    """One that was accepted."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class StubListening:
    """A listening socket: accepts what waits, or raises it."""

    def __init__(self) -> None:
        self.waiting: list[StubSocket | OSError] = []

    def accept(self) -> tuple[StubSocket, tuple[str, int]]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        first = self.waiting[0]
        if isinstance(first, OSError):
            if first.errno == errno.ECONNABORTED:
                self.waiting.pop(0)
            raise first
        self.waiting.pop(0)
        return first, ("10.0.0.1", 1)


class SpyConnection:
    """A protocol that tells the connections of itself."""

    idle_since_s: float | None = None

    def __init__(self, connections: Connections[Any]) -> None:
        self._connections = connections
        self.reaped = 0

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._connections.opened(self, "10.0.0.1")
        self._connections.greeted(self)

    def reap(self) -> bool:
        self.reaped += 1
        return True

    def make_way(self) -> None:
        raise AssertionError("it has finished its handshake")


class StubPort:
    """A port that listens; it is its own factory and makes transports of nothing."""

    def __init__(self, connections: Connections[Any]) -> None:
        self.socket = StubListening()
        self.factory = self
        self.made: list[SpyConnection] = []
        self.refuses = self.breaks = self.stopped = False
        self.reading = True
        self.lost: Failure | None = None
        self._connections = connections

    def fileno(self) -> int:
        return 7

    def logPrefix(self) -> str:
        return "stub"

    def getHost(self) -> IPv4Address:
        return HOST

    def stopReading(self) -> None:
        self.reading = False

    def stopListening(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason

    def _buildAddr(self, address: tuple[str, int]) -> IPv4Address:
        return IPv4Address("TCP", *address)

    def buildProtocol(self, address: IPv4Address) -> SpyConnection | None:
        if self.breaks:
            raise RuntimeError("a defect")
        if self.refuses:
            return None
        self.made.append(SpyConnection(self._connections))
        return self.made[-1]

    def transport(self, connected: StubSocket, *rest: Any) -> StubSocket:
        return connected


class ReadingReactor(Clock):
    """A clock that knows who wants to read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)


class AcceptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ReadingReactor()
        self.connections: Connections[Any] = Connections(
            "http", self.reactor, bounds=Bounds(max_connections=100)
        )
        self.port = StubPort(self.connections)
        self.acceptor = Acceptor(self.port, self.reactor, self.connections)  # type: ignore[arg-type]

    def wait(self, count: int) -> list[StubSocket]:
        """Let *count* more wait to be accepted."""
        more = [StubSocket() for _ in range(count)]
        self.port.socket.waiting += more
        return more

    def turn(self) -> None:
        """Let the reactor tell that there is something, if it was asked for it."""
        for reader in list(self.reactor.readers):
            reader.doRead()

    def test_interfaces(self) -> None:
        self.assertTrue(verifyObject(IListeningPort, self.acceptor))
        self.assertTrue(verifyObject(IReadDescriptor, self.acceptor))
        self.assertEqual((self.acceptor.getHost(), self.acceptor.fileno()), (HOST, 7))
        self.assertEqual(self.acceptor.logPrefix(), "stub")

    def test_reads_in_the_port_s_stead(self) -> None:
        self.assertEqual((self.reactor.readers, self.port.reading), ([self.acceptor], False))

    def test_accepts_all_that_wait(self) -> None:
        sockets = self.wait(3)
        self.turn()
        self.assertEqual([each.transport for each in self.port.made], sockets)

    def test_a_batch_in_one_turn(self) -> None:
        self.wait(BATCH + 1)
        self.turn()
        self.assertEqual(len(self.port.made), BATCH)
        self.turn()
        self.assertEqual(len(self.port.made), BATCH + 1)

    def test_the_cap_pauses_it_and_nobody_is_dropped(self) -> None:
        sockets = self.wait(150)
        for _ in range(5):
            self.turn()
        self.assertEqual((len(self.port.made), self.reactor.readers), (100, []))
        for each in self.port.made[:2]:
            self.connections.closed(each)
        self.assertEqual(self.reactor.readers, [self.acceptor])
        self.turn()
        self.assertEqual((len(self.port.made), self.reactor.readers), (102, []))
        self.assertFalse(any(each.closed for each in sockets))

    def test_one_that_is_refused_is_closed(self) -> None:
        self.port.refuses = True
        sockets = self.wait(2)
        self.turn()
        self.assertEqual([each.closed for each in sockets], [True, True])

    def test_a_defect_is_logged_and_costs_one_connection(self) -> None:
        self.port.breaks = True
        (socket,) = self.wait(1)
        self.turn()
        self.assertTrue(socket.closed)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.port.breaks = False
        self.wait(1)
        self.turn()
        self.assertEqual(len(self.port.made), 1)

    def test_one_that_has_gone_is_passed_over(self) -> None:
        self.port.socket.waiting.append(OSError(errno.ECONNABORTED, "gone"))
        self.wait(1)
        self.turn()
        self.assertEqual(len(self.port.made), 1)

    def test_without_descriptors_it_rests(self) -> None:
        """The reactor would tell again and again that somebody waits."""
        idle = [SpyConnection(self.connections) for _ in range(3)]
        for each in idle:
            each.makeConnection(None)
            each.idle_since_s = -10.0
        self.port.socket.waiting.append(OSError(errno.EMFILE, "Too many open files"))
        with capturedLogs() as logs:
            self.turn()
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual([each.reaped for each in idle], [1, 0, 0])
        (event,) = [each for each in logs if each["log_level"] is LogLevel.error]
        self.assertEqual((event["log_format"], event["reason"]), ("accept_error", "Too many open files"))
        self.assertEqual(event["listener"], self.connections.listener)
        self.port.socket.waiting.clear()
        self.wait(1)
        self.reactor.advance(REST_S)
        self.assertEqual(self.reactor.readers, [self.acceptor])
        self.turn()
        self.assertEqual(len(self.port.made), 4 - 3)

    def test_how_often_is_told_at_the_end_too(self) -> None:
        with capturedLogs() as logs:
            for _ in range(3):
                self.port.socket.waiting.append(OSError(errno.EMFILE, "Too many open files"))
                self.turn()
                self.reactor.advance(REST_S)
            self.reactor.pump([PERIOD_S] * 2)
        told = [(each["log_format"], each["count"]) for each in logs if "count" in each]
        self.assertEqual(told, [("accept_error", 1), ("accept_error", 2), ("accept_error_ended", 3)])

    def test_room_that_comes_while_it_rests(self) -> None:
        self.port.socket.waiting.append(OSError(errno.ENFILE, "Too many open files in system"))
        self.turn()
        self.connections.on_room()
        self.assertEqual(self.reactor.readers, [])

    def test_stopped(self) -> None:
        self.successResultOf(self.acceptor.stopListening())
        self.assertEqual((self.reactor.readers, self.port.stopped), ([], True))
        self.connections.on_room()
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))

    def test_stopped_while_it_rests(self) -> None:
        self.port.socket.waiting.append(OSError(errno.EMFILE, "Too many open files"))
        self.turn()
        self.acceptor.stopListening()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_the_reactor_stops(self) -> None:
        reason = Failure(RuntimeError())
        self.acceptor.connectionLost(reason)
        self.assertIs(self.port.lost, reason)
        self.assertEqual(self.reactor.readers, [])

    def test_who_waits_is_taken_at_last(self) -> None:
        """Whatever the bounds say: they would be reset."""
        self.connections.bound(Bounds(max_connections=1))
        self.wait(3)
        self.assertEqual(self.acceptor.take_waiting(9), 3)
        self.assertEqual((len(self.port.made), self.acceptor.take_waiting(9)), (3, 0))

    def test_who_comes_as_fast_as_others_are_taken_does_not_keep_it_from_its_end(self) -> None:
        self.wait(9)
        self.assertEqual((self.acceptor.take_waiting(5), len(self.port.made)), (5, 5))

    def test_a_port_in_memory_is_left_alone(self) -> None:
        port: Any = StubPort(self.connections)
        self.assertIs(accept_within(port, MemoryReactorClock(), self.connections), port)
