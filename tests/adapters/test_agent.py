"""micronode.adapters.agent: what the owner client's tests do not reach."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from zope.interface import implementer

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.pool import SPARE_CONNECTIONS, TooManyConnectionsError
from micronode.adapters.requesthead import UnwritableRequestError
from micronode.config.url import OwnerUrl
from tests.support.clients import URL
from tests.support.network import MemoryNetwork, response


@implementer(IHostnameResolver, IHostResolution)
class TurningResolver:
    """Resolves every name, each time to the next address."""

    name = "owner"

    def __init__(self) -> None:
        self.asked = 0

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any, **__: Any) -> Any:
        self.asked += 1
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", f"10.0.0.{self.asked}", portNumber))
        receiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """Never under way."""


class OwnerAgentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.agent = OwnerAgent(self.network.reactor, OwnerUrl.parse(URL), connections=2)

    def test_idle_connection_that_does_not_close_is_cut(self) -> None:
        """An idle TLS connection may wait for ever for its owner's close_notify."""
        exchange = self.agent.exchange(b"GET", b"/", Headers())
        end = self.network.accept()
        end.loseConnection = lambda: None  # type: ignore[method-assign]
        end.send(response(b""))
        self.successResultOf(exchange.head)
        closing = self.agent.close()
        self.assertTrue(self.agent.closed)
        self.assertNoResult(closing)
        self.network.reactor.advance(1.0)
        self.assertTrue(end.aborted)
        self.network.settle()
        self.successResultOf(closing)

    def test_fields(self) -> None:
        """Pairs and a Headers say the same; a Headers' own Host is not sent."""
        for fields in (
            [(b"Accept", b"a"), (b"X-Thing", b"1"), (b"X-Thing", b"2")],
            Headers({b"host": [b"evil"], b"accept": [b"a"], b"x-thing": [b"1", b"2"]}),
        ):
            self.agent.exchange(b"GET", b"/x", fields)
            self.assertEqual(
                self.network.accept().heard(),
                b"GET /x HTTP/1.1\r\nHost: 10.0.0.9:5321\r\nAccept: a\r\nX-Thing: 1\r\nX-Thing: 2\r\n\r\n",
            )

    def test_body_of_bytes_leaves_with_the_head(self) -> None:
        written: list[None] = []
        self.agent.exchange(b"POST", b"/x", [], b"abc", on_written=lambda: written.append(None))
        heard = self.network.accept().heard()
        self.assertTrue(heard.endswith(b"\r\nContent-Length: 3\r\n\r\nabc"))
        self.assertEqual(len(written), 1)

    def test_request_that_must_not_be_written(self) -> None:
        for method, target, fields in (
            (b"GET", b"/x y", []),
            (b"G T", b"/x", []),
            (b"GET", b"/x", [(b"a\r\nb", b"c")]),
            (b"GET", b"/x", [(b"a", b"b\r\nc: d")]),
            (b"GET", b"/x", [(b"Host", b"evil")]),
        ):
            exchange = self.agent.exchange(method, target, fields)
            self.failureResultOf(exchange.head, UnwritableRequestError)
            self.assertFalse(exchange.connected)
            exchange.abort()
        self.assertEqual(self.network.connects, 0)

    def test_too_many(self) -> None:
        for _ in range(2 + SPARE_CONNECTIONS):
            self.assertNoResult(self.agent.exchange(b"GET", b"/", []).head)
        self.failureResultOf(self.agent.exchange(b"GET", b"/", []).head, TooManyConnectionsError)
        self.agent.keep(3)
        self.assertNoResult(self.agent.exchange(b"GET", b"/", []).head)
        self.assertEqual(self.agent.connections, 3 + SPARE_CONNECTIONS)

    def test_fresh(self) -> None:
        first = self.agent.exchange(b"GET", b"/", [])
        self.network.accept().send(response(b""))
        self.successResultOf(first.head)
        self.agent.exchange(b"GET", b"/", [], fresh=True)
        self.assertEqual(self.network.connects, 2)
        self.assertTrue(self.agent.exchange(b"GET", b"/", []).reused)

    def test_name_is_resolved_for_each_connection(self) -> None:
        resolver = TurningResolver()
        self.network.reactor.nameResolver = resolver
        agent = OwnerAgent(self.network.reactor, OwnerUrl.parse("http://index:1"), connections=2)
        for number in (1, 2):
            agent.exchange(b"GET", b"/", [])
            self.network.reactor.advance(0)
            self.assertEqual((self.network.destination(), resolver.asked), ((f"10.0.0.{number}", 1), number))
