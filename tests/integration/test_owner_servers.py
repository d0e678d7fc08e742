"""The owners' client against real servers: nginx, HAProxy, aiohttp and Python's own."""

from __future__ import annotations

import io
import socket
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import FileBodyProducer, ResponseDone, readBody
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from micronode.adapters.agent import Exchange, OwnerAgent
from micronode.adapters.small import PooledAgent
from micronode.config.url import OwnerUrl
from micronode.oap.client.bytes_body import BytesBody
from tests.integration.test_owners import open_sockets
from tests.support.servers import LARGE, SMALL, Servers

reactor: Any = installed_reactor


class _Reader(Protocol):
    """Reads a body, and stops now and then.

    :ivar done: fires with the body; fails if it was cut.
    """

    def __init__(self, pause_every: int = 0) -> None:
        self.body = bytearray()
        self.pauses = 0
        self.done: Deferred[bytes] = Deferred()
        self._every = pause_every

    def dataReceived(self, data: bytes) -> None:
        self.body += data
        if self._every and len(self.body) > self._every * (self.pauses + 1):
            self.pauses += 1
            transport: Any = self.transport
            transport.pauseProducing()
            reactor.callLater(0, transport.resumeProducing)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(bytes(self.body))
        else:
            self.done.errback(reason)


class ServerContract:
    """What every server gets right, and we with it; ``start(servers)`` starts one and returns its port."""

    def setUp(self) -> None:
        case: Any = self
        self.sockets = open_sockets()
        servers = Servers()
        case.addCleanup(servers.close)
        url = OwnerUrl.parse(f"http://127.0.0.1:{case.start(servers)}")
        self.agent = OwnerAgent(reactor, url, connections=4)

    async def tearDown(self) -> None:
        case: Any = self
        await self.agent.close()
        case.assertEqual(self.agent.connections, 0)
        while open_sockets() != self.sockets:
            await deferLater(reactor, 0.01)
        case.assertEqual(case.flushLoggedErrors(), [])

    async def get(
        self, path: bytes, method: bytes = b"GET", body: Any = None, pause_every: int = 0
    ) -> tuple[int, bytes, Exchange]:
        """Ask; return status, body and the exchange."""
        exchange = self.agent.exchange(method, path, [(b"Accept-Encoding", b"identity")], body)
        response = await exchange.head
        reader = _Reader(pause_every)
        response.deliverBody(reader)
        return response.code, await reader.done, exchange

    async def test_pages(self) -> None:
        case: Any = self
        for path, method, status, body in (
            (b"/small", b"GET", 200, SMALL),
            (b"/small", b"HEAD", 200, b""),
            (b"/empty", b"GET", 204, b""),
            (b"/chunked", b"GET", 200, SMALL),
            (b"/large", b"GET", 200, LARGE),
        ):
            for _ in range(2):
                found = await self.get(path, method)
                case.assertEqual(found[:2], (status, body), path)
                case.assertFalse(found[2].has_surplus)
        # All of them on one connection, which is there still.
        case.assertTrue(found[2].reused)
        case.assertEqual(self.agent.connections, 1)
        case.assertEqual((await self.get(b"/none"))[0], 404)

    async def test_body_that_ends_with_the_connection(self) -> None:
        case: Any = self
        for _ in range(2):
            status, body, exchange = await self.get(b"/close")
            case.assertEqual((status, body, exchange.ended_well), (200, SMALL, True))

    async def test_a_reader_that_pauses(self) -> None:
        case: Any = self
        status, body, _ = await self.get(b"/large", pause_every=100_000)
        case.assertEqual((status, body), (200, LARGE))

    async def test_uploads(self) -> None:
        case: Any = self
        data = SMALL * 30
        for make in (
            lambda: data,
            lambda: BytesBody(data),
            lambda: FileBodyProducer(io.BytesIO(data)),
            _Unknown,
        ):
            for _ in range(2):
                found = await self.get(b"/echo", b"POST", make())
                case.assertEqual(found[:2], (case.created, SMALL if make is _Unknown else data))

    async def test_many_at_once(self) -> None:
        case: Any = self
        for _ in range(3):
            calls = [Deferred.fromCoroutine(self.get(b"/small")) for _ in range(4)]
            case.assertEqual([found[:2] for found in await gatherResults(calls)], [(200, SMALL)] * 4)
        case.assertEqual(self.agent.connections, 4)

    async def test_abort_in_the_middle(self) -> None:
        case: Any = self
        exchange = self.agent.exchange(b"GET", b"/large", [])
        await exchange.head
        exchange.abort()
        case.assertEqual(self.agent.connections, 0)
        case.assertEqual((await self.get(b"/small"))[:2], (200, SMALL))

    async def test_the_face_of_treq(self) -> None:
        case: Any = self
        client = HTTPClient(PooledAgent(self.agent))
        url = "http://owner"
        for _ in range(2):
            answer = await client.get(f"{url}/small?x=y", reactor=reactor)
            case.assertEqual((answer.code, await answer.content()), (200, SMALL))
            answer = await client.post(f"{url}/echo", data=b"abc", reactor=reactor)
            case.assertEqual((answer.code, await readBody(answer.original)), (case.created, b"abc"))


