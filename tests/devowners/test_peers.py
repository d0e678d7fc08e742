"""Tests for :mod:`micronode.devowners.peers`."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface.verify import verifyObject

from micronode.config.url import OwnerUrl
from micronode.devowners.peers import Peer, PeerAnswer, PeerError, _At

HELLO = "b3:d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24"


class PausableTransport(StringTransport):
    """One that is aborted, or closed, for both of its ends."""

    protocol: Any

    def abortConnection(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self.protocol.connectionLost(Failure(ConnectionDone()))


class PeerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.url = OwnerUrl.parse("unix:/run/peer")
        self.peer = Peer(self.reactor, self.url)

    def ask(self) -> Deferred[PeerAnswer]:
        return Deferred.fromCoroutine(self.peer.ask(b"GET", HELLO, {b"range": b"bytes=0-1"}))

    def connect(self) -> PausableTransport:
        path, factory, timeout, _check = self.reactor.unixClients[-1]
        self.assertEqual((path, timeout), ("/run/peer", 2.0))
        protocol = factory.buildProtocol(None)
        transport = PausableTransport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def answered(self, head: bytes) -> tuple[PeerAnswer, PausableTransport]:
        asked = self.ask()
        transport = self.connect()
        transport.protocol.dataReceived(head)
        return self.successResultOf(asked), transport

    def test_interface(self) -> None:
        verifyObject(IAgentEndpointFactory, _At(self.reactor, self.url))

    def test_what_is_asked(self) -> None:
        self.ask()
        head, *fields = self.connect().value().decode().rstrip().split("\r\n")
        self.assertEqual(head, f"GET /o/{HELLO} HTTP/1.1")
        said = {field.lower() for field in fields}
        self.assertLessEqual({"host: localhost", "range: bytes=0-1", "via: 1.1 micronode-overlay"}, said)

    def test_an_answer(self) -> None:
        answer, transport = self.answered(
            b"HTTP/1.1 206 Partial\r\nContent-Length: 4\r\nContent-Range: bytes 0-3/9\r\n\r\n"
        )
        self.assertEqual((answer.status, answer.length, answer.length_field), (206, 4, b"4"))
        self.assertEqual(answer.field(b"content-range"), b"bytes 0-3/9")
        self.assertIsNone(answer.field(b"etag"))
        reading = answer.read()
        self.assertNoResult(reading)
        transport.protocol.dataReceived(b"ab")
        self.assertEqual(self.successResultOf(reading), b"ab")
        # Nobody reads now.
        self.assertEqual(transport.producerState, "paused")
        reading = answer.read()
        self.assertEqual(transport.producerState, "producing")
        transport.protocol.dataReceived(b"cd")
        self.assertEqual(self.successResultOf(reading), b"cd")
        self.assertEqual(self.successResultOf(answer.read()), b"")
        answer.drop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_length_that_is_not_said(self) -> None:
        answer, _ = self.answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual((answer.length, answer.length_field), (None, None))

    def test_nobody_there(self) -> None:
        asked = self.ask()
        _path, factory, *_rest = self.reactor.unixClients[-1]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.failureResultOf(asked, PeerError)

    def test_no_answer(self) -> None:
        asked = self.ask()
        transport = self.connect()
        self.reactor.advance(5)
        self.failureResultOf(asked, PeerError)
        self.assertTrue(transport.disconnecting)

    def test_an_answer_that_is_none(self) -> None:
        asked = self.ask()
        self.connect().protocol.dataReceived(b"SSH-2.0-x\r\n\r\n")
        self.failureResultOf(asked, PeerError)

    def test_a_body_that_breaks_off(self) -> None:
        answer, transport = self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.assertEqual(self.successResultOf(answer.read()), b"ab")
        reading = answer.read()
        transport.loseConnection()
        self.failureResultOf(reading, PeerError)

    def test_a_body_that_stalls(self) -> None:
        answer, transport = self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.successResultOf(answer.read())
        # Time in which nobody reads is not the peer's.
        self.reactor.advance(60)
        reading = answer.read()
        self.reactor.advance(9.9)
        self.assertNoResult(reading)
        self.reactor.advance(0.1)
        self.failureResultOf(reading, PeerError)
        self.assertTrue(transport.disconnecting)

    def test_a_body_that_nobody_wants(self) -> None:
        answer, transport = self.answered(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nab")
        answer.drop()
        self.assertTrue(transport.disconnecting)
