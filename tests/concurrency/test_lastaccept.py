"""Closing a listener: nobody who has connected is reset."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.unix import Port as UnixPort
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from micronode.concurrency.acceptor import Acceptor
from micronode.concurrency.connections import Connections
from micronode.concurrency.lastaccept import HANDSHAKE_S, stop_accepting


@implementer(IReactorFDSet)
class FileReactor(Clock):
    """Has descriptors told to it, and looks at none."""

    def addReader(self, reader: Any) -> None:
        """Nothing is read but by hand."""

    def removeReader(self, reader: Any) -> None:
        """Nothing is."""

    addWriter = removeWriter = removeReader


class StubFactory(Factory):
    def __init__(self) -> None:
        self.taken: list[Protocol] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        self.taken.append(Protocol())
        return self.taken[-1]


class StopAcceptingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FileReactor()
        self.factory = StubFactory()
        self.callers: list[socket.socket] = []
        self.addCleanup(lambda: [caller.close() for caller in self.callers])
        self.addCleanup(lambda: [cast(Any, each.transport).socket.close() for each in self.factory.taken])

    def tcp(self) -> Port:
        port = Port(0, self.factory, interface="127.0.0.1", reactor=self.reactor)
        port.startListening()
        return port

    def connect(self, address: Any, timeout_s: float = 10.0) -> socket.socket:
        caller = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.callers.append(caller)
        caller.settimeout(timeout_s)
        caller.connect(address)
        return caller

    def stop(self, port: Any, **more: Any) -> Deferred[None]:
        return stop_accepting(port, self.reactor, **({"ours": True, "wait_s": 1.0} | more))

    def test_who_waits_is_taken(self) -> None:
        port = self.tcp()
        address = port.socket.getsockname()
        for _ in range(5):
            self.connect(address)
        stopped = self.stop(port)
        self.assertEqual(len(self.factory.taken), 5)
        self.assertNoResult(stopped)
        self.reactor.pump([HANDSHAKE_S, 0, 0])
        self.successResultOf(stopped)
        self.assertRaises(ConnectionRefusedError, self.connect, address)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_nobody_comes_in_between(self) -> None:
        """A connection that were made then would be reset with the socket."""
        port = self.tcp()
        address = port.socket.getsockname()
        self.connect(address)
        stopped = self.stop(port)
        self.assertRaises(TimeoutError, self.connect, address, 0.05)
        # Those that are there go on, though they have the socket's filter.
        self.callers[0].sendall(b"hello")
        taken = cast(Any, self.factory.taken[0].transport).socket
        taken.settimeout(10)
        self.assertEqual(taken.recv(10), b"hello")
        self.reactor.pump([HANDSHAKE_S, 0, 0])
        self.successResultOf(stopped)
        self.assertEqual(len(self.factory.taken), 1)

    def test_without_time_it_is_closed_at_once(self) -> None:
        port = self.tcp()
        self.connect(port.socket.getsockname())
        stopped = self.stop(port, wait_s=0.0)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(len(self.factory.taken), 1)

    def test_of_a_socket_that_others_have_nobody_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as theirs:
            theirs.setblocking(False)
            port = Port._fromListeningDescriptor(self.reactor, theirs.fileno(), socket.AF_INET, self.factory)
            port.startListening()
            address = theirs.getsockname()
            self.connect(address)
            stopped = self.stop(port, ours=False)
            self.reactor.advance(0)
            self.successResultOf(stopped)
            self.assertEqual(self.factory.taken, [])
            self.connect(address)
            theirs.settimeout(10)
            for _ in range(2):
                theirs.accept()[0].close()

    def test_unix_sockets_too(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "node")
            port = UnixPort(cast(Any, path), self.factory, reactor=self.reactor)
            port.startListening()
            for _ in range(3):
                self.connect(path)
            stopped = self.stop(port)
            self.assertEqual(len(self.factory.taken), 3)
            # It is closed in the next turn; nobody comes until then, and who listens there now goes on.
            self.assertRaises(FileNotFoundError, self.connect, path)
            with socket.socket(socket.AF_UNIX) as successor:
                successor.bind(path)
                self.reactor.advance(0)
                self.successResultOf(stopped)
                self.assertEqual(port.fileno(), -1)
                self.assertTrue(Path(path).exists())

    def test_unix_sockets_that_are_accepted_from_within_bounds(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "node")
            port = UnixPort(cast(Any, path), self.factory, reactor=self.reactor)
            port.startListening()
            acceptor = Acceptor(port, self.reactor, Connections("http", self.reactor))
            self.connect(path)
            stopped = self.stop(acceptor)
            self.assertEqual(len(self.factory.taken), 1)
            self.assertRaises(FileNotFoundError, self.connect, path)
            self.reactor.advance(0)
            self.successResultOf(stopped)

    def test_who_was_in_a_handshake_is_taken_too(self) -> None:
        """It ends while no further one can begin, so there is a second look."""
        below, order = self.tcp(), list[str]()

        class SpyPort:
            def fileno(self) -> int:
                return cast(int, below.fileno())

            def take_waiting(self, most: int) -> int:
                order.append("take")
                return 0

            def stopListening(self) -> Any:
                order.append("close")
                return below.stopListening()

        stopped = self.stop(SpyPort())
        self.assertEqual(order, ["take"])
        self.reactor.pump([HANDSHAKE_S, 0, 0])
        self.successResultOf(stopped)
        self.assertEqual(order, ["take", "take", "close"])

    def test_one_in_memory_has_nobody_waiting(self) -> None:
        reactor = MemoryReactorClock()
        port = reactor.listenTCP(1, self.factory)
        self.successResultOf(stop_accepting(port, reactor, ours=True, wait_s=1.0))
