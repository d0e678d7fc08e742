"""The OAP/1 ingress on real sockets (TCP, TLS, Unix), for our client and for bare ones."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL.crypto import X509, PKey
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    SSL4ClientEndpoint,
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.config.schema import Limits, Timeouts
from micronode.oap.client import OAPClient, OAPError, connect
from micronode.oap.factory import OAPFactory
from micronode.oap.wire.frames import END, EVENT, RESP, encode_frame
from micronode.oap.wire.profiles import Profile
from tests.support.measures import make_metrics, sample
from tests.support.oap import (
    Dispatched,
    SeenFrame,
    SpyConsumer,
    StubDispatcher,
    body,
    hello,
    put,
    read_frames,
    start,
)

#: The reactor is many interfaces at once, which types do not say.
reactor: Any = installed_reactor


@implementer(IPushProducer)
class Download:
    """Sends *size* bytes as fast as the caller takes them."""

    def __init__(self, dispatched: Dispatched, size: int) -> None:
        self.sent = 0
        self.pauses = 0
        self._dispatched = dispatched
        self._left = size
        self._running = True
        dispatched.sink.start(ResponseHead(length=size))
        dispatched.sink.registerProducer(self, True)
        reactor.callLater(0, self._send)

    def _send(self) -> None:
        sink = self._dispatched.sink
        while self._running and self._left:
            data = bytes(min(65_536, self._left))
            self._left -= len(data)
            self.sent += len(data)
            sink.write(data)
        if not self._left and self._running:
            self._running = False
            sink.unregisterProducer()
            sink.finish().addCallback(self._finished)

    def _finished(self, _: None) -> None:
        if not self._dispatched.over.called:
            self._dispatched.over.callback(None)

    def pauseProducing(self) -> None:
        self._running = False
        self.pauses += 1

    def resumeProducing(self) -> None:
        self._running = True
        reactor.callLater(0, self._send)

    def stopProducing(self) -> None:
        self._running = False


@implementer(IBodyProducer)
class Upload:
    """Sends chunks while it may."""

    length = 300 * 65_536

    def __init__(self) -> None:
        self._left = 300
        self._running = False
        self._consumer: Any = None
        self._done: Deferred[None] = Deferred()

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self._consumer = consumer
        self.resumeProducing()
        return self._done

    def resumeProducing(self) -> None:
        self._running = True
        reactor.callLater(0, self._send)

    def pauseProducing(self) -> None:
        self._running = False

    def stopProducing(self) -> None:
        self._running = False

    def _send(self) -> None:
        while self._running and self._left:
            self._left -= 1
            self._consumer.write(bytes(65_536))
        if self._running and not self._left:
            self._running = False
            self._done.callback(None)


class Bare(Protocol):
    """A caller that only collects bytes until the end."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(None)


def serve(dispatched: Dispatched) -> None:
    """Answer by what was asked."""
    args = dispatched.call.args
    if dispatched.call.body is None:
        text = args["q"]
        if text.startswith("big "):
            Download(dispatched, int(text[4:]))
        elif text != "never":
            dispatched.answer(text.encode())
        return
    consumer = SpyConsumer()
    done = dispatched.call.body.startProducing(consumer)
    done.addCallback(lambda _: dispatched.answer(str(len(consumer.data)).encode(), status=201))


class _Ingress:
    """A listener; the sub-classes choose the socket."""

    timeout = 20
    target: str
    endpoint: Any
    listen: Callable[[OAPFactory], Any]

    def setUp(self) -> None:
        self.dispatcher = StubDispatcher(serve)
        self.metrics = make_metrics()
        self.factory = OAPFactory(
            dispatcher=self.dispatcher,
            metrics=self.metrics,
            clock=reactor,
            access=lambda fields: None,
            limits=Limits(max_object=1 << 30),
            timeouts=Timeouts(),
        )
        port = self.listen(self.factory)
        self.addCleanup(port.stopListening)  # type: ignore[attr-defined]
        self.addCleanup(self.settled)  # type: ignore[attr-defined]

    async def settled(self) -> None:
        """Wait until every connection is gone."""
        self.factory.abort_all()
        while self.factory.connections:
            await deferLater(reactor, 0.01)

    async def client(self) -> OAPClient:
        client = await connect(reactor, self.target)
        self.addCleanup(client.close)  # type: ignore[attr-defined]
        return client


