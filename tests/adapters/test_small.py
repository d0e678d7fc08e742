"""micronode.adapters.small: treq over an owner's agent, with its traps closed."""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed
from twisted.web.iweb import IAgent
from zope.interface.verify import verifyObject

from micronode.adapters.address import OwnerAddress
from micronode.adapters.agent import OwnerAgent
from micronode.adapters.small import SmallAnswerAgent, make_treq_client
from tests.support.clients import URL
from tests.support.network import MemoryNetwork, response


class TreqClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.agent = OwnerAgent(self.network.reactor, OwnerAddress.parse(URL), connections=2)
        self.treq: HTTPClient = make_treq_client(
            self.agent, self.network.reactor, deadline_s=2.0, max_bytes=100
        )

    def ask(self, method: str = "GET", path: str = "/v1/decide", **more: Any) -> Deferred[Any]:
        return self.treq.request(
            method,
            URL + path,
            unbuffered=True,
            allow_redirects=False,
            reactor=self.network.reactor,
            **more,
        )

    def test_interface(self) -> None:
        small = SmallAnswerAgent(self.agent, self.network.reactor, deadline_s=1.0, max_bytes=1)
        verifyObject(IAgent, small)

    def test_json_both_ways(self) -> None:
        asked = self.ask("POST", json={"a": 1})
        end = self.network.accept()
        head, _, body = end.heard().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /v1/decide HTTP/1.1\r\n"), head)
        self.assertIn(b"Host: 10.0.0.9:5321", head)
        self.assertIn(b"Accept-Encoding: identity", head)
        self.assertNotIn(b"gzip", head)
        self.assertEqual(body, b'{"a":1}')
        end.send(response(b'{"b":2}', "Content-Type: application/json"))
        answer = self.successResultOf(asked)
        self.assertEqual(self.successResultOf(answer.json()), {"b": 2})
        self.assertTrue(end.closed)
        self.network.settle()
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_cookies_are_refused(self) -> None:
        asked = self.ask()
        self.network.accept().send(response(b"", "Set-Cookie: a=b; Path=/"))
        self.assertEqual(len(self.successResultOf(asked).cookies()), 0)
        self.ask()
        self.assertNotIn(b"cookie", self.network.accept().heard().lower())

    def test_deadline_covers_the_body(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        end.send(response(b"abc", length=10))
        reading = self.successResultOf(asked).content()
        self.network.reactor.advance(1.9)
        self.assertNoResult(reading)
        self.network.reactor.advance(0.2)
        self.network.settle()
        self.failureResultOf(reading, ResponseFailed)
        self.assertTrue(end.aborted)

    def test_deadline_covers_a_body_nobody_reads(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        end.send(response(b"abc", length=10))
        self.successResultOf(asked)
        self.network.reactor.advance(2.0)
        self.assertTrue(end.aborted)

    def test_body_has_a_bound(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        end.send(response(b"a" * 60, length=1000))
        reading = self.successResultOf(asked).content()
        end.send(b"a" * 60)
        self.assertTrue(end.aborted)
        self.network.settle()
        self.failureResultOf(reading, ValueError)
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_gzip_bomb_is_not_unpacked(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        end.send(response(b"\x1f\x8b", "Content-Encoding: gzip"))
        self.failureResultOf(asked, ValueError)

    def test_cancel_aborts(self) -> None:
        asked = self.ask()
        end = self.network.accept()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertTrue(end.aborted)
        self.network.settle()
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_only_one_owner(self) -> None:
        asked = self.treq.get("http://10.0.0.10/x", reactor=self.network.reactor)
        self.failureResultOf(asked, ValueError)
        self.assertEqual(self.network.connects, 0)
