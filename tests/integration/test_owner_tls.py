"""Owners behind https://: whom the node talks to, and what its callers hear where it does not."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from zope.interface import implementer

from micronode import make_node
from micronode.adapters.build import make_owner_client
from micronode.adapters.owner import OwnerClient
from micronode.cli.asking import ask_owners
from micronode.config.problems import ConfigError
from micronode.config.schema import Config
from micronode.errors import ErrorCode, NodeError
from micronode.http.body import BytesBody
from micronode.security.identity import read_identities
from tests.support.certificates import CLIENT, Signed, make_authority, make_self_signed
from tests.support.measures import make_metrics

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"


class Door(Protocol):
    """Answers each request with what its factory says."""

    factory: Doors

    def connectionMade(self) -> None:
        self.factory.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard += data
        if data.endswith(b"\r\n\r\n"):
            self.factory.answer(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open.discard(self)


class Doors(Factory):
    protocol = Door
    noisy = False

    def __init__(self, answer: Callable[[Any], None]) -> None:
        self.answer = answer
        self.heard = b""
        self.accepted = 0
        self.open: set[Door] = set()

    def buildProtocol(self, addr: Any) -> Any:
        self.accepted += 1
        return super().buildProtocol(addr)


def say(data: bytes) -> Callable[[Any], None]:
    return lambda door: door.transport.write(data)


def cut_after(data: bytes) -> Callable[[Any], None]:
    """Send *data*, and close the connection beneath TLS without a word."""

    def answer(door: Any) -> None:
        door.transport.write(data)
        door.transport.transport.loseConnection()

    return answer


def end_after(data: bytes) -> Callable[[Any], None]:
    """Send *data*, and close in good order."""

    def answer(door: Any) -> None:
        door.transport.write(data)
        door.transport.loseConnection()

    return answer


@implementer(IOpenSSLServerConnectionCreator)
@attrs.define
class ServerSide:
    """Makes the owner's connections."""

    context: SSL.Context

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)


