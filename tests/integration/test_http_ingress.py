"""The HTTP ingress on real sockets: what in-memory transports cannot show.

Half-closes, resets, kernel buffers, TLS, and a client that nobody here wrote, in another process.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from micronode.calls.call import Call, ResponseHead
from micronode.http.site import make_app_site
from tests.http.support import StubDispatcher, Timeouts, get, make_metrics, read_answers, say

reactor: Any = global_reactor

#: Another implementation of HTTP, told what to do by its arguments; prints JSON.
CLIENT = """
import http.client, json, sys
caller = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
seen = []
def ask(method, path, **more):
    caller.request(method, path, **more)
    answer = caller.getresponse()
    seen.append([answer.status, answer.read().decode("latin-1"), caller.sock is not None])
ask("GET", "/app/search?q=a%20b")
ask("POST", "/app/media", body=b"x" * 300000)
ask("POST", "/app/media", body=iter([b"ab", b"cd"]), encode_chunked=True,
    headers={"Transfer-Encoding": "chunked"})
ask("HEAD", "/app/media/x")
ask("DELETE", "/app/search")
ask("GET", "/app/graph/resolve/name%3Aa%2Fb")
print(json.dumps(seen))
"""


class Caller(Protocol):
    """Keeps what it reads."""

    #: Seconds it rests after each read.
    rest_s = 0.0

    def __init__(self) -> None:
        self.seen = b""
        self.lost: Deferred[str] = Deferred()
        self._waiting: tuple[Callable[[bytes], bool], Deferred[bytes]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.seen += data
        if self.rest_s:
            transport: Any = self.transport
            transport.pauseProducing()
            reactor.callLater(self.rest_s, transport.resumeProducing)
        if self._waiting is not None and self._waiting[0](self.seen):
            (_, waiter), self._waiting = self._waiting, None
            waiter.callback(self.seen)

    def until(self, enough: Callable[[bytes], bool]) -> Deferred[bytes]:
        """Return a Deferred that fires when *enough* says so of what was read."""
        waiter: Deferred[bytes] = Deferred()
        self._waiting = (enough, waiter)
        self.dataReceived(b"")
        return waiter

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(reason.type.__name__)


@implementer(IPushProducer)
class Spring:
    """An inexhaustible push producer over *sink*."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.written = 0
        self.paused = False
        self.stopped = False
        sink.start(ResponseHead())
        sink.registerProducer(self, True)
        self._flow()

    def _flow(self) -> None:
        if not self.paused and not self.stopped:
            self._sink.write(b"x" * 16_384)
            self.written += 16_384
            reactor.callLater(0, self._flow)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        reactor.callLater(0, self._flow)

    def stopProducing(self) -> None:
        self.stopped = True

    def end(self) -> None:
        """End the answer."""
        self.stopped = True
        self._sink.unregisterProducer()
        self._sink.finish()


class IngressTestCase(TestCase):
    """A site on a port of its own; everything is closed at the end."""

    timeout = 20

    def serve(self, dispatcher: StubDispatcher, **timeouts: float) -> None:
        self.dispatcher = dispatcher
        self.log: list[dict[str, object]] = []
        self.site = make_app_site(
            dispatcher=dispatcher,
            metrics=make_metrics(),
            timeouts=Timeouts(**timeouts),
            idle_s=75.0,
            clock=reactor,
            access=self.log.append,
        )
        self.listen()
        self.addCleanup(self.close)

    def listen(self) -> None:
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")

    async def close(self) -> None:
        await maybeDeferred(self.port.stopListening)
        self.site.abort_all()
        while self.site.connections:
            await deferLater(reactor, 0.01)

    @property
    def number(self) -> int:
        address = self.port.getHost()
        assert isinstance(address, IPv4Address)
        return address.port

    def connect(self, context: Any = None) -> Deferred[Caller]:
        caller = Caller()
        connected: Deferred[Caller] = Deferred()
        caller.connectionMade = lambda: connected.callback(caller)  # type: ignore[method-assign]
        factory = Factory.forProtocol(lambda: caller)
        factory.noisy = False
        wrapped: Any = _OneShot(factory)
        if context is None:
            reactor.connectTCP("127.0.0.1", self.number, wrapped)
        else:
            reactor.connectSSL("127.0.0.1", self.number, wrapped, context)
        self.addCleanup(lambda: caller.transport.abortConnection())  # type: ignore[union-attr]
        return connected

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for *condition*; the test's own timeout ends a wait in vain."""
        while not condition():
            await deferLater(reactor, 0.01)