class _Client(_Ingress):
    """Our own client."""

    async def test_many_calls_at_once(self) -> None:
        client = await self.client()

        async def ask(number: int) -> bytes:
            response = await client.call(Profile.SEARCH, "query", {"q": f"call {number}"})
            return await response.read(100)

        answers = await gatherResults([Deferred.fromCoroutine(ask(number)) for number in range(60)])
        self.assertEqual(answers, [b"call %d" % number for number in range(60)])  # type: ignore[attr-defined]

    async def test_bodies_both_ways(self) -> None:
        client = await self.client()
        put_answer = client.call(Profile.MEDIA, "put", {}, body=Upload())
        got = await client.call(Profile.SEARCH, "query", {"q": "big 20000000"})
        consumer = SpyConsumer()
        await got.deliver(consumer)
        self.assertEqual(len(consumer.data), 20_000_000)  # type: ignore[attr-defined]
        with self.assertRaises(OAPError) as caught:  # type: ignore[attr-defined]
            # 300 chunks are more than the stub operation's 4 MiB.
            await put_answer
        self.assertEqual(caught.exception.name, "body_too_large")  # type: ignore[attr-defined]

    async def test_caller_that_does_not_read_stops_the_owner(self) -> None:
        client = await self.client()
        response = await client.call(Profile.SEARCH, "query", {"q": "big 100000000"})
        await deferLater(reactor, 0.2)
        sink: Any = self.dispatcher.calls[0].sink
        self.assertEqual(sink.status, 200)  # type: ignore[attr-defined]
        sent = sample(self.metrics, "bytes_total", ingress="oap", direction="out")
        # 128 KiB here, the kernel's buffers between, one write on the node's side.
        self.assertLess(sent, 20_000_000)  # type: ignore[attr-defined]
        response.abort()
        while not self.dispatcher.calls[0].cancelled:
            await deferLater(reactor, 0.01)

    async def test_cancel_reaches_the_dispatcher(self) -> None:
        client = await self.client()
        asked = client.call(Profile.SEARCH, "query", {"q": "never"})
        while not self.dispatcher.calls:
            await deferLater(reactor, 0.01)
        asked.addErrback(lambda _: None)
        asked.cancel()
        while not self.dispatcher.calls[0].cancelled:
            await deferLater(reactor, 0.01)

    async def test_drain(self) -> None:
        client = await self.client()
        response = await client.call(Profile.SEARCH, "query", {"q": "big 3000000"})
        self.factory.goaway(700)
        self.assertEqual(len(await response.read(1 << 23)), 3_000_000)  # type: ignore[attr-defined]
        while self.factory.connections:
            await deferLater(reactor, 0.01)


class _Bare(_Ingress):
    """What a caller sees that knows nothing of us."""

    async def test_error_is_not_lost_to_a_reset(self) -> None:
        bare = Bare()
        await connectProtocol(self.endpoint, bare)
        transport: Any = bare.transport
        # The node stops reading at the first frame; what follows it must not become a reset.
        transport.write(hello() + bytes(38) + bytes(300_000))
        await bare.ended
        greeting, error = read_frames(bare.data)
        self.assertEqual(greeting.code, 200)  # type: ignore[attr-defined]
        self.assertEqual(  # type: ignore[attr-defined]
            (error.flags, error.code, error.json["code"]), (RESP | END, 400, "bad_length")
        )

    async def blocked(self) -> Any:
        """Return the transport of a caller whose upload keeps the node from reading; it has a call, too."""
        self.dispatcher.on_call = None
        bare = Bare()
        await connectProtocol(self.endpoint, bare)
        transport: Any = bare.transport
        transport.write(hello() + start(1, args={"q": "never"}) + put(2))
        transport.write(body(2, bytes(60_000)) * 20)
        while not any(protocol._reader._intake.paused for protocol in self.factory._protocols):
            await deferLater(reactor, 0.01)
        return transport

    async def test_reset_behind_an_upload_that_is_not_taken(self) -> None:
        transport = await self.blocked()
        left_s = reactor.seconds()
        transport.abortConnection()
        while not all(dispatched.cancelled for dispatched in self.dispatcher.calls):
            await deferLater(reactor, 0.01)
        self.assertEqual(len(self.dispatcher.calls), 2)  # type: ignore[attr-defined]
        # Far less than the time after which the upload itself would fail.
        self.assertLess(reactor.seconds() - left_s, Timeouts().stall / 2)  # type: ignore[attr-defined]


