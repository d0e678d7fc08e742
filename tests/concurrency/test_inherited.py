"""Sockets that are somebody else's: served, and left as they were."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.inherited import adopt, reason_against


class InheritedTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Not trial's own folder: a socket's path has room for 107 bytes.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "s")

    def unix(self, kind: int = socket.SOCK_STREAM, *, backlog: int | None = 8) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(sock.close)
        sock.bind(self.path)
        os.chmod(self.path, 0o640)
        if backlog is not None:
            sock.listen(backlog)
        return sock


class ReasonTests(InheritedTestCase):
    def test_a_listening_stream(self) -> None:
        self.assertIsNone(reason_against(self.unix()))

    def test_others(self) -> None:
        self.assertIn("does not listen", str(reason_against(self.unix(backlog=None))))
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            self.assertIn("no stream socket", str(reason_against(datagrams)))
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink:
            self.assertIn("neither a TCP nor a Unix socket", str(reason_against(netlink)))


class AcceptingReactor(MemoryReactorClock):
    """Remembers who wants to read, so that a test can tell them that they can."""

    def readable(self) -> None:
        """Something can be accepted, or read, everywhere."""
        for reader in list(self.getReaders()):
            reader.doRead()


class UnixTests(InheritedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = AcceptingReactor()
        self.made: list[Any] = []
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        build = factory.buildProtocol

        def remember(address: Any) -> Any:
            self.made.append(build(address))
            return self.made[-1]

        factory.buildProtocol = remember  # type: ignore[method-assign]
        self.factory = factory

    def connect(self) -> socket.socket:
        caller = socket.socket(socket.AF_UNIX)
        self.addCleanup(caller.close)
        caller.settimeout(5.0)
        caller.connect(self.path)
        return caller

    def serve(self, inherited: socket.socket) -> Any:
        return adopt(self.reactor, inherited, self.factory)

    def test_serves_its_callers(self) -> None:
        port = self.serve(self.unix())
        self.assertEqual(port.getHost().name, os.fsencode(self.path))
        caller = self.connect()
        self.reactor.readable()
        (protocol,) = self.made
        self.addCleanup(protocol.transport.connectionLost, Failure(ConnectionDone()))
        protocol.transport.write(b"hello")
        protocol.transport.doWrite()
        self.assertEqual(caller.recv(100), b"hello")
        self.successResultOf(self.stopped(port))

    def stopped(self, port: Any) -> Any:
        stopping = port.stopListening()
        self.reactor.advance(0)
        return stopping

    def test_mode_and_path_stay(self) -> None:
        port = self.serve(self.unix())
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)
        self.successResultOf(self.stopped(port))
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)

    def test_callers_wait_for_the_next_one(self) -> None:
        inherited = self.unix()
        self.successResultOf(self.stopped(self.serve(inherited)))
        caller = self.connect()
        again = self.serve(inherited)
        self.reactor.readable()
        self.assertEqual(len(self.made), 1)
        self.made[0].transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(caller.recv(1), b"")
        self.successResultOf(self.stopped(again))

    def test_the_factory_is_told(self) -> None:
        port = self.serve(self.unix())
        self.assertEqual(self.factory.numPorts, 1)
        self.successResultOf(self.stopped(port))
        self.assertEqual(self.factory.numPorts, 0)

    def test_nobody_waits_for_a_caller(self) -> None:
        """Its maker's descriptor blocks; accepting from it must not."""
        inherited = self.unix()
        port = self.serve(inherited)
        self.assertEqual(inherited.gettimeout(), 0.0)
        self.reactor.readable()
        self.assertEqual(self.made, [])
        self.successResultOf(self.stopped(port))