class _OneShot:
    """A client factory without reconnection, over a plain one."""

    noisy = False

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""

    def startedConnecting(self, connector: Any) -> None:
        """Nothing to note."""

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        """The test's timeout tells."""

    def clientConnectionLost(self, connector: Any, reason: Any) -> None:
        """The protocol knows."""

    def buildProtocol(self, addr: Any) -> Any:
        return self._factory.buildProtocol(addr)


class TCPTests(IngressTestCase):
    """Plain TCP."""

    async def test_foreign_client_in_another_process(self) -> None:
        def answer(call: Call, sink: Any) -> None:
            body = call.body.data if call.body is not None else b""  # type: ignore[attr-defined]
            say(json.dumps([call.operation.name, call.args, len(body)]).encode())(call, sink)

        self.serve(StubDispatcher(answer))
        out, err, code = await getProcessOutputAndValue(
            sys.executable, ["-c", CLIENT, str(self.number)], env={}
        )
        self.assertEqual((code, err), (0, b""))
        seen = json.loads(out)
        self.assertEqual([each[0] for each in seen], [200, 200, 200, 200, 405, 200])
        # One connection served them all.
        self.assertTrue(all(kept for _, _, kept in seen))
        self.assertEqual(len(self.log), 6)
        texts = [text for _, text, _ in seen]
        self.assertEqual(json.loads(texts[0]), ["search.query", {"q": "a b", "limit": 10}, 0])
        self.assertEqual(json.loads(texts[1])[2], 300_000)
        self.assertEqual(json.loads(texts[2])[2], 4)
        self.assertEqual(texts[3], "")
        self.assertEqual(json.loads(texts[5])[1], {"key": "name:a/b"})

    async def test_refusal_reaches_a_caller_that_is_still_sending(self) -> None:
        self.serve(StubDispatcher())
        caller = await self.connect()
        assert caller.transport is not None
        caller.transport.write(get("/nope", "Content-Length: 900000", method="POST"))
        sender = LoopingCall(lambda: caller.transport.write(b"x" * 30_000))  # type: ignore[union-attr]
        self.addCleanup(lambda: sender.running and sender.stop())
        sender.start(0.005).addErrback(lambda _: None)
        # The writing side was shut down behind the answer: a clean end, not a reset.
        self.assertEqual(await caller.lost, "ConnectionDone")
        (answer,) = read_answers(caller.seen)
        self.assertEqual((answer.status, answer.json["code"]), (404, "not_found"))

    async def unread(self) -> tuple[StubDispatcher, Any]:
        """Return the transport of a caller that has a call running and pipelined more than is read."""
        dispatcher = StubDispatcher()
        self.serve(dispatcher)
        caller = await self.connect()
        assert caller.transport is not None
        caller.transport.write(get() * 3000)
        [channel] = self.site._channels
        await self.until(lambda: channel._intake.paused)
        return dispatcher, caller.transport

    async def test_reset_behind_what_is_not_read_cancels_the_call(self) -> None:
        dispatcher, transport = await self.unread()
        transport.abortConnection()
        await self.until(lambda: bool(dispatcher.cancelled) and not self.site.connections)
        self.assertEqual([line["status"] for line in self.log], [499])

    async def test_end_behind_what_is_not_read_cancels_the_call(self) -> None:
        dispatcher, transport = await self.unread()
        transport.loseWriteConnection()
        await self.until(lambda: bool(dispatcher.cancelled) and not self.site.connections)
        self.assertEqual(len(dispatcher.calls), 1)
        self.assertEqual([line["status"] for line in self.log], [499])

    async def test_caller_that_half_closes_gets_what_is_written(self) -> None:
        self.serve(StubDispatcher(say(b"x" * (1 << 20))))
        caller = await self.connect()
        transport: Any = caller.transport
        transport.write(get())
        # In one with the request, so that the node sees both before it has sent a byte.
        transport.loseWriteConnection()
        self.assertEqual(await caller.lost, "ConnectionDone")
        self.assertEqual(len(read_answers(caller.seen)[0].body), 1 << 20)

    async def test_truncation_is_seen_as_one(self) -> None:
        dispatcher = StubDispatcher()
        self.serve(dispatcher)
        caller = await self.connect()
        assert caller.transport is not None
        caller.transport.write(get())
        await self.until(lambda: bool(dispatcher.sinks))
        dispatcher.sinks[0].start(ResponseHead(length=10))
        dispatcher.sinks[0].write(b"part")
        await caller.until(lambda seen: seen.endswith(b"part"))
        dispatcher.sinks[0].write(b"far too much")
        self.assertEqual(await caller.lost, "ConnectionLost")

    async def test_unread_answer_pauses_its_producer_then_ends_the_connection(self) -> None:
        dispatcher = StubDispatcher()
        self.serve(dispatcher, write_stall=0.4)
        caller = await self.connect()
        transport: Any = caller.transport
        transport.pauseProducing()
        transport.write(get())
        await self.until(lambda: bool(dispatcher.sinks))
        spring = Spring(dispatcher.sinks[0])
        await self.until(lambda: bool(dispatcher.cancelled))
        # What the kernel and one buffer took, and not a byte for the time it stood still.
        self.assertLess(spring.written, 64 << 20)
        self.assertEqual((self.log[0]["status"], self.log[0]["reason"]), (499, "slow_reader"))
        self.assertTrue(spring.stopped)

    async def unread_last_answer(self, **timeouts: float) -> tuple[Caller, Any]:
        """Return a caller that got its connection's last answer and does not read it, and its transport."""
        self.serve(StubDispatcher(say(b"x" * (256 << 10))), **timeouts)
        caller = await self.connect()
        transport: Any = caller.transport
        transport.pauseProducing()
        transport.write(get("/app/search?q=x", "Connection: close"))
        await self.until(lambda: bool(self.log))
        return caller, transport

    async def test_answer_in_the_kernel_still_has_its_connection(self) -> None:
        """Closed now, it would be the kernel's for as long as the caller likes, and nobody's connection."""
        caller, transport = await self.unread_last_answer()
        for _ in range(20):
            await deferLater(reactor, 0.01)
        self.assertEqual(self.site.connections, 1)
        transport.resumeProducing()
        self.assertEqual(await caller.lost, "ConnectionDone")
        self.assertEqual(len(read_answers(caller.seen)[0].body), 256 << 10)
        await self.until(lambda: not self.site.connections)

    async def test_answer_that_is_left_in_the_kernel_is_reset(self) -> None:
        caller, transport = await self.unread_last_answer(write_stall=0.4)
        await self.until(lambda: not self.site.connections)
        transport.resumeProducing()
        self.assertEqual(await caller.lost, "ConnectionLost")

    async def test_answer_in_the_kernel_that_is_reset_behind_the_end_of_input(self) -> None:
        """Behind that end nothing is read, so that no read tells; it is no slow reader and not waited for."""
        _, transport = await self.unread_last_answer(write_stall=60.0)
        [channel] = self.site._channels
        await self.until(lambda: channel._farewell._shut)
        transport.loseWriteConnection()
        await self.until(lambda: channel.transport not in reactor.getReaders())
        transport.abortConnection()
        await self.until(lambda: not self.site.connections)

    async def test_answer_in_the_kernel_survives_the_node(self) -> None:
        caller, transport = await self.unread_last_answer()
        [channel] = self.site._channels
        await self.until(lambda: channel._farewell._shut)
        self.site.abort_all()
        await self.until(lambda: not self.site.connections)
        transport.resumeProducing()
        self.assertEqual(await caller.lost, "ConnectionDone")
        self.assertEqual(len(read_answers(caller.seen)[0].body), 256 << 10)

    async def test_slow_but_steady_reader_is_no_stall(self) -> None:
        """The transport stays full far longer than the limit, but the peer takes bytes all the time."""
        self.serve(StubDispatcher(say(b"x" * (6 << 20))), write_stall=0.6)
        caller = await self.connect()
        caller.rest_s = 0.02
        transport: Any = caller.transport
        transport.write(get("/app/search?q=x", "Connection: close"))
        started = reactor.seconds()
        self.assertEqual(await caller.lost, "ConnectionDone")
        self.assertGreater(reactor.seconds() - started, 1.2)
        self.assertEqual(len(read_answers(caller.seen)[0].body), 6 << 20)

    async def test_drain(self) -> None:
        dispatcher = StubDispatcher()
        self.serve(dispatcher)
        idle, busy = await gatherResults([self.connect(), self.connect()])
        busy.transport.write(get())
        await self.until(lambda: bool(dispatcher.sinks))
        self.site.close_idle()
        self.assertEqual(await idle.lost, "ConnectionDone")
        say(b"last")(dispatcher.calls[0], dispatcher.sinks[0])
        self.assertEqual(await busy.lost, "ConnectionDone")
        self.assertEqual(read_answers(busy.seen)[0].body, b"last")


