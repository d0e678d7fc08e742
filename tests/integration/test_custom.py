"""Custom facets on real sockets: what comes through, at once, and what a caller gets when a service fails."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from micronode import Config, make_node
from micronode.oap.client import OAPError, connect
from micronode.oap.wire.profiles import Profile
from tests.support.servers import LARGE, SMALL, Servers

ROUTES = [
    {"method": "GET", "access": "read"},
    {"method": "HEAD", "access": "read"},
    {"method": "POST", "access": "write"},
]


class Talk(Protocol):
    """One connection, either end: what came, and who waits for it.

    :ivar ended: None while it is open.
    """

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.ended: Any = None
        self._waiting: list[tuple[Any, Deferred[bytes]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        script = getattr(self.factory, "script", None)
        if script is not None and self.data.endswith(b"\r\n\r\n"):
            said, then = script
            self.transport.write(said)
            if then != "stay":
                self.transport.loseConnection() if then == "close" else self.transport.abortConnection()
        self._look()

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = reason
        self._look()

    def until(self, text: bytes) -> Deferred[bytes]:
        """Wait until *text* came."""
        return self._when(lambda: text in self.data)

    def over(self) -> Deferred[bytes]:
        """Wait for the end of the connection."""
        return self._when(lambda: self.ended is not None)

    def _when(self, look: Any) -> Deferred[bytes]:
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append((look, waiting))
        self._look()
        return waiting

    def _look(self) -> None:
        ready = [each for each in self._waiting if each[0]()]
        self._waiting = [each for each in self._waiting if each not in ready]
        for _, waiting in ready:
            waiting.callback(self.data)


class Upstream(Factory):
    """A service that says what the test says; each connection is a Talk.

    :ivar script: what is said to each request, and whether it closes or resets then; None: the test says it.
    """

    noisy = False

    def __init__(self) -> None:
        self.script: tuple[bytes, str] | None = None
        self._talks: list[Talk] = []
        self._waiting: list[Deferred[Talk]] = []
        self.port: Any = reactor.listenTCP(0, self, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"

    def buildProtocol(self, addr: Any) -> Talk:
        talk = Talk()
        talk.factory = self
        reactor.callLater(0, self._made, talk)  # type: ignore[attr-defined]
        return talk

    def _made(self, talk: Talk) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(talk)
        else:
            self._talks.append(talk)

    def accepted(self) -> Deferred[Talk]:
        """Wait for the next connection."""
        waiting: Deferred[Talk] = Deferred()
        self._waiting.append(waiting)
        if self._talks:
            self._made(self._talks.pop(0))
        return waiting


class CustomCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.upstream = Upstream()
        self.addCleanup(self.upstream.port.stopListening)

    def start(self, url: str = "", **settings: Any) -> None:
        """Start a node with the facet ``own`` in front of *url*, else of :attr:`upstream`."""
        loopback = {"listen": "127.0.0.1:0"}
        own = {"kind": "proxy", "upstream": url or self.upstream.url, "routes": ROUTES} | settings
        off = {name: {"enabled": False} for name in ("graph", "search", "feed")}
        sections = {
            "http": loopback,
            "admin": loopback,
            "oap": loopback,
            "drain": {"grace": 0, "deadline": 0.1},
        }
        sections["facets"] = {"own": own, **off}
        sections["owners"] = {"index": {"url": "unix:/nowhere"}, "storage": {"url": "unix:/nowhere"}}
        self.node = make_node(Config.from_mapping(sections), reactor)
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    async def caller(self, *lines: str, body: bytes = b"") -> Talk:
        """Connect to the node over HTTP and send a request."""
        host, port = self.node.addresses["http"].rsplit(":", 1)
        talk = await connectProtocol(HostnameEndpoint(reactor, host, int(port)), Talk())
        self.addCleanup(talk.transport.abortConnection)
        talk.transport.write("\r\n".join((*lines, "Host: localhost", "", "")).encode() + body)
        return talk

    async def oap(self) -> Any:
        client = await connect(reactor, f"oap://{self.node.addresses['oap']}")
        self.addCleanup(client.close)
        return client


def args(method: str, path: str, **headers: str) -> dict[str, Any]:
    return {"facet": "own", "method": method, "path": path, "headers": headers}


class StreamTests(CustomCase):
    async def test_events_pass_one_by_one(self) -> None:
        """Each event is with the caller before the service sends the next one: nothing is held."""
        self.start()
        client = await self.oap()
        caller = await self.caller("GET /app/own/events HTTP/1.1")
        upstream = await self.upstream.accepted()
        await upstream.until(b"\r\n\r\n")
        stream = client.stream(Profile.CUSTOM, "call", args("GET", "/events"), sends=False)
        reading = ensureDeferred(anext(stream))
        second = await self.upstream.accepted()
        await second.until(b"\r\n\r\n")
        for talk in (upstream, second):
            talk.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
        # The head comes before any event.
        await caller.until(b"Content-Type: text/event-stream\r\n")
        for number in range(5):
            event = b"data: %d\n\n" % number
            for talk in (upstream, second):
                talk.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            await caller.until(event)
            self.assertEqual(await reading, event)
            reading = ensureDeferred(anext(stream))
        for talk in (upstream, second):
            talk.transport.write(b"0\r\n\r\n")
        await caller.until(b"\r\n0\r\n\r\n")
        with self.assertRaises(StopAsyncIteration):
            await reading

    async def test_a_caller_that_goes_takes_the_service_along(self) -> None:
        self.start()
        caller = await self.caller("GET /app/own/x HTTP/1.1")
        upstream = await self.upstream.accepted()
        await upstream.until(b"\r\n\r\n")
        upstream.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nbegin")
        await caller.until(b"begin")
        caller.transport.abortConnection()
        await upstream.over()
        client = await self.oap()
        stream = client.stream(Profile.CUSTOM, "call", args("GET", "/x"), sends=False)
        reading = ensureDeferred(anext(stream))
        upstream = await self.upstream.accepted()
        upstream.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nbegin")
        self.assertEqual(await reading, b"begin")
        stream.cancel()
        await upstream.over()

    async def test_uploads_stream_over_oap(self) -> None:
        self.start(max_body="8MiB")
        client = await self.oap()
        async with client.stream(Profile.CUSTOM, "call", args("POST", "/up")) as stream:
            await stream.send(b"one")
            upstream = await self.upstream.accepted()
            heard = await upstream.until(b"\r\n3\r\none\r\n")
            self.assertIn(b"POST /up HTTP/1.1\r\n", heard)
            await stream.send(b"two!")
            await upstream.until(b"\r\n4\r\ntwo!\r\n")
            await stream.end()
            await upstream.until(b"\r\n0\r\n\r\n")
            upstream.transport.write(b"HTTP/1.1 409 No\r\nContent-Length: 2\r\n\r\nno")
            self.assertEqual([each async for each in stream], [b"no"])
            head = await stream.head()
            self.assertEqual((head["status"], head["length"]), (409, 2))

    async def test_expect_continue(self) -> None:
        self.start()
        caller = await self.caller("POST /app/own/x HTTP/1.1", "Content-Length: 3", "Expect: 100-continue")
        await caller.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.transport.write(b"abc")
        upstream = await self.upstream.accepted()
        heard = await upstream.until(b"abc")
        self.assertNotIn(b"xpect", heard)
        upstream.transport.write(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n"
        )
        await caller.until(b"HTTP/1.1 201 Created\r\n")
        self.assertNotIn(b"103", caller.data)

    async def test_upgrades_are_not_passed_on(self) -> None:
        self.start()
        caller = await self.caller("GET /app/own/ws HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket")
        upstream = await self.upstream.accepted()
        heard = await upstream.until(b"\r\n\r\n")
        self.assertNotIn(b"pgrade", heard)
        upstream.transport.write(
            b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        await caller.until(b"HTTP/1.1 502 Bad Gateway\r\n")


#: What a service sends, and whether it goes then -> the status that a caller gets, and the error, which
#: with 200 comes after the head.
FAULTS: dict[str, tuple[bytes, str, tuple[int, str]]] = {
    "closes": (b"", "close", (502, "bad_gateway")),
    "resets": (b"", "reset", (502, "bad_gateway")),
    "stalls": (b"", "stay", (504, "owner_timeout")),
    "stalls in the head": (b"HTTP/1.1 200 OK\r\nConte", "stay", (504, "owner_timeout")),
    "no http": (b"220 mail.example ESMTP\r\n", "stay", (502, "bad_gateway")),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "stay",
        (502, "bad_gateway"),
    ),
    "both framings": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "stay",
        (502, "bad_gateway"),
    ),
    "long head": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "stay", (502, "bad_gateway")),
    "101": (b"HTTP/1.1 101 Go\r\n\r\n", "stay", (502, "bad_gateway")),
    "a control character": (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "stay", (502, "bad_gateway")),
    "short body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "close", (200, "bad_gateway")),
    "reset in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "reset", (200, "bad_gateway")),
    "bad chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        "stay",
        (200, "bad_gateway"),
    ),
    "an error of its own": (b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nabc", "stay", (500, "")),
}


class FaultTests(CustomCase):
    async def test_each_fault_has_its_status_by_both_doors(self) -> None:
        for name, (said, then, (status, error)) in FAULTS.items():
            # A facet of its own for each: a breaker is not what is looked at.
            self.start(timeout="300ms")
            self.upstream.script = said, then
            caller = await self.caller("POST /app/own/x HTTP/1.1", "Content-Length: 0", "Connection: close")
            heard = await caller.over()
            if status == 200 and heard.startswith(b"HTTP/1.1 200 "):
                # It was on its way; there is no end to it.
                self.assertNotIn(b"\r\n0\r\n\r\n", heard, name)
                self.assertTrue(caller.ended.check(ConnectionLost), name)
            elif status == 200:
                # The reset, or the word of it, came first.
                self.assertTrue(not heard or heard.startswith(b"HTTP/1.1 502 "), (name, heard))
            else:
                self.assertTrue(heard.startswith(b"HTTP/1.1 %d " % status), (name, heard[:80]))
                self.assertIn(b'"code":"%s"' % error.encode() if error else b"\r\n\r\nabc", heard, name)
            client = await self.oap()
            try:
                response = await client.call(Profile.CUSTOM, "call", args("POST", "/x"))
                body = await response.read(1 << 20)
            except OAPError as failed:
                self.assertEqual(failed.name, error, name)
            else:
                self.assertEqual((response.head["status"], body, error), (500, b"abc", ""), name)
            await client.close()
            await self.node.stopService()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_refused(self) -> None:
        await self.upstream.port.stopListening()
        self.start()
        caller = await self.caller("GET /app/own/x HTTP/1.1", "Connection: close")
        heard = await caller.over()
        self.assertIn(b"HTTP/1.1 503 ", heard)
        self.assertIn(b'"code":"owner_unavailable"', heard)
        self.assertIn(b"\r\nRetry-After: ", heard)

    async def test_dripping_is_no_fault(self) -> None:
        self.start()
        caller = await self.caller("GET /app/own/x HTTP/1.1", "Connection: close")
        upstream = await self.upstream.accepted()
        await upstream.until(b"\r\n\r\n")
        for at in b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc":
            upstream.transport.write(bytes((at,)))
            await free_turn()
        heard = await caller.over()
        self.assertTrue(heard.endswith(b"\r\n\r\nabc"), heard)


def free_turn() -> Deferred[None]:
    """Let the reactor do what it has at hand."""
    turn: Deferred[None] = Deferred()
    reactor.callLater(0, turn.callback, None)  # type: ignore[attr-defined]
    return turn


class ServerTests(CustomCase):
    """Services as people run them."""

    async def passes(self, port: int) -> None:
        self.start(f"http://127.0.0.1:{port}")
        client = await self.oap()
        for path, expected in (
            *(("/small", SMALL), ("/large", LARGE), ("/chunked", SMALL), ("/close", SMALL), ("/empty", b"")),
            ("/small?x=%zz", SMALL),
        ):
            caller = await self.caller(f"GET /app/own{path} HTTP/1.0", "X-A: b")
            head, _, body = (await caller.over()).partition(b"\r\n\r\n")
            self.assertIn(b" 204 " if not expected else b" 200 ", head.partition(b"\r\n")[0])
            self.assertEqual(body, expected, path)
            response = await client.call(Profile.CUSTOM, "call", args("GET", path))
            self.assertEqual(await response.read(1 << 21), expected, path)
        caller = await self.caller("HEAD /app/own/small HTTP/1.1", "Connection: close")
        head, _, body = (await caller.over()).partition(b"\r\n\r\n")
        self.assertEqual((head.lower().count(b"content-length: 1024"), body), (1, b""))
        caller = await self.caller(
            "POST /app/own/echo HTTP/1.1", "Content-Length: 5", "Connection: close", body=b"hello"
        )
        self.assertTrue((await caller.over()).endswith(b"\r\n\r\nhello"))
        response = await client.call(Profile.CUSTOM, "call", args("POST", "/echo"), body=b"x" * 50_000)
        self.assertEqual((response.head["status"], await response.read(1 << 20)), (201, b"x" * 50_000))
        missing = await client.call(Profile.CUSTOM, "call", args("GET", "/none"))
        self.assertEqual(missing.head["status"], 404)

    async def served_by(self, name: str) -> None:
        servers = Servers()
        self.addCleanup(servers.close)
        await self.passes(await deferToThread(getattr(servers, name)))

    async def test_stdlib(self) -> None:
        await self.served_by("stdlib")

    async def test_aiohttp(self) -> None:
        await self.served_by("aiohttp")

    async def test_nginx(self) -> None:
        await self.served_by("nginx")
