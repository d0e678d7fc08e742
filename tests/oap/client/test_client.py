"""Targets, and connecting; what a connection does then is in ``test_caller``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.client import OAPClient, OAPError, connect
from micronode.oap.wire.frames import END, RESP, encode_frame
from tests.support.oap import MemoryTransport, read_frames


class Targets(SynchronousTestCase):
    def test_tcp(self) -> None:
        for target, address in (
            ("oap://127.0.0.1:5312", ("127.0.0.1", 5312)),
            ("oap://[::1]:5312", ("::1", 5312)),
            ("oap://node_1:5312", ("node_1", 5312)),
            ("oap://unix_:5312", ("unix_", 5312)),
        ):
            reactor = MemoryReactorClock()
            connect(reactor, target).addErrback(lambda _: None)
            self.assertEqual(reactor.tcpClients[0][:2], address)

    def test_unix(self) -> None:
        reactor = MemoryReactorClock()
        connect(reactor, "unix:/run/micronode.sock").addErrback(lambda _: None)
        self.assertEqual(reactor.unixClients[0][0], "/run/micronode.sock")

    def test_endpoint(self) -> None:
        reactor = MemoryReactorClock()
        connecting = connect(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", 7), timeout_s=3.0)
        self.assertEqual(reactor.tcpClients[0][:2], ("127.0.0.1", 7))
        reactor.advance(3)
        error = self.failureResultOf(connecting, ConnectError).value
        self.assertIn("the endpoint", str(error))

    def test_malformed(self) -> None:
        for target in (
            "",
            "127.0.0.1:5312",
            "oap://",
            "oap://host",
            "oap://host:0",
            "oap://host:99999",
            "oap://host:port",
            "oap://a..b:5312",
            "oap://a\\b:5312",
            "oap://unix:/a",
            "oap://user@host:5312",
            "oap://host:5312/path",
            "oap://host:5312?query",
            "http://host:80",
            "unix:relative",
            "unix:",
            "unix:/a\0b",
        ):
            with self.subTest(target=target):
                self.assertRaises(ValueError, connect, MemoryReactorClock(), target)

    def test_tls_is_not_available_yet(self) -> None:
        error = self.assertRaises(ValueError, connect, MemoryReactorClock(), "oaps://host:5312")
        self.assertIn("not available yet", str(error))


class Connecting(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.connecting = connect(self.reactor, "oap://127.0.0.1:5312", timeout_s=10.0)

    def accept(self) -> MemoryTransport:
        factory: Any = self.reactor.tcpClients[0][2]
        transport = MemoryTransport(self.reactor)
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport

    def test_greets(self) -> None:
        transport = self.accept()
        [hello] = read_frames(transport.value())
        self.assertEqual((hello.flags, hello.app, hello.json["versions"]), (1, 0, [1]))
        self.assertNoResult(self.connecting)
        transport.protocol.dataReceived(encode_frame(RESP, 200, 0, 0, b'{"server":"x","max_chunk":100}'))
        client = self.successResultOf(self.connecting)
        self.assertIsInstance(client, OAPClient)
        self.assertEqual(client.hello["server"], "x")

    def test_refused(self) -> None:
        self.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.failureResultOf(self.connecting, ConnectError)

    def test_refused_greeting(self) -> None:
        transport = self.accept()
        transport.protocol.dataReceived(
            encode_frame(RESP | END, 400, 0, 0, b'{"code":"bad_hello","message":"no"}')
        )
        self.reactor.advance(0)
        self.assertEqual(self.failureResultOf(self.connecting, OAPError).value.name, "bad_hello")
        self.assertTrue(transport.lost)

    def test_silent_node_is_a_timeout(self) -> None:
        transport = self.accept()
        self.reactor.advance(10)
        error = self.failureResultOf(self.connecting, ConnectError).value
        self.assertIn("10.0 s", str(error))
        self.assertTrue(transport.aborted)
        self.reactor.advance(0)

    def test_unreachable_node_is_a_timeout(self) -> None:
        self.reactor.advance(10)
        self.failureResultOf(self.connecting, ConnectError)

    def test_cancelled(self) -> None:
        transport = self.accept()
        self.connecting.cancel()
        self.failureResultOf(self.connecting, CancelledError)
        self.assertTrue(transport.aborted)