class UnixTests(IngressTestCase):
    """A Unix socket."""

    def listen(self) -> None:
        self.path = f"{self.mktemp()}.s"
        self.port = reactor.listenUNIX(self.path, self.site)

    async def test_serves_and_names_the_peer(self) -> None:
        self.serve(StubDispatcher(say(b"hello")))
        caller = Caller()
        factory: Any = _OneShot(Factory.forProtocol(lambda: caller))
        caller.connectionMade = lambda: caller.transport.write(  # type: ignore[method-assign,union-attr]
            get("/app/search?q=x", "Connection: close")
        )
        reactor.connectUNIX(self.path, factory)
        await caller.lost
        self.assertEqual(read_answers(caller.seen)[0].body, b"hello")
        self.assertEqual(self.log[0]["peer"], "unix")

    async def test_answer_in_the_kernel_still_has_its_connection(self) -> None:
        self.serve(StubDispatcher(say(b"x" * (256 << 10))))
        caller = socket.socket(socket.AF_UNIX)
        self.addCleanup(caller.close)
        caller.connect(self.path)
        caller.sendall(get("/app/search?q=x", "Connection: close"))
        await self.until(lambda: bool(self.log))
        for _ in range(20):
            await deferLater(reactor, 0.01)
        self.assertEqual(self.site.connections, 1)
        caller.setblocking(False)
        seen = b""
        while self.site.connections:
            with contextlib.suppress(BlockingIOError):
                seen += caller.recv(1 << 20)
            await deferLater(reactor, 0.01)
        self.assertEqual(len(read_answers(seen)[0].body), 256 << 10)


