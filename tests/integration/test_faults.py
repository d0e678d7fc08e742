"""The whole node in front of owners that are dead, slow or lying: clear errors by both doors, no leaks."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody

from micronode import Config, make_node
from micronode.oap.client import OAPError, connect
from micronode.oap.wire.profiles import Profile
from tests.support.owners import BadOwner

#: What an owner does -> status, error name, whether there is a time to come back.
REFUSES = (503, "owner_unavailable", True)
STALLS = (504, "owner_timeout", True)
LIES = (502, "bad_gateway", False)


class FaultTests(TestCase):
    timeout = 20

    async def start(self, url: str) -> None:
        """Start a node whose index owner is at *url*."""
        loopback = {"listen": "127.0.0.1:0"}
        self.node = make_node(
            Config.from_mapping(
                {
                    "http": loopback,
                    "admin": loopback,
                    "oap": loopback,
                    "owners": {"index": {"url": url, "timeout": "300ms"}},
                    "facets": {"search": {"limit": 4, "timeout": "1s"}},
                    "drain": {"grace": "0s"},
                }
            ),
            reactor,
        )
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    async def over_http(self) -> tuple[int, str | None, dict[str, Any]]:
        """Search over HTTP; return status, Retry-After and error object."""
        url = f"http://{self.node.addresses['http']}/app/search?q=x"
        response = await Agent(reactor).request(b"GET", url.encode())
        body = json.loads(await readBody(response))
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json"])
        (retry_after,) = response.headers.getRawHeaders("retry-after", [None])
        return response.code, retry_after, body

    async def over_oap(self) -> OAPError:
        """Search over OAP/1; return how it failed."""
        client = await connect(reactor, f"oap://{self.node.addresses['oap']}")
        try:
            return await self.assertFailure(
                client.call(Profile.SEARCH, "query", {"q": "x"}).addCallback(
                    lambda found: found.read(10_000)
                ),
                OAPError,
            )
        finally:
            await client.close()

    async def check(self, url: str, expected: tuple[int, str, bool]) -> None:
        """Both doors answer *expected*, with no word of where the owner is."""
        await self.start(url)
        status, name, waits = expected
        code, retry_after, body = await self.over_http()
        self.assertEqual((code, body["code"]), (status, name), body)
        # HTTP has the field for refusals; a timeout says it in the body.
        self.assertEqual(retry_after is not None, waits and status == 503)
        self.assertEqual("retry_after_ms" in body, waits, body)
        self.assertNotIn("127.0.0.1", body["message"])
        failed = await self.over_oap()
        self.assertEqual((failed.code, failed.name), (status, name), failed)
        self.assertEqual(failed.retry_after_ms is not None, waits)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def check_bad(self, owner: BadOwner, expected: tuple[int, str, bool]) -> None:
        """As :meth:`check`, and no connection to *owner* is left."""
        self.addCleanup(owner.stop)
        await self.check(owner.url, expected)
        await self.node.stopService()
        await owner.when_empty()

    async def test_a_dead_owner(self) -> None:
        port = reactor.listenTCP(0, ServerFactory.forProtocol(Protocol), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        await self.check(f"http://127.0.0.1:{number}", REFUSES)

    async def test_an_address_that_is_none(self) -> None:
        await self.check("http://owner.invalid:5321", REFUSES)

    async def test_an_owner_that_stalls(self) -> None:
        await self.check_bad(BadOwner(reactor), STALLS)

    async def test_an_owner_that_stalls_after_its_head(self) -> None:
        """The facet's time runs until the caller's head, which waits for a body as small as this."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        owner = BadOwner(reactor, head)
        self.addCleanup(owner.stop)
        await self.start(owner.url)
        code, _, body = await self.over_http()
        self.assertEqual((code, body["code"]), (504, "owner_timeout"), body)
        failed = await self.over_oap()
        self.assertEqual((failed.code, failed.name), (504, "owner_timeout"), failed)
        await self.node.stopService()
        await owner.when_empty()

    async def test_an_owner_whose_answer_is_shorter_than_it_says(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{}"
        await self.check_bad(BadOwner(reactor, head, "close"), LIES)

    async def test_an_owner_whose_answer_is_longer_than_it_says(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}}"
        await self.check_bad(BadOwner(reactor, head), LIES)

    async def test_an_owner_that_says_two_lengths(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        framing = b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        await self.check_bad(BadOwner(reactor, head + framing), LIES)

    async def test_an_owner_that_resets(self) -> None:
        await self.check_bad(BadOwner(reactor, b"HTTP/1.1 200 OK\r\n", "reset"), LIES)

    async def test_an_owner_that_speaks_something_else(self) -> None:
        await self.check_bad(BadOwner(reactor, b"SSH-2.0-OpenSSH_9.2\r\n", "close"), LIES)

    async def test_an_owner_that_is_broken_itself(self) -> None:
        head = b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<h1>secret"
        await self.check_bad(BadOwner(reactor, head[:-1]), LIES)

    async def test_the_gate_answers_busy_and_serves_again(self) -> None:
        owner = BadOwner(reactor)
        self.addCleanup(owner.stop)
        await self.start(owner.url)
        limit = self.node.config.facets["search"].limit
        answers = await gatherResults([Deferred.fromCoroutine(self.over_http()) for _ in range(limit + 3)])
        self.assertEqual(sorted(code for code, _, _ in answers), [429] * 3 + [504] * limit)
        for code, retry_after, body in answers:
            if code == 429:
                self.assertGreaterEqual(int(retry_after or 0), 1)
                self.assertEqual(body["code"], "busy")
        # All permits came back: the next call gets as far as the owner again.
        self.assertEqual((await self.over_http())[0], 504)
