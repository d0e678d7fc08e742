"""micronode.adapters.connection: what Twisted's client protocol does not guard against."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ParseError
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import directlyProvides

from micronode.adapters.connection import MAX_OWNER_HEAD_BYTES, OwnerConnection, OwnerRequest
from tests.support.network import MemoryNetwork, OwnerEnd, response


class OwnerConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.idle: list[OwnerConnection] = []
        self.clock = MemoryNetwork().reactor
        self.end = OwnerEnd(self.clock)
        self.connection = OwnerConnection(self.idle.append)
        self.end.protocol = self.connection
        self.connection.makeConnection(self.end)

    def request(self, *, keep: bool = True) -> tuple[OwnerRequest, Deferred[IResponse]]:
        headers = Headers({b"host": [b"index"]})
        request = OwnerRequest(b"GET", b"/x?y", headers, None, persistent=keep)
        return request, self.connection.request(request)

    def test_whole_answer_makes_it_idle(self) -> None:
        for count in (1, 2):
            _, answered = self.request()
            self.end.send(response(b""))
            self.assertEqual(self.successResultOf(answered).code, 200)
            self.assertEqual((self.connection.requests, len(self.idle)), (count, count))
        self.assertEqual(self.connection.state, "QUIESCENT")

    def test_written_at_once(self) -> None:
        request, _ = self.request()
        self.successResultOf(request.written)
        self.assertTrue(self.end.heard().startswith(b"GET /x?y HTTP/1.1\r\n"))

    def test_not_kept(self) -> None:
        _, answered = self.request(keep=False)
        self.assertIn(b"Connection: close\r\n", self.end.heard())
        self.end.send(response(b""))
        self.successResultOf(answered)
        self.assertEqual(self.idle, [])
        self.assertTrue(self.end.disconnecting)
        self.assertFalse(self.end.aborted)

    def test_tls_is_not_waited_for(self) -> None:
        directlyProvides(self.end, ISSLTransport)
        self.request(keep=False)
        self.end.send(response(b""))
        self.assertTrue(self.end.aborted)

    def test_head_of_just_the_bound(self) -> None:
        start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b"\r\n"
        _, answered = self.request()
        self.end.send(start)
        left = MAX_OWNER_HEAD_BYTES - len(start)
        while left:
            size = min(left, 16_000)
            self.end.send(b"X: " + b"y" * (size - 5) + b"\r\n")
            left -= size
        self.assertFalse(self.end.aborted)
        self.end.send(end)
        self.successResultOf(answered)

    def test_head_over_the_bound(self) -> None:
        _, answered = self.request()
        self.end.send(b"HTTP/1.1 200 OK\r\n")
        for _ in range(4):
            self.assertFalse(self.end.aborted)
            self.end.send(b"X: " + b"y" * 8_000 + b"\r\nX: " + b"y" * 8_400 + b"\r\n")
        self.assertTrue(self.end.aborted)
        self.clock.advance(0)
        self.failureResultOf(answered, ResponseFailed)

    def test_surplus_is_told(self) -> None:
        _, answered = self.request()
        self.end.send(response(b"abc"))
        self.successResultOf(answered)
        self.assertFalse(self.connection.surplus)
        _, answered = self.request()
        self.end.send(response(b"abc") + b"d")
        self.successResultOf(answered)
        self.assertTrue(self.connection.surplus)
        self.assertTrue(self.end.disconnecting)
        self.assertEqual(len(self.idle), 1)

    def test_head_with_two_framings(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in (b"", b"3\r\nabc\r\n0\r\n\r\n"):
            self.setUp()
            _, answered = self.request()
            self.end.send(head + body)
            self.failureResultOf(answered, ParseError)
            self.assertTrue(self.end.aborted)
            self.assertEqual(self.idle, [])

    def test_spoiled_connection_is_never_idle(self) -> None:
        request, answered = self.request()
        self.end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        self.successResultOf(answered)
        self.connection.abort_request(request)
        # What is still in the read that is being worked on.
        self.connection.dataReceived(b"abc")
        self.assertEqual(self.idle, [])
        self.assertNotEqual(self.connection.state, "QUIESCENT")

    def test_abort_of_a_request_that_is_over(self) -> None:
        first, _ = self.request()
        self.end.send(response(b""))
        self.connection.abort_request(first)
        self.request()
        self.connection.abort_request(first)
        self.assertFalse(self.end.closed)

    def test_reason_is_kept(self) -> None:
        _, answered = self.request()
        self.end.send(b"HTTP/1.1 200 OK\r\n")
        self.end.hang_up()
        self.failureResultOf(answered, ResponseFailed)
        self.assertIsNotNone(self.connection.lost)