class TLSTests(IngressTestCase):
    """TLS, where there is no half-close."""

    def listen(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node.test")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("node.test")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.certificate = PrivateCertificate.loadPEM(pem)
        options = CertificateOptions(
            privateKey=self.certificate.privateKey.original, certificate=self.certificate.original
        )
        self.port = reactor.listenSSL(0, self.site, options, interface="127.0.0.1")

    def call(self) -> Deferred[Caller]:
        return self.connect(optionsForClientTLS("node.test", trustRoot=self.certificate))

    async def test_serves(self) -> None:
        self.serve(StubDispatcher(say(b"hello")))
        caller = await self.call()
        assert caller.transport is not None
        caller.transport.write(get() + get("/app/search?q=x", "Connection: close"))
        self.assertEqual(await caller.lost, "ConnectionDone")
        self.assertEqual([answer.body for answer in read_answers(caller.seen)], [b"hello"] * 2)

    async def test_refusal_reaches_a_caller_that_is_still_sending(self) -> None:
        self.serve(StubDispatcher())
        caller = await self.call()
        assert caller.transport is not None
        caller.transport.write(get("/nope", "Content-Length: 900000", method="POST"))
        caller.transport.write(b"x" * 300_000)
        seen = await caller.until(lambda seen: seen.endswith(b"}\n"))
        self.assertEqual(read_answers(seen)[0].status, 404)
        self.assertEqual(await caller.lost, "ConnectionDone")

    async def test_unread_answer_pauses_its_producer(self) -> None:
        dispatcher = StubDispatcher()
        self.serve(dispatcher)
        caller = await self.call()
        transport: Any = caller.transport
        transport.write(get())
        await self.until(lambda: bool(dispatcher.sinks))
        transport.pauseProducing()
        spring = Spring(dispatcher.sinks[0])
        written = -1
        while written != spring.written:
            written = spring.written
            await deferLater(reactor, 0.2)
        self.assertTrue(spring.paused)
        self.assertLess(written, 64 << 20)
        transport.resumeProducing()
        await self.until(lambda: spring.written > written)
        spring.end()
        await self.until(lambda: bool(self.log))
        self.assertEqual(self.log[0]["status"], 200)