def server(
    shown: Signed, *chain: Signed, callers: Signed | None = None, newest: int | None = None
) -> SSL.Context:
    """Return the context of an owner that shows *shown*.

    :param callers: whose certificates a caller must show.
    :param newest: the newest version of TLS that it speaks.
    """
    from OpenSSL import crypto

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    if newest is not None:
        context.set_max_proto_version(newest)
    context.use_certificate(crypto.X509.from_cryptography(shown.certificate))
    for each in chain:
        context.add_extra_chain_cert(crypto.X509.from_cryptography(each.certificate))
    context.use_privatekey(crypto.PKey.from_cryptography_key(shown.key))
    if callers is not None:
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(callers.certificate))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *asked: bool(asked[-1]))
    context.set_alpn_select_callback(
        lambda _, offered: b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    return context


class OwnerTlsCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = make_authority()
        self.authority.save(self.folder, "ca")
        self.ca = str(self.folder / "ca.pem")
        self.told: list[str] = []
        self.failures: list[Any] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.clients: list[OwnerClient] = []
        self.addCleanup(self.close)

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        self.assertEqual(self.failures, [])

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_format") == "owner_tls":
            self.told.append(event["reason"])
        if "log_failure" in event:
            self.failures.append(event)

    def listen(self, factory: Any, context: SSL.Context | None = None) -> int:
        """Listen, over TLS if there is a *context*; return the port."""
        if context is not None:
            factory = TLSMemoryBIOFactory(ServerSide(context), False, factory)
            factory.noisy = False
        port: IListeningPort = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def client(self, *urls: str, timeout: str = "5s", **files: str) -> OwnerClient:
        config = Config.from_mapping({"owners": {"index": {"url": list(urls), "timeout": timeout, **files}}})
        identity = read_identities(config, {})["index"]
        client = make_owner_client(
            "index", config.owners["index"], config.timeouts, reactor, make_metrics(), identity
        )
        self.clients.append(client)
        return client

    async def refused(self, client: OwnerClient, code: ErrorCode, method: bytes = b"GET") -> NodeError:
        error = await self.assertFailure(client.call(method, b"/x"), NodeError)
        self.assertIs(error.code, code, error)
        self.assertNotIn("127.0.0.1", error.message)
        return error

    async def hears(self, client: OwnerClient) -> bytes:
        reply = await client.call(b"GET", b"/x")
        self.assertEqual(reply.status, 200)
        return await reply.read(100)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await deferLater(reactor, 0.01)


class VerifiedTests(OwnerTlsCase):
    async def test_a_name_and_an_address(self) -> None:
        doors = Doors(say(OK))
        port = self.listen(doors, server(self.authority.sign("localhost", "127.0.0.1")))
        for host in ("localhost", "127.0.0.1", "LOCALHOST"):
            client = self.client(f"https://{host}:{port}", ca=self.ca)
            self.assertEqual(await self.hears(client), b"hello")
        self.assertEqual(self.told, [])

    async def test_check_asks_an_upstream_with_what_its_facet_names(self) -> None:
        doors = Doors(say(OK))
        url = f"https://localhost:{self.listen(doors, server(self.authority.sign('localhost')))}"
        own = {
            "kind": "proxy",
            "upstream": url,
            "routes": [{"method": "GET", "access": "read"}],
            "health": "/how",
            "ca": self.ca,
        }
        off = {name: {"enabled": False} for name in ("graph", "search", "feed", "media")}
        config = Config.from_mapping({"facets": {"own": own, **off}})
        told = await ask_owners(reactor, config, read_identities(config, {}))
        self.assertEqual(told, {f"facets.own {url}": "ready"})
        self.assertTrue(doors.heard.startswith(b"GET /how HTTP/1.1\r\n"))

    async def test_connections_are_kept(self) -> None:
        doors = Doors(say(OK))
        port = self.listen(doors, server(self.authority.sign("localhost")))
        client = self.client(f"https://localhost:{port}", ca=self.ca)
        for _ in range(3):
            self.assertEqual(await self.hears(client), b"hello")
        self.assertEqual(doors.accepted, 1)

    async def test_tls_1_2(self) -> None:
        context = server(self.authority.sign("localhost"), newest=SSL.TLS1_2_VERSION)
        port = self.listen(Doors(say(OK)), context)
        self.assertEqual(await self.hears(self.client(f"https://localhost:{port}", ca=self.ca)), b"hello")

    async def test_what_is_said_in_the_handshake(self) -> None:
        seen: list[tuple[Any, bytes]] = []

        def answer(door: Any) -> None:
            handle = door.transport.getHandle()
            seen.append((handle.get_servername(), handle.get_alpn_proto_negotiated()))
            door.transport.write(OK)

        port = self.listen(Doors(answer), server(self.authority.sign("localhost", "127.0.0.1")))
        for host in ("localhost", "127.0.0.1"):
            await self.hears(self.client(f"https://{host}:{port}", ca=self.ca))
        self.assertEqual(seen, [(b"localhost", b"http/1.1"), (None, b"http/1.1")])

    async def test_a_chain(self) -> None:
        middle = self.authority.sign("middle", authority=True, usage=None)
        shown = middle.sign("localhost")
        port = self.listen(Doors(say(OK)), server(shown, middle))
        self.assertEqual(await self.hears(self.client(f"https://localhost:{port}", ca=self.ca)), b"hello")
        # Without what stands between nobody could know; who trusts that one needs not know more.
        port = self.listen(Doors(say(OK)), server(shown))
        await self.refused(self.client(f"https://localhost:{port}", ca=self.ca), ErrorCode.OWNER_UNAVAILABLE)
        ca, _ = middle.save(self.folder, "middle")
        self.assertEqual(await self.hears(self.client(f"https://localhost:{port}", ca=ca)), b"hello")

    async def test_several_authorities(self) -> None:
        ca, _ = make_authority("other").save(self.folder, "both", self.authority)
        port = self.listen(Doors(say(OK)), server(self.authority.sign("localhost")))
        self.assertEqual(await self.hears(self.client(f"https://localhost:{port}", ca=ca)), b"hello")

    async def test_the_very_certificate(self) -> None:
        shown = make_self_signed("localhost")
        ca, _ = shown.save(self.folder, "pinned")
        port = self.listen(Doors(say(OK)), server(shown))
        self.assertEqual(await self.hears(self.client(f"https://localhost:{port}", ca=ca)), b"hello")


class RefusedTests(OwnerTlsCase):
    async def is_refused(
        self, context: SSL.Context, reason: str, host: str = "localhost", **files: str
    ) -> None:
        doors = Doors(say(OK))
        port = self.listen(doors, context)
        client = self.client(f"https://{host}:{port}", **{"ca": self.ca, **files})
        for method in (b"GET", b"GET", b"POST"):
            error = await self.refused(client, ErrorCode.OWNER_UNAVAILABLE, method)
            self.assertIn("certificate", error.message)
        self.assertEqual((len(self.told), doors.heard), (1, b""), self.told)
        self.assertRegex(self.told[0], reason)
        self.assertEqual(client.inflight, 0)
        await self.until(lambda: not doors.open)

    async def test_expired(self) -> None:
        await self.is_refused(server(self.authority.sign("localhost", days=(-3, -1))), "^its .*expired$")

    async def test_not_valid_yet(self) -> None:
        await self.is_refused(server(self.authority.sign("localhost", days=(1, 2))), "not valid yet$")

    async def test_another_name(self) -> None:
        await self.is_refused(server(self.authority.sign("elsewhere", "10.0.0.1")), "for another name$")

    async def test_another_address(self) -> None:
        context = server(self.authority.sign("localhost", "127.0.0.2"))
        await self.is_refused(context, "for another name$", "127.0.0.1")

    async def test_an_address_as_a_name(self) -> None:
        """A DNS name that reads like an address is none."""
        await self.is_refused(server(self.authority.sign("localhost")), "for another name$", "127.0.0.1")

    async def test_names_that_are_none(self) -> None:
        for name in ("localhost\0.elsewhere", "*", "*.localhost"):
            await self.is_refused(
                server(self.authority.sign(name)), "names nobody in a way that can be read$"
            )
            self.told.clear()

    async def test_a_common_name_is_no_name(self) -> None:
        shown = self.authority.sign("localhost", authority=True)
        await self.is_refused(server(shown), "^its certificate: it has no subjectAltName")

    async def test_the_very_certificate_is_looked_at_all_the_same(self) -> None:
        """That it is trusted does not make it another's, nor valid."""
        for names, more, reason in (
            (("elsewhere",), {}, "for another name$"),
            (("localhost",), {"days": (-3, -1)}, "expired$"),
            (("localhost",), {"usage": CLIENT}, "not made for servers$"),
        ):
            shown = self.authority.sign(*names, **more)  # type: ignore[arg-type]
            ca, _ = shown.save(self.folder, "pinned")
            await self.is_refused(server(shown), reason, ca=ca)
            self.told.clear()

    async def test_self_signed(self) -> None:
        await self.is_refused(server(make_self_signed("localhost")), "signed by itself")

    async def test_an_authority_that_is_not_ours(self) -> None:
        await self.is_refused(server(make_authority("other").sign("localhost")), "nobody that is trusted")

    async def test_the_system_does_not_know_ours(self) -> None:
        await self.is_refused(server(self.authority.sign("localhost")), "trusted", ca="")

    async def test_a_certificate_for_callers(self) -> None:
        await self.is_refused(server(self.authority.sign("localhost", usage=CLIENT)), "not made for servers")

    async def test_an_expired_authority(self) -> None:
        authority = make_authority("old", days=(-3, -1))
        ca, _ = authority.save(self.folder, "old")
        context = server(authority.sign("localhost"), authority)
        await self.is_refused(context, "an authority: it has expired", ca=ca)

    async def test_signed_by_who_must_not(self) -> None:
        leaf = self.authority.sign("elsewhere")
        await self.is_refused(server(leaf.sign("localhost"), leaf), "must not sign others$")

    async def test_another_endpoint_gets_the_call(self) -> None:
        bad, good = Doors(say(OK)), Doors(say(OK))
        bad_port = self.listen(bad, server(make_self_signed("localhost")))
        good_port = self.listen(good, server(self.authority.sign("localhost")))
        client = self.client(f"https://localhost:{bad_port}", f"https://localhost:{good_port}", ca=self.ca)
        for _ in range(20):
            reply = await client.call(b"POST", b"/x")
            self.assertEqual(await reply.read(100), b"hello")
        self.assertEqual(bad.heard, b"", "nothing of a request was sent there")
        self.assertGreater(bad.accepted, 0)

    async def test_one_that_is_refused_opens_its_breaker(self) -> None:
        port = self.listen(Doors(say(OK)), server(make_self_signed("localhost")))
        client = self.client(f"https://localhost:{port}", ca=self.ca)
        (endpoint,) = client.settings.endpoints
        for _ in range(10):
            self.assertTrue(endpoint.breaker.is_closed)
            await self.refused(client, ErrorCode.OWNER_UNAVAILABLE)
        self.assertFalse(endpoint.breaker.is_closed)

    async def test_well_again(self) -> None:
        """It is told once when it begins and once when it is over."""
        factory = TLSMemoryBIOFactory(
            ServerSide(server(make_self_signed("localhost"))), False, Doors(say(OK))
        )
        factory.noisy = False
        client = self.client(f"https://localhost:{self.listen(factory)}", ca=self.ca)
        for _ in range(3):
            await self.refused(client, ErrorCode.OWNER_UNAVAILABLE)
        good = TLSMemoryBIOFactory(
            ServerSide(server(self.authority.sign("localhost"))), False, Doors(say(OK))
        )
        factory._creatorCallable = good._creatorCallable
        for _ in range(3):
            self.assertEqual(await self.hears(client), b"hello")
        self.assertEqual([self.told[0][:15], *self.told[1:]], ["its certificate", "well again"])


class NoTlsTests(OwnerTlsCase):
    async def test_plain_http(self) -> None:
        class Plain(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        client = self.client(f"https://localhost:{self.listen(Factory.forProtocol(Plain))}", ca=self.ca)
        error = await self.refused(client, ErrorCode.OWNER_UNAVAILABLE)
        self.assertIn("does not speak TLS", error.message)
        self.assertEqual(self.told, ["what it answered is no TLS"])

    async def test_closed_in_the_handshake(self) -> None:
        class Closing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()

        client = self.client(f"https://localhost:{self.listen(Factory.forProtocol(Closing))}", ca=self.ca)
        error = await self.refused(client, ErrorCode.OWNER_UNAVAILABLE)
        self.assertIn("cannot be reached", error.message)

    async def test_garbage_in_the_handshake(self) -> None:
        for garbage in (
            b"\x16\x03\x03\xff\xff" + bytes(70_000),
            b"\x15\x03\x03\0\x02\x02\x28",
            os.urandom(500),
        ):

            class Garbage(Protocol):
                def dataReceived(self, data: bytes, garbage: bytes = garbage) -> None:
                    self.transport.write(garbage)

            client = self.client(f"https://localhost:{self.listen(Factory.forProtocol(Garbage))}", ca=self.ca)
            await self.refused(client, ErrorCode.OWNER_UNAVAILABLE)

    async def test_versions_that_are_too_old(self) -> None:
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            context = server(self.authority.sign("localhost"), newest=version)
            context.set_min_proto_version(version)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            port = self.listen(Doors(say(OK)), context)
            error = await self.refused(
                self.client(f"https://localhost:{port}", ca=self.ca), ErrorCode.OWNER_UNAVAILABLE
            )
            self.assertIn("cannot be reached over TLS", error.message)
        self.assertRegex(self.told[0], "protocol version")

    async def test_a_second_handshake(self) -> None:
        """Before TLS 1.3 an owner may ask for one, as often as it likes; it gets none."""
        handles = []

        def answer(door: Any) -> None:
            handle = door.transport.getHandle()
            handles.append((handle, handle.get_finished()))
            handle.renegotiate()
            with contextlib.suppress(SSL.WantReadError):
                handle.do_handshake()
            door.transport.write(OK)

        doors = Doors(answer)
        context = server(self.authority.sign("localhost"), newest=SSL.TLS1_2_VERSION)
        client = self.client(f"https://localhost:{self.listen(doors, context)}", ca=self.ca)
        self.assertEqual(await self.hears(client), b"hello")
        ((handle, first),) = handles
        await self.until(lambda: not doors.open or handle.get_finished() != first)
        self.assertEqual(handle.get_finished(), first)

    async def test_a_handshake_that_stalls(self) -> None:
        silent = Doors(lambda door: None)
        port = self.listen(silent)
        client = self.client(f"https://127.0.0.1:{port}", ca=self.ca, timeout="200ms")
        counts = []
        for _ in range(3):
            await self.refused(client, ErrorCode.OWNER_TIMEOUT)
            await self.until(lambda: silent.accepted and not silent.open)
            counts.append(len(os.listdir("/proc/self/fd")))
        descriptors = counts[0]
        await self.until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        self.assertEqual((client.inflight, client.settings.agents[0].connections), (0, 0))

    async def test_an_upload_that_meets_one(self) -> None:
        silent = Doors(lambda door: None)
        client = self.client(f"https://127.0.0.1:{self.listen(silent)}", ca=self.ca, timeout="200ms")
        called = client.call(b"POST", b"/o", body=BytesBody(b"body"))
        error = await self.assertFailure(called, NodeError)
        self.assertIs(error.code, ErrorCode.OWNER_TIMEOUT)
        await self.until(lambda: not silent.open)
        self.assertEqual((client.inflight, client.settings.agents[0].connections), (0, 0))

    async def test_a_caller_that_leaves_meanwhile(self) -> None:
        silent = Doors(lambda door: None)
        client = self.client(f"https://localhost:{self.listen(silent)}", ca=self.ca)
        called: Deferred[Any] = client.call(b"GET", b"/x")
        called.addErrback(lambda _: None)
        await self.until(lambda: silent.heard)
        called.cancel()
        await self.until(lambda: not silent.open)
        self.assertEqual((client.inflight, client.settings.agents[0].connections), (0, 0))


class ClientCertificateTests(OwnerTlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.callers = make_authority("callers")
        own = self.callers.sign("node", usage=CLIENT)
        self.own = dict(zip(("certificate", "private_key"), own.save(self.folder, "node"), strict=True))

    def door(self, doors: Doors, newest: int | None = None) -> str:
        context = server(self.authority.sign("localhost"), callers=self.callers, newest=newest)
        return f"https://localhost:{self.listen(doors, context)}"

    async def test_it_is_shown(self) -> None:
        for newest in (SSL.TLS1_2_VERSION, None):
            url = self.door(Doors(say(OK)), newest)
            self.assertEqual(await self.hears(self.client(url, ca=self.ca, **self.own)), b"hello")

    async def test_no_other_endpoint_is_asked_behind_the_handshake(self) -> None:
        """Which the request may have followed: this owner says so, and no other has to believe it."""
        doors = [Doors(say(OK)), Doors(say(OK))]
        client = self.client(*(self.door(each) for each in doors), ca=self.ca)
        await self.refused(client, ErrorCode.OWNER_UNAVAILABLE, b"POST")
        self.assertEqual(sum(each.accepted for each in doors), 1)

    async def test_with_a_chain(self) -> None:
        middle = self.callers.sign("middle", authority=True, usage=None)
        names = middle.sign("node", usage=CLIENT).save(self.folder, "chained", middle)
        files = dict(zip(("certificate", "private_key"), names, strict=True))
        client = self.client(self.door(Doors(say(OK))), ca=self.ca, **files)
        self.assertEqual(await self.hears(client), b"hello")

    async def is_refused(self, message: str, **files: str) -> None:
        doors = Doors(say(OK))
        client = self.client(self.door(doors), ca=self.ca, **files)
        for method in (b"GET", b"GET", b"POST"):
            error = await self.refused(client, ErrorCode.OWNER_UNAVAILABLE, method)
            self.assertIn(message, error.message)
        self.assertEqual(doors.heard, b"")
        self.assertEqual(len(self.told), 1, self.told)
        self.assertRegex(self.told[0], "^it answered: .*alert")
        await self.until(lambda: not doors.open)

    async def test_none_is_shown(self) -> None:
        await self.is_refused("does not accept the node's certificate")

    async def test_one_of_another_authority(self) -> None:
        names = make_authority("others").sign("node", usage=CLIENT).save(self.folder, "other")
        files = dict(zip(("certificate", "private_key"), names, strict=True))
        await self.is_refused("does not accept the node's certificate", **files)

    async def test_none_is_shown_before_tls_1_3(self) -> None:
        client = self.client(self.door(Doors(say(OK)), SSL.TLS1_2_VERSION), ca=self.ca)
        await self.refused(client, ErrorCode.OWNER_UNAVAILABLE)


class EndTests(OwnerTlsCase):
    """Who ends a connection beneath TLS may be anybody: what it cut off is not whole."""

    async def read(self, answer: Callable[[Any], None], path: bytes = b"/x") -> Any:
        port = self.listen(Doors(answer), server(self.authority.sign("localhost")))
        client = self.client(f"https://localhost:{port}", ca=self.ca)
        reply = await client.call(b"GET", path)
        return await reply.read(100)

    async def test_a_body_that_ends_with_the_connection(self) -> None:
        self.assertEqual(await self.read(end_after(CLOSED)), b"hello")

    async def test_that_is_cut(self) -> None:
        error = await self.assertFailure(Deferred.fromCoroutine(self.read(cut_after(CLOSED))), NodeError)
        self.assertIs(error.code, ErrorCode.BAD_GATEWAY)

    async def test_bodies_that_are_too_short(self) -> None:
        """Whether TLS has ended well or not, there is more to come."""
        lengths = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        for said in (lengths, chunks, chunks + b"0\r\n"):
            for end in (cut_after, end_after):
                reading = Deferred.fromCoroutine(self.read(end(said)))
                error = await self.assertFailure(reading, NodeError)
                self.assertIs(error.code, ErrorCode.BAD_GATEWAY)

    async def test_one_with_a_length_needs_no_end(self) -> None:
        self.assertEqual(await self.read(cut_after(OK)), b"hello")

    async def test_a_head_that_is_cut(self) -> None:
        port = self.listen(Doors(cut_after(OK[:20])), server(self.authority.sign("localhost")))
        await self.refused(self.client(f"https://localhost:{port}", ca=self.ca), ErrorCode.BAD_GATEWAY)


class UpstreamTests(OwnerTlsCase):
    """A custom facet's upstream is reached by the same TLS."""

    async def ask(self, **facet: str) -> tuple[int, bytes]:
        port = self.listen(Doors(say(OK)), server(self.authority.sign("localhost")))
        loopback = {"listen": "127.0.0.1:0"}
        proxy = {"kind": "proxy", "upstream": f"https://localhost:{port}", **facet}
        routes = [{"method": "GET", "path": "/{rest}", "access": "read"}]
        planes = {"http": loopback, "admin": loopback, "oap": {"listen": "off"}, "drain": {"grace": 0}}
        node = make_node(
            Config.from_mapping({**planes, "facets": {"own": {**proxy, "routes": routes}}}), reactor
        )
        node.startService()
        self.addCleanup(node.stopService)
        response = await Agent(reactor).request(b"GET", f"http://{node.addresses['http']}/app/own/x".encode())
        return response.code, await readBody(response)

    async def test_whom_it_trusts(self) -> None:
        self.assertEqual(await self.ask(ca=self.ca), (200, b"hello"))

    async def test_whom_it_does_not(self) -> None:
        status, body = await self.ask()
        self.assertEqual((status, json.loads(body)["code"]), (503, "owner_unavailable"))
        self.assertIn("certificate", json.loads(body)["message"])
        self.assertEqual(len(self.told), 1)

    def test_its_files_are_read(self) -> None:
        asking = Deferred.fromCoroutine(self.ask(ca=str(self.folder / "none")))
        (problem,) = self.failureResultOf(asking, ConfigError).value.problems
        self.assertEqual(problem.where, "facets.own.ca")
