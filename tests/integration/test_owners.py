"""The owner client against real sockets and owners that misbehave on them."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import Site

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.endpoints import Endpoint
from micronode.adapters.owner import OwnerClient
from micronode.adapters.settings import OwnerSettings
from micronode.calls.call import ResponseHead
from micronode.config.url import OwnerUrl
from micronode.errors import ErrorCode, NodeError
from micronode.security.identity import system_identity
from tests.support.measures import make_metrics
from tests.support.owners import BadOwner
from tests.support.sinks import MemorySink

MIB = 1024 * 1024


def open_sockets() -> int:
    """Return how many sockets this process has; the reactor's own pipes come and go."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of listdir itself
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    return count


class OwnersTests(TestCase):
    timeout = 10

    def setUp(self) -> None:
        self.clients: list[OwnerClient] = []

    async def tearDown(self) -> None:
        for client in self.clients:
            self.assertEqual(client.inflight, 0)
            await client.close()

    def client(self, url: str, **changes: Any) -> OwnerClient:
        settings: dict[str, Any] = {
            "concurrency": 8,
            "timeout_s": 0.5,
            "idle_s": 0.3,
            "stall_s": 0.3,
        }
        max_body = changes.pop("max_body", None)
        endpoint = Endpoint(OwnerAgent(reactor, OwnerUrl.parse(url), connections=8), reactor.seconds)
        client = OwnerClient(
            "storage",
            OwnerSettings(endpoints=(endpoint,), **(settings | changes)),
            reactor=reactor,
            max_body=max_body,
            metrics=make_metrics(),
        )
        self.clients.append(client)
        return client

    def owner(self, head: bytes = b"", then: str = "stay") -> BadOwner:
        owner = BadOwner(reactor, head, then)
        self.addCleanup(owner.stop)
        return owner

    async def fails(self, called: Deferred[Any], code: ErrorCode) -> None:
        error = await self.assertFailure(called, NodeError)
        self.assertIs(error.code, code)
        self.assertNotIn("127.0.0.1", error.message)

    async def fails_and_closes(self, owner: BadOwner, code: ErrorCode, **changes: Any) -> MemorySink:
        """The call, or passing its answer on, fails, and the owner sees its connection closed."""
        client = self.client(owner.url, **changes)
        sink = MemorySink()

        async def call() -> None:
            reply = await client.call(b"GET", b"/")
            await reply.relay(ResponseHead(length=reply.length), sink)

        await self.fails(Deferred.fromCoroutine(call()), code)
        await owner.when_empty()
        self.assertEqual(self.flushLoggedErrors(), [])
        return sink

    # An owner that lies about its length

    async def test_shorter_than_it_says(self) -> None:
        owner = self.owner(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "close")
        sink = await self.fails_and_closes(owner, ErrorCode.BAD_GATEWAY)
        self.assertFalse(sink.started)

    async def test_much_shorter_than_it_says(self) -> None:
        owner = self.owner(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"a" * MIB, "close")
        sink = await self.fails_and_closes(owner, ErrorCode.BAD_GATEWAY)
        self.assertTrue(sink.started)
        self.assertEqual(len(sink.body), MIB)

    async def test_longer_than_it_says(self) -> None:
        owner = self.owner(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n")
        sink = await self.fails_and_closes(owner, ErrorCode.BAD_GATEWAY)
        self.assertFalse(sink.started)

    # An owner that stalls

    async def test_silent(self) -> None:
        await self.fails_and_closes(self.owner(), ErrorCode.OWNER_TIMEOUT)

    async def test_stalls_in_the_head(self) -> None:
        await self.fails_and_closes(self.owner(b"HTTP/1.1 200 OK\r\nConten"), ErrorCode.OWNER_TIMEOUT)

    async def test_stalls_in_the_body(self) -> None:
        owner = self.owner(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"a" * MIB)
        sink = await self.fails_and_closes(owner, ErrorCode.OWNER_TIMEOUT)
        self.assertEqual(len(sink.body), MIB)

    # An owner that breaks off, or is none

    async def test_resets(self) -> None:
        for head in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"):
            await self.fails_and_closes(self.owner(head, "reset"), ErrorCode.BAD_GATEWAY)

    async def test_garbage(self) -> None:
        await self.fails_and_closes(self.owner(os.urandom(2000) + b"\n"), ErrorCode.BAD_GATEWAY)

    async def test_refuses(self) -> None:
        owner = self.owner()
        url = owner.url
        await owner.stop()
        await self.fails(self.client(url).call(b"GET", b"/"), ErrorCode.OWNER_UNAVAILABLE)

    async def test_socket_that_is_not_there(self) -> None:
        # Not below the folder of the run: a socket's path holds 107 bytes.
        url = "unix:/nowhere/owner.sock"
        await self.fails(self.client(url).call(b"GET", b"/"), ErrorCode.OWNER_UNAVAILABLE)

    async def test_name_that_does_not_resolve(self) -> None:
        client = self.client("http://owner.invalid:1/")
        error = await self.assertFailure(client.call(b"GET", b"/"), NodeError)
        # A resolver that cannot be reached takes its time to say so.
        self.assertIn(error.code, (ErrorCode.OWNER_UNAVAILABLE, ErrorCode.OWNER_TIMEOUT))

    # An owner that does not stop

    async def test_endless_head(self) -> None:
        owner = self.owner(b"HTTP/1.1 200 OK\r\n|X-Filler: " + b"y" * 1000 + b"\r\n", "pour")
        await self.fails_and_closes(owner, ErrorCode.BAD_GATEWAY)
        self.assertLess(owner.poured, 32 * MIB)

    async def test_endless_line(self) -> None:
        owner = self.owner(b"HTTP/1.1 200 OK\r\nX-Filler: |" + b"y" * 1000, "pour")
        await self.fails_and_closes(owner, ErrorCode.BAD_GATEWAY)
        self.assertLess(owner.poured, 32 * MIB)

    async def test_endless_body(self) -> None:
        chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        owner = self.owner(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|" + chunk, "pour")
        sink = await self.fails_and_closes(owner, ErrorCode.BAD_GATEWAY, max_body=8 * MIB)
        self.assertLessEqual(len(sink.body), 8 * MIB)

    async def test_caller_that_does_not_read_stops_the_owner(self) -> None:
        chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        owner = self.owner(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|" + chunk, "pour")
        reply = await self.client(owner.url).call(b"GET", b"/")
        sink = MemorySink(pause_after=MIB)
        relaying = reply.relay(ResponseHead(), sink)
        while sink.producer is None or len(sink.body) < MIB:
            await deferLater(reactor, 0.01)
        before = -1
        while owner.poured != before:  # until the kernel's buffers are full
            before = owner.poured
            await deferLater(reactor, 0.05)
        self.assertLess(len(sink.body), MIB + 2 * 65_536)
        relaying.cancel()
        await self.assertFailure(relaying, CancelledError)
        await owner.when_empty()

    # Connections and descriptors

    async def test_cancelled_calls_leave_no_connection(self) -> None:
        heads = (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        owners = [self.owner(head) for head in heads]
        before = open_sockets()
        for owner in owners:
            client = self.client(owner.url, timeout_s=5.0, idle_s=5.0)

            async def call(client: OwnerClient = client) -> bytes:
                return await (await client.call(b"GET", b"/")).read(100)

            calls = [Deferred.fromCoroutine(call()) for _ in range(8)]
            while owner.accepted < 8:
                await deferLater(reactor, 0.01)
            for called in calls:
                called.cancel()
            await gatherResults([self.assertFailure(called, CancelledError) for called in calls])
            await owner.when_empty()
        self.assertEqual(open_sockets(), before)

    async def test_never_more_connections_than_calls(self) -> None:
        owner = self.owner(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        client = self.client(owner.url, timeout_s=5.0)

        async def call() -> bytes:
            return await (await client.call(b"GET", b"/")).read(100)

        for _ in range(5):
            calls = [Deferred.fromCoroutine(call()) for _ in range(8)]
            self.assertEqual(await gatherResults(calls), [b"{}"] * 8)
        self.assertEqual(owner.accepted, 8)

    # TLS

    def trust(self, pem: bytes) -> None:
        """Let OpenSSL's own trust store hold *pem*, and nothing else, for this test."""
        bundle = Path(self.mktemp()).absolute()
        bundle.write_bytes(pem)
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(bundle)
        if before is None:
            self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        else:
            self.addCleanup(os.environ.__setitem__, "SSL_CERT_FILE", before)
        # A process reads the store once.
        system_identity.cache_clear()
        self.addCleanup(system_identity.cache_clear)

    async def test_tls_is_verified(self) -> None:
        certificate, pem = make_certificate("localhost")
        page = Resource()
        page.isLeaf = True
        page.render_GET = lambda request: b"hello"  # type: ignore[attr-defined]
        site = Site(page)
        site.noisy = False
        port = reactor.listenSSL(0, site, certificate.options(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"https://127.0.0.1:{port.getHost().port}"

        await self.fails(self.client(url).call(b"GET", b"/"), ErrorCode.OWNER_UNAVAILABLE)

        self.trust(pem)
        client = self.client(url, timeout_s=5.0)
        for _ in range(2):
            reply = await client.call(b"GET", b"/")
            self.assertEqual(await reply.read(10), b"hello")
        (agent,) = client.settings.agents
        exchange = agent.exchange(b"GET", b"/", [])
        self.assertTrue(exchange.reused)
        exchange.abort()
        await self.assertFailure(exchange.head, ResponseNeverReceived)


def make_certificate(name: str) -> tuple[PrivateCertificate, bytes]:
    """Return a certificate for *name* and 127.0.0.1, signed by itself, with its key; and its PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return PrivateCertificate.loadPEM(pem + private), pem