class _HalfClosing(_Ingress):
    """Sockets that can be shut down one way."""

    async def test_half_closed_caller_gets_its_answers(self) -> None:
        bare = Bare()
        await connectProtocol(self.endpoint, bare)
        transport: Any = bare.transport
        transport.write(hello() + start(1, args={"q": "one"}) + start(2, args={"q": "big 1000000"}))
        transport.loseWriteConnection()
        await bare.ended
        frames = read_frames(bare.data)[1:]
        self.assertEqual([frame.corr_id for frame in frames if frame.ends], [1, 2])  # type: ignore[attr-defined]
        total = sum(len(frame.payload) for frame in frames if frame.corr_id == 2 and frame.code == 206)
        self.assertEqual(total, 1_000_000)  # type: ignore[attr-defined]


class OverTCP(_Client, _Bare, _HalfClosing, TestCase):
    def listen(self, factory: OAPFactory) -> Any:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.target = f"oap://127.0.0.1:{port.getHost().port}"
        self.endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        return port

    async def test_reset_cancels_the_calls(self) -> None:
        bare = Bare()
        await connectProtocol(self.endpoint, bare)
        transport: Any = bare.transport
        transport.write(hello() + start(1, args={"q": "never"}) + put(2))
        while len(self.dispatcher.calls) < 2:
            await deferLater(reactor, 0.01)
        transport.abortConnection()
        while not all(dispatched.cancelled for dispatched in self.dispatcher.calls):
            await deferLater(reactor, 0.01)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_transport_is_named(self) -> None:
        client = await self.client()
        self.assertEqual(client.hello["transports"], ["tcp"])


class OverUnix(_Client, _Bare, _HalfClosing, TestCase):
    def listen(self, factory: OAPFactory) -> Any:
        # Trial's own directory may be too deep for the 108 bytes of a Unix address.
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = f"{folder}/oap"
        port = reactor.listenUNIX(path, factory)
        self.target = f"unix:{path}"
        self.endpoint = UNIXClientEndpoint(reactor, path)
        return port

    async def test_transport_is_named(self) -> None:
        client = await self.client()
        self.assertEqual(client.hello["transports"], ["unix"])


class OverTLS(_Bare, TestCase):
    def listen(self, factory: OAPFactory) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(hours=1))
            .sign(key, hashes.SHA256())
        )
        options = CertificateOptions(
            privateKey=PKey.from_cryptography_key(key), certificate=X509.from_cryptography(certificate)
        )
        port = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        self.endpoint = SSL4ClientEndpoint(
            reactor, "127.0.0.1", port.getHost().port, CertificateOptions(verify=False)
        )
        return port

    async def bare(self, data: bytes) -> list[SeenFrame]:
        """Send *data*, and return what came until the node closed."""
        bare = Bare()
        await connectProtocol(self.endpoint, bare)
        transport: Any = bare.transport
        transport.write(data)
        await bare.ended
        return read_frames(bare.data)

    async def test_answers(self) -> None:
        # The PING after them is over its limit, which ends the connection.
        asked = start(1, args={"q": "one"}) + start(2, args={"q": "two"})
        frames = await self.bare(hello() + asked + encode_frame(EVENT, 102, 0, 0, bytes(65)))
        self.assertEqual(frames[0].json["transports"], ["tcp+tls"])
        self.assertEqual([frame.payload for frame in frames if frame.code == 206], [b"one", b"two"])
        self.assertEqual(frames[-1].json["code"], "bad_request")

    async def test_idle_connection_is_told_and_closed(self) -> None:
        bare = Bare()
        await connectProtocol(self.endpoint, bare)
        transport: Any = bare.transport
        transport.write(hello())
        while not bare.data:
            await deferLater(reactor, 0.01)
        self.factory.goaway(700)
        await bare.ended
        [_, goaway] = read_frames(bare.data)
        self.assertEqual(goaway.json["retry_after_ms"], 700)

    async def test_handshake_that_never_comes(self) -> None:
        bare = Bare()
        port = self.endpoint._port
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), bare)
        transport: Any = bare.transport
        transport.write(hello())
        await bare.ended
        while self.factory.connections:
            await deferLater(reactor, 0.01)
        self.assertEqual(self.flushLoggedErrors(), [])
