"""micronode.adapters.small: treq over an owner's agent, with its traps closed."""

from __future__ import annotations

import gc

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IClientRequest
from zope.interface.verify import verifyObject

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.small import OneExchange, PooledAgent, ask
from micronode.config.url import OwnerUrl
from micronode.http.body import BytesBody
from tests.support.clients import URL
from tests.support.network import MemoryNetwork, response


class AskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.agent = OwnerAgent(self.network.reactor, OwnerUrl.parse(URL), connections=2)

    def ask(self, path: str = "/readyz") -> Deferred[tuple[int, bytes]]:
        return ask(self.agent, self.network.reactor, path, deadline_s=2.0, max_bytes=100)

    def all_is_over(self) -> None:
        self.network.settle()
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_interface(self) -> None:
        verifyObject(IAgent, OneExchange(self.agent))

    def test_status_and_body(self) -> None:
        for status, code in (("200 OK", 200), ("302 Found", 302), ("503 Unavailable", 503)):
            asked = self.ask()
            end = self.network.accept()
            heard = end.heard()
            self.assertTrue(heard.startswith(b"GET /readyz HTTP/1.1\r\n"), heard)
            self.assertIn(b"Host: 10.0.0.9:5321\r\n", heard)
            self.assertIn(b"Accept-Encoding: identity\r\n", heard)
            self.assertNotIn(b"gzip", heard)
            end.send(response(b'{"a":1}', "Location: http://10.0.0.1/", status=status))
            self.assertEqual(self.successResultOf(asked), (code, b'{"a":1}'))
            self.assertTrue(end.closed)
            self.assertFalse(end.aborted)
        self.assertEqual(self.network.connects, 3)
        self.all_is_over()

    def test_no_cookie_comes_back(self) -> None:
        self.ask()
        self.network.accept().send(response(b"", "Set-Cookie: a=b; Path=/"))
        self.ask()
        self.assertNotIn(b"cookie", self.network.accept().heard().lower())

    def test_a_connection_of_its_own(self) -> None:
        """One that waits in the pool says nothing about the next one."""
        kept = self.agent.exchange(b"GET", b"/", Headers())
        self.network.accept().send(response(b""))
        self.successResultOf(kept.head)
        self.ask()
        self.assertEqual(self.network.connects, 2)

    def test_deadline(self) -> None:
        """From connecting to the last byte, wherever it stops."""
        for sent in (None, b"", response(b"abc", length=10)):
            asked = self.ask()
            end = None if sent is None else self.network.accept()
            if end is not None and sent:
                end.send(sent)
            self.network.reactor.advance(1.9)
            self.assertNoResult(asked)
            self.network.reactor.advance(0.2)
            self.failureResultOf(asked, TimeoutError)
            if end is None:
                self.network.refuse()
            else:
                self.assertTrue(end.aborted)
            self.all_is_over()

    def test_body_has_a_bound(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        end.send(response(b"a" * 60, length=1000))
        end.send(b"a" * 60)
        self.assertTrue(end.aborted)
        self.failureResultOf(asked, ValueError)
        self.all_is_over()

    def test_body_of_one_piece_over_the_bound(self) -> None:
        asked = self.ask()
        self.network.accept().send(response(b"a" * 101))
        self.failureResultOf(asked, ValueError)
        self.all_is_over()

    def test_cut_body(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        end.send(response(b"abc", length=10))
        end.hang_up()
        self.failureResultOf(asked, ResponseFailed)
        self.all_is_over()

    def test_gzip_bomb_is_not_unpacked(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        end.send(response(b"\x1f\x8b", "Content-Encoding: gzip", length=1000))
        self.failureResultOf(asked, ValueError)
        self.assertTrue(end.aborted)
        self.all_is_over()

    def test_cancel_aborts(self) -> None:
        for sent in (b"", response(b"abc", length=10)):
            asked = self.ask()
            end = self.network.accept()
            if sent:
                end.send(sent)
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.assertTrue(end.aborted)
            self.all_is_over()

    def test_whatever_is_wrong_is_a_failure(self) -> None:
        """Nothing is raised, whatever treq makes of a path."""
        self.failureResultOf(self.ask("[:x/"), ValueError)


class PooledAgentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        url = OwnerUrl.parse("http://10.0.0.9:5321/v1")
        self.agent = PooledAgent(OwnerAgent(self.network.reactor, url, connections=2))

    def test_interfaces(self) -> None:
        verifyObject(IAgent, self.agent)
        answered = self.agent.request(b"GET", b"http://owner/x", Headers({b"a": [b"b"]}))
        self.network.accept().send(response(b""))
        request = self.successResultOf(answered).request
        verifyObject(IClientRequest, request)
        self.assertEqual((request.method, request.absoluteURI), (b"GET", b"http://owner/x"))

    def test_what_is_sent(self) -> None:
        fields = Headers({b"x-thing": [b"1", b"2"], b"connection": [b"close"], b"accept-encoding": [b"gzip"]})
        fields.addRawHeader(b"host", b"evil")
        self.agent.request(b"GET", b"http://anybody:1/x?y=z#f", fields)
        self.assertEqual(
            self.network.accept().heard(),
            b"GET /v1/x?y=z HTTP/1.1\r\nHost: 10.0.0.9:5321\r\nAccept-Encoding: identity\r\n"
            b"X-Thing: 1\r\nX-Thing: 2\r\n\r\n",
        )

    def test_targets(self) -> None:
        for uri, target in ((b"http://a", b"/v1/"), (b"http://a/", b"/v1/"), (b"http://a//b", b"/v1//b")):
            self.agent.request(b"GET", uri)
            self.assertEqual(self.network.accept().heard().split(b" ")[1], target)

    def test_body(self) -> None:
        self.agent.request(b"POST", b"http://owner/x", None, BytesBody(b"abc"))
        heard = self.network.accept().heard()
        self.assertIn(b"\r\nContent-Length: 3\r\n", heard)
        self.assertTrue(heard.endswith(b"\r\n\r\nabc"))

    def test_connection_is_used_again(self) -> None:
        for _ in range(2):
            answered = self.agent.request(b"GET", b"http://owner/")
            self.network.serve().send(response(b"", "Set-Cookie: a=b"))
            self.successResultOf(answered)
        self.assertEqual(self.network.connects, 1)

    def test_cancel_aborts(self) -> None:
        answered = self.agent.request(b"GET", b"http://owner/")
        end = self.network.accept()
        answered.cancel()
        self.failureResultOf(answered, CancelledError)
        self.assertTrue(end.aborted)
        self.network.settle()
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_failure(self) -> None:
        answered = self.agent.request(b"GET", b"http://owner/")
        self.network.refuse()
        self.failureResultOf(answered, ConnectionRefusedError)
