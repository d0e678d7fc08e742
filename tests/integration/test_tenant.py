"""On whose behalf: the tenant a caller names reaches the owners, by both doors, and nothing else does."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.task import deferLater
from twisted.internet.testing import AccumulatingProtocol
from twisted.trial.unittest import TestCase

from micronode import Config, make_node
from micronode.oap.wire.frames import NO_TENANT
from micronode.oap.wire.profiles import Profile
from tests.http.support import read_answers
from tests.support.oap import hello, read_frames, start
from tests.support.owners import BadOwner, BadProtocol

reactor: Any = installed_reactor

TENANT = bytes(range(0xA0, 0xB0))
OTHER = "0123456789abcdef" * 2
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

#: Of a facet that has five seconds.
OUR_DEADLINE = re.compile(r"x-micronode-deadline-ms: (?:[34][0-9]{3}|5000)")


class _Heard(BadProtocol):
    """Keeps the heads of the requests."""

    def dataReceived(self, data: bytes) -> None:
        owner: Any = self.factory
        owner.heads.append(data.decode("latin-1").lower())
        super().dataReceived(data)


class SpyOwner(BadOwner):
    """Answers everything with an empty object.

    :ivar heads: what it was asked, lower-case, but for probes.
    """

    protocol = _Heard

    def __init__(self) -> None:
        super().__init__(reactor, ANSWER)
        self.heads: list[str] = []

    def fields(self) -> list[str]:
        """Return the lines of ours that the last call had, but for its id and the node's own deadline."""
        *_, head = [head for head in self.heads if not head.startswith("get /readyz ")]
        lines = [line for line in head.split("\r\n") if line.startswith("x-") and "request-id" not in line]
        return [line for line in lines if not OUR_DEADLINE.fullmatch(line)]


class TenantTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        loopback = {"listen": "127.0.0.1:0"}
        self.owner = SpyOwner()
        self.addCleanup(self.owner.stop)
        config = {
            "http": loopback,
            "admin": loopback,
            "oap": loopback,
            "owners": {name: {"url": self.owner.url} for name in ("index", "storage")},
            "facets": {"media": {"enabled": True}},
            "drain": {"grace": "0s", "deadline": "0s"},
        }
        self.node = make_node(Config.from_mapping(config), reactor)
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    async def connect(self, door: str) -> tuple[AccumulatingProtocol, Any]:
        caller = await connectProtocol(
            clientFromString(reactor, f"tcp:{self.node.addresses[door]}"), AccumulatingProtocol()
        )
        transport: Any = caller.transport
        self.addCleanup(transport.abortConnection)
        return caller, transport

    async def over_http(self, *fields: str, target: str = "/app/search?q=x") -> Any:
        """Ask; return the answer."""
        caller, transport = await self.connect("http")
        lines = (f"GET {target} HTTP/1.1", "Host: localhost", "Connection: close", *fields)
        transport.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        while not caller.data.rstrip().endswith(b"}"):
            await deferLater(reactor, 0.005)
        [answer] = read_answers(caller.data)
        return answer

    async def over_oap(self, whose: bytes, **head: Any) -> int:
        """Ask; return the code of the terminal frame, whose tenant is the request's."""
        caller, transport = await self.connect("oap")
        transport.write(hello() + start(1, tenant=whose, **head))
        while True:
            try:
                frames = read_frames(caller.data)[1:]
            except AssertionError:
                frames = []
            if frames and frames[-1].ends:
                break
            await deferLater(reactor, 0.005)
        self.assertEqual({frame.tenant for frame in frames}, {whose})
        transport.abortConnection()
        return frames[-1].code

    async def test_header_of_a_frame(self) -> None:
        self.assertEqual(await self.over_oap(TENANT), 200)
        self.assertEqual(self.owner.fields(), [f"x-micronode-tenant: {TENANT.hex()}"])
        self.assertEqual(await self.over_oap(NO_TENANT), 200)
        self.assertEqual(self.owner.fields(), [])

    async def test_header_field(self) -> None:
        self.assertEqual((await self.over_http(f"X-Tenant-ID: {OTHER.upper()}")).status, 200)
        self.assertEqual(self.owner.fields(), [f"x-micronode-tenant: {OTHER}"])
        for fields in ((), (f"X-Tenant-ID: {'0' * 32}",)):
            self.assertEqual((await self.over_http(*fields)).status, 200)
            self.assertEqual(self.owner.fields(), [])

    async def test_what_only_the_node_may_say(self) -> None:
        """Fields of that name that a caller sends reach nobody, with a tenant or without."""
        forged = (
            f"X-Micronode-Tenant: {OTHER}",
            "x-micronode-verified: true",
            "X-MICRONODE-Anything: 1",
            "X-Micronode-Deadline-Ms: 1",
            f"X-Micronode-Token-Id: {OTHER}",
        )
        self.assertEqual((await self.over_http(*forged)).status, 200)
        self.assertEqual(self.owner.fields(), [])
        self.assertEqual((await self.over_http(*forged, f"X-Tenant-ID: {TENANT.hex()}")).status, 200)
        self.assertEqual(self.owner.fields(), [f"x-micronode-tenant: {TENANT.hex()}"])
        # Over OAP/1 a head has no place for them: what is not known is ignored.
        smuggled = {"headers": {"x-micronode-tenant": OTHER}, "x-micronode-tenant": OTHER}
        args = {"q": "x", "tenant": OTHER, **smuggled}
        self.assertEqual(await self.over_oap(NO_TENANT, args=args, **smuggled), 200)
        self.assertEqual(self.owner.fields(), [])

    async def test_malformed(self) -> None:
        for fields in (
            ("X-Tenant-ID: acme",),
            ("X-Tenant-ID:",),
            (f"X-Tenant-ID: {OTHER}0",),
            (f"X-Tenant-ID: 0x{OTHER[2:]}",),
            (f"X-Tenant-ID: {OTHER}, {OTHER}",),
            (f"X-Tenant-ID: {OTHER}", f"X-Tenant-ID: {OTHER}"),
        ):
            answer = await self.over_http(*fields)
            self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"), fields)
        self.assertEqual([head for head in self.owner.heads if "search" in head], [])

    async def test_it_is_not_verified_and_keys_nothing(self) -> None:
        """Whoever names a tenant is believed, and shares everything with the others: no permit, no object."""
        cid = "b3:" + "0" * 64
        for tenant in (TENANT, b"\x01" * 16, NO_TENANT):
            code = await self.over_oap(tenant, app=Profile.MEDIA, op="head", args={"cid": cid})
            self.assertEqual(code, 200)
        asked = [head.split(" http/", 1)[0] for head in self.owner.heads if head.startswith("head ")]
        self.assertEqual(len(asked), 3)
        self.assertEqual(len(set(asked)), 1)
        version = await self.version()
        self.assertNotIn("tenant", json.dumps(version))

    async def version(self) -> Any:
        caller, transport = await self.connect("admin")
        transport.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while not caller.data.rstrip().endswith(b"}"):
            await deferLater(reactor, 0.005)
        [answer] = read_answers(caller.data)
        return answer.json
