"""A caller that asks and does not read: what the node holds for it is bounded, by both doors.

The objects are as large as an answer may be without being streamed, so that none has a producer to pause.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

from blake3 import blake3
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from micronode import Config, make_node
from micronode.oap.wire.profiles import Profile
from tests.support.measures import sample
from tests.support.oap import hello, start
from tests.support.owners import BadOwner, BadProtocol

reactor: Any = installed_reactor

OBJECT = bytes(65_536)
CID = "b3:" + blake3(OBJECT).hexdigest()
CALLS = 1_500
#: What the facet and the connection admit at once, times the object, is 4 MiB; all of it would be 94.
MOST_BYTES = 12 << 20


class CountingOwner(BadOwner):
    """Has one object.

    :ivar asked: how often it was asked for.
    """

    asked = 0

    def answer(self, connection: BadProtocol) -> None:
        self.asked += 1
        super().answer(connection)


#: An object without an end, as fast as it is taken.
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|" + b"4000\r\n%s\r\n" % bytes(0x4000)
READERS = 50
#: Of one reader, with its objects: what a connection of OAP/1 may have unsent, 256 KiB, one read of the
#: owner's socket and the piece before it. Over HTTP it is half of that.
READER_BYTES = 6 * 65_536


class SlowReadersTests(TestCase):
    """Callers that each got the head of an answer without an end, and read no more."""

    timeout = 60

    async def held(self, door: str, asked: bytes) -> None:
        """Let READERS callers say *asked* and read nothing, and see what the node holds for them."""
        owner = BadOwner(reactor, ENDLESS, "pour")
        self.addCleanup(owner.stop)
        loopback = {"listen": "127.0.0.1:0"}
        config = {
            "http": loopback,
            "admin": loopback,
            "oap": loopback,
            "owners": {"storage": {"url": owner.url, "concurrency": READERS}},
            "facets": {"media": {"enabled": True, "limit": READERS}},
            "drain": {"grace": "0s", "deadline": "0s"},
        }
        node = make_node(Config.from_mapping(config), reactor)
        node.privilegedStartService()
        node.startService()
        self.addCleanup(node.stopService)
        callers = []
        tracemalloc.start(1)
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(READERS):
            caller = await connectProtocol(
                clientFromString(reactor, f"tcp:{node.addresses[door]}"), Protocol()
            )
            transport: Any = caller.transport
            transport.pauseProducing()
            transport.write(asked)
            callers.append(transport)
        poured, quiet = 0, 0
        while quiet < 5:
            await deferLater(reactor, 0.1)
            quiet = quiet + 1 if owner.poured == poured > 0 else 0
            poured = owner.poured
        _, most = tracemalloc.get_traced_memory()
        self.assertEqual(sample(node.metrics, "inflight_requests", route="media.get"), READERS)
        self.assertGreater(poured, READERS * 0x4000)
        self.assertLess(most - before, READERS * READER_BYTES)
        for transport in callers:
            transport.abortConnection()
        while sample(node.metrics, "inflight_requests", route="media.get"):
            await deferLater(reactor, 0.01)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_over_http(self) -> None:
        await self.held("http", f"GET /app/media/{CID} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    async def test_over_oap(self) -> None:
        await self.held("oap", hello() + start(2, Profile.MEDIA, "get", {"cid": CID}))


class UnreadTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        loopback = {"listen": "127.0.0.1:0"}
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(OBJECT)
        self.owner = CountingOwner(reactor, head + OBJECT)
        self.addCleanup(self.owner.stop)
        config = {
            "http": loopback,
            "admin": loopback,
            "oap": loopback,
            "owners": {"storage": {"url": self.owner.url}},
            "facets": {"media": {"enabled": True, "limit": 64}},
            "drain": {"grace": "0s", "deadline": "0s"},
        }
        self.node = make_node(Config.from_mapping(config), reactor)
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    async def most_held(self, address: str, calls: list[bytes]) -> int:
        """Send *calls* to *address*, never read, and return how much memory that took at most."""
        caller = await connectProtocol(clientFromString(reactor, f"tcp:{address}"), Protocol())
        transport: Any = caller.transport
        transport.pauseProducing()
        tracemalloc.start(1)
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        # Bit by bit: all at once most would be refused, as so many may not be open together.
        for first in range(0, len(calls), 32):
            transport.write(b"".join(calls[first : first + 32]))
            await deferLater(reactor, 0.02)
        asked, quiet = 0, 0
        while quiet < 10:
            await deferLater(reactor, 0.1)
            quiet = quiet + 1 if self.owner.asked == asked else 0
            asked = self.owner.asked
        _, most = tracemalloc.get_traced_memory()
        transport.abortConnection()
        self.assertGreater(asked, 16, "the kernel's buffers take some")
        return most - before

    async def test_over_oap(self) -> None:
        calls = [start(number, Profile.MEDIA, "get", {"cid": CID}) for number in range(1, CALLS + 1)]
        held = await self.most_held(self.node.addresses["oap"], [hello(), *calls])
        self.assertLess(held, MOST_BYTES)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_over_http(self) -> None:
        call = f"GET /app/media/{CID} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        held = await self.most_held(self.node.addresses["http"], [call] * CALLS)
        self.assertLess(held, MOST_BYTES)
