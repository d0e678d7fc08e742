"""A node with two endpoints an owner, of which one dies under load."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

from blake3 import blake3
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from micronode import Config, make_node
from micronode.facets.cid import make_cid
from tests.support.measures import sample

READERS, WRITERS = 12, 4


class Answers(Resource):
    """An index and a storage owner in one, which counts what it gets."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.stored: Counter[bytes] = Counter()
        self.deadlines: list[int] = []
        self.is_dead = False

    def render_GET(self, request: Request) -> bytes | int:
        self.asked += 1
        if self.is_dead:
            return self.cut(request)
        if request.path == b"/readyz":
            return b"{}"
        self.deadlines += map(int, request.requestHeaders.getRawHeaders("x-micronode-deadline-ms", []))
        request.setHeader("content-type", "application/json")
        return b'{"query":"x","hits":[],"total":0}'

    def render_POST(self, request: Request) -> bytes | int:
        body = request.content.read()
        self.stored[body] += 1
        if self.is_dead:
            return self.cut(request)
        request.setHeader("content-type", "application/json")
        return json.dumps({"cid": make_cid(blake3(body).digest())}).encode()

    def cut(self, request: Request) -> int:
        """Close without an answer."""
        request.channel.loseConnection()
        return NOT_DONE_YET


class Owner:
    """One endpoint."""

    def __init__(self) -> None:
        self.answers = Answers()
        site = Site(self.answers)
        site.noisy = False
        #: Knows its connections.
        self.factory = WrappingFactory(site)
        self.factory.noisy = False
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"

    async def vanish(self) -> None:
        """Die as a process does: its connections break, and there is nobody to connect to."""
        stopping = self.port.stopListening()
        for connection in list(self.factory.protocols):
            connection.transport.abortConnection()
        await stopping

    async def sicken(self) -> None:
        """Take every connection and every request, and answer none."""
        self.answers.is_dead = True

    async def stop(self) -> None:
        if not self.port.disconnected:
            await self.vanish()


class Callers:
    """Callers that read and write, each one call after the other."""

    def __init__(self, address: str) -> None:
        self.base = f"http://{address}/app"
        self.pool = HTTPConnectionPool(reactor)
        self.pool.maxPersistentPerHost = READERS + WRITERS
        self.agent = Agent(reactor, pool=self.pool)
        self.reads: list[int] = []
        self.writes: list[int] = []
        self.running = True

    async def ask(self, method: bytes, path: str, body: bytes | None = None) -> int:
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        response = await self.agent.request(method, (self.base + path).encode(), None, producer)
        await readBody(response)
        return int(response.code)

    async def read(self) -> None:
        while self.running:
            self.reads.append(await self.ask(b"GET", "/search?q=x"))

    async def write(self, number: int) -> None:
        count = 0
        while self.running:
            count += 1
            self.writes.append(await self.ask(b"POST", "/media", b"%d of %d" % (count, number)))

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call while the block runs."""
        tasks = [Deferred.fromCoroutine(self.read()) for _ in range(READERS)]
        tasks += [Deferred.fromCoroutine(self.write(number)) for number in range(WRITERS)]
        try:
            yield
        finally:
            self.running = False
            await gatherResults(tasks)
            await self.pool.closeCachedConnections()


class TwoEndpointsTests(TestCase):
    timeout = 60

    async def start(self) -> None:
        self.owners = [Owner(), Owner()]
        for owner in self.owners:
            self.addCleanup(lambda owner=owner: Deferred.fromCoroutine(owner.stop()))
        loopback, urls = {"listen": "127.0.0.1:0"}, [owner.url for owner in self.owners]
        self.node = make_node(
            Config.from_mapping(
                {
                    "http": loopback,
                    "admin": loopback,
                    "oap": loopback,
                    "owners": {"index": {"url": urls}, "storage": {"url": urls}},
                    "facets": {"media": {"enabled": True}},
                    "drain": {"grace": "0s"},
                }
            ),
            reactor,
        )
        self.node.startService()
        self.addCleanup(self.node.stopService)
        await self.until(lambda: self.healthy("index") == self.healthy("storage") == 2)

    def healthy(self, name: str) -> int:
        owners = {each["name"]: each for each in self.node.status.as_dict()["owners"]}
        self.assertNotIn("127.0.0.1", str(owners))
        self.assertEqual(owners[name]["endpoints"]["count"], 2)
        return int(owners[name]["endpoints"]["healthy"])

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    async def one_dies(self, how: str) -> None:
        await self.start()
        callers = Callers(self.node.addresses["http"])
        async with callers.calling():
            await self.until(lambda: len(callers.reads) > 200)
            self.assertEqual(set(callers.reads), {200})
            self.assertTrue(all(owner.answers.asked > 20 for owner in self.owners))
            await getattr(self.owners[0], how)()
            await self.until(lambda: self.healthy("index") == 1)
            # Those that were under way have their end.
            since = len(callers.reads) + READERS
            await self.until(lambda: len(callers.reads) > since + 500)
        self.assertEqual(set(callers.reads[since:]), {200})
        self.assertIn(201, callers.writes)
        stored = self.owners[0].answers.stored + self.owners[1].answers.stored
        self.assertEqual(set(stored.values()), {1}, "no write is sent twice")
        calls = sample(self.node.metrics, "owner_requests_total", owner="index", outcome="ok")
        retries = sample(self.node.metrics, "owner_retries_total", owner="index")
        self.assertLessEqual(retries, 3 + 0.2 * calls)
        self.assertEqual(sample(self.node.metrics, "owner_retries_total", owner="storage"), 0)
        deadlines = self.owners[1].answers.deadlines
        self.assertTrue(0 < min(deadlines) <= max(deadlines) <= 5000)
        await self.until(lambda: self.node.probes.readyz()[1]["deps"]["index"] == "degraded")
        self.assertEqual(self.node.probes.readyz()[0], 200)

    async def test_one_that_vanishes(self) -> None:
        await self.one_dies("vanish")

    async def test_one_that_answers_no_more(self) -> None:
        await self.one_dies("sicken")