class _Unknown(BytesBody):
    """A body that does not say how long it is."""

    def __init__(self) -> None:
        super().__init__(SMALL)
        self.length = UNKNOWN_LENGTH  # type: ignore[assignment]


class NginxTests(ServerContract, TestCase):
    timeout = 30
    created = 201

    def start(self, servers: Servers) -> int:
        return servers.nginx(keep="1s")

    async def test_refused_upload(self) -> None:
        """It answers from the head, and resets a caller that goes on sending."""
        body = FileBodyProducer(io.BytesIO(SMALL * 8192))
        status, _, _ = await self.get(b"/echo", b"POST", body)
        self.assertEqual(status, 413)

    async def test_connection_that_it_closes(self) -> None:
        await self.get(b"/small")
        self.assertEqual(self.agent.connections, 1)
        while self.agent.connections:
            await deferLater(reactor, 0.05)
        status, body, exchange = await self.get(b"/small")
        self.assertEqual((status, body, exchange.reused), (200, SMALL, False))


class HAProxyTests(ServerContract, TestCase):
    timeout = 30
    created = 201

    def start(self, servers: Servers) -> int:
        return servers.haproxy()


class AiohttpTests(ServerContract, TestCase):
    timeout = 30
    created = 201

    def start(self, servers: Servers) -> int:
        return servers.aiohttp()

    async def test_refused_upload(self) -> None:
        status, _, _ = await self.get(b"/echo", b"POST", FileBodyProducer(io.BytesIO(SMALL * 8192)))
        self.assertEqual(status, 413)


class StdlibTests(ServerContract, TestCase):
    timeout = 30
    created = 201

    def start(self, servers: Servers) -> int:
        return servers.stdlib()


class OldStdlibTests(TestCase):
    """http.server as it comes: HTTP/1.0, one request a connection."""

    timeout = 30

    async def test_pages(self) -> None:
        servers = Servers()
        self.addCleanup(servers.close)
        agent = OwnerAgent(
            reactor, OwnerUrl.parse(f"http://127.0.0.1:{servers.stdlib('HTTP/1.0')}"), connections=2
        )
        for path, body in ((b"/small", SMALL), (b"/close", SMALL), (b"/empty", b"")):
            exchange = agent.exchange(b"GET", path, [])
            response = await exchange.head
            self.assertEqual(response.version, (b"HTTP", 1, 0))
            reader = _Reader()
            response.deliverBody(reader)
            self.assertEqual(await reader.done, body)
            self.assertFalse(exchange.reused)
        self.assertEqual(agent.connections, 0)
        await agent.close()


class PendingTests(TestCase):
    """A kept connection with something in its socket that the reactor has not told of yet."""

    timeout = 20

    async def accept(self, listener: socket.socket) -> socket.socket:
        while True:
            try:
                return listener.accept()[0]
            except BlockingIOError:
                await deferLater(reactor, 0.005)

    async def test_end_and_bytes(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.addCleanup(listener.close)
        url = OwnerUrl.parse(f"http://127.0.0.1:{listener.getsockname()[1]}")
        agent = OwnerAgent(reactor, url, connections=2)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        for act in ("nothing", "bytes", "end"):
            first = agent.exchange(b"GET", b"/", [], fresh=True)
            peer = await self.accept(listener)
            self.addCleanup(peer.close)
            peer.sendall(answer)
            await first.head
            # Within one turn of the reactor, which so learns nothing of it.
            if act == "bytes":
                peer.sendall(answer)
            elif act == "end":
                peer.close()
            second = agent.exchange(b"GET", b"/", [])
            self.assertEqual(second.reused, act == "nothing")
            second.abort()
            await self.assertFailure(second.head, Exception)
        await agent.close()
