"""Server-sent events on real sockets: slow readers, readers that go, and every way in which a stream ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from micronode import Config, make_node
from micronode.http.events import EVENT_ROOM_BYTES, MAX_EVENT_BYTES
from micronode.oap.client import OAPError, connect
from tests.http.support import get
from tests.http.test_events import Stream, read_stream
from tests.support.eventsource import EventReader
from tests.support.measures import sample
from tests.support.news import PROFILE, News
from tests.support.tools import require_tool
from tests.support.until import Until

#: The reactor is many interfaces at once, which types do not say.
reactor: Any = installed_reactor
LOOPBACK = {"listen": "127.0.0.1:0"}
NOWHERE = {"url": "unix:/nowhere/owner"}
#: Bytes that a node may hold for one reader: a full transport, a turn's messages, and their framing.
MOST_HELD = 2 * 65_536 + EVENT_ROOM_BYTES // 8


class Reader(Until, Protocol):
    """One caller with one stream of events; reads unless told to rest.

    :ivar raw: all that came.
    """

    transport: Any

    def __init__(self, request: bytes) -> None:
        self.raw = b""
        self.lost: str | None = None
        self._request = request
        super().__init__()

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        self.look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = "" if reason.type is None else reason.type.__name__
        self.look()

    @property
    def stream(self) -> Stream:
        """What came, as far as it came."""
        return read_stream(self.raw, closed=self.lost == "ConnectionDone")

    @property
    def messages(self) -> list[str]:
        """The messages that came."""
        return self.stream.events.messages


class EventsTestCase(TestCase):
    """A node with news to subscribe to."""

    timeout = 20

    def setUp(self) -> None:
        self.news = News()
        self.config = {
            "http": LOOPBACK,
            "admin": LOOPBACK,
            "oap": LOOPBACK,
            "owners": {"index": NOWHERE, "mailbox": NOWHERE, "storage": NOWHERE},
            "drain": {"grace": "0s", "deadline": "5s"},
        }
        self.node = make_node(Config.from_mapping(self.config), reactor, facets=[self.news])
        self.node.startService()
        self.readers: list[Reader] = []

    async def tearDown(self) -> None:
        for reader in self.readers:
            reader.transport.abortConnection()
            await reader.until(lambda reader=reader: reader.lost is not None)
        await self.node.stopService()

    async def reader(self, *fields: str, request: bytes | None = None) -> Reader:
        """Return a caller whose stream has begun."""
        reader = Reader(get(News.path, *fields) if request is None else request)
        host, port = self.node.addresses["http"].rsplit(":", 1)
        await connectProtocol(clientFromString(reactor, f"tcp:{host}:{port}"), reader)
        self.readers.append(reader)
        await reader.until(lambda: reader.stream.head is not None)
        return reader

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    @property
    def running(self) -> float:
        """How many subscriptions run."""
        return self.count("news.watch")

    def count(self, route: str) -> float:
        """Return how many calls of *route* are under way."""
        return sample(self.node.metrics, "inflight_requests", route=route)

    @property
    def held_bytes(self) -> int:
        """How many bytes wait in the node for the kernel to take them."""
        transports = [channel.transport for channel in self.node._http._channels]
        return sum(each._tempDataLen + len(each.dataBuffer) - each.offset for each in transports)


class DeliveryTests(EventsTestCase):
    async def test_messages(self) -> None:
        reader = await self.reader()
        head = reader.stream.head
        assert head is not None
        self.assertEqual((head.status, head.fields["content-type"]), (200, "text/event-stream"))
        self.news.tell(b'{"a":\r\n1}', bytes(MAX_EVENT_BYTES))
        await reader.until(lambda: len(reader.messages) == 2)
        self.assertEqual(reader.messages, ['{"a":\n1}', "\0" * MAX_EVENT_BYTES])
        self.assertEqual(reader.stream.events.last_event_id, "n-2")

    async def test_reader_that_comes_back_says_where_it_stopped(self) -> None:
        self.news.tell(b"1", b"2")
        reader = await self.reader()
        await reader.until(lambda: len(reader.messages) == 2)
        reader.transport.abortConnection()
        await self.until(lambda: not self.news.held)
        again = await self.reader(f"Last-Event-ID: {reader.stream.events.last_event_id}")
        await again.until(lambda: len(again.messages) == 1)
        self.assertEqual(again.messages, ["1"])

    async def test_doors_share_a_source(self) -> None:
        reader = await self.reader()
        client = await connect(reactor, f"oap://{self.node.addresses['oap']}")
        async with client.events(PROFILE, "watch", {}) as messages:
            await self.until(lambda: self.running == 2)
            for number in range(40):
                self.news.tell(b'{"number": %d}' % number)
            self.news.close()
            others = [message["number"] async for message in messages]
        await client.close()
        await reader.until(lambda: reader.stream.whole)
        mine = [json.loads(text)["number"] for text in reader.messages]
        self.assertEqual(sorted(mine + others), list(range(40)))
        self.assertTrue(mine and others)

    async def test_slow_readers_are_bounded(self) -> None:
        """What they do not take stays at the source, and others are served meanwhile."""
        slow = [await self.reader() for _ in range(5)]
        for reader in slow:
            reader.transport.pauseProducing()
        self.news.tell(*(bytes(40_000) for _ in range(3_000)))
        taken = -1
        while taken != len(self.news.held):
            taken = len(self.news.held)
            await deferLater(reactor, 0.05)
        self.assertLess(taken, 3_000)
        self.assertTrue(5 * 65_536 < self.held_bytes <= 5 * MOST_HELD, self.held_bytes)
        other = await self.reader()
        await other.until(lambda: len(other.messages) >= 3)
        other.transport.abortConnection()
        before = len(self.news.held)
        slow[0].transport.resumeProducing()
        await self.until(lambda: len(self.news.held) > before)


class EndTests(EventsTestCase):
    async def test_reader_that_goes_hands_back(self) -> None:
        """Also where nothing is sent."""
        for how in ("loseConnection", "abortConnection", "loseWriteConnection"):
            for busy in (True, False):
                reader = await self.reader()
                if busy:
                    self.news.tell(how.encode())
                    await reader.until(lambda reader=reader: bool(reader.messages))
                getattr(reader.transport, how)()
                await self.until(lambda: self.running == 0)
                self.assertEqual(len(self.news.waiting), busy)
                self.news.waiting.clear()
        self.assertEqual(self.node._http.connections, 0)

    async def test_reader_that_goes_behind_what_it_pipelined(self) -> None:
        reader = await self.reader()
        reader.transport.write(get("/app/search?q=x") * 1000)
        await deferLater(reactor, 0.05)
        reader.transport.abortConnection()
        await self.until(lambda: self.running == 0)

    async def test_end_of_its_own_and_what_is_pipelined_behind(self) -> None:
        reader = await self.reader(request=get(News.path) + get("/app/_meta"))
        self.news.tell(b"last")
        self.news.close()
        await reader.until(lambda: b'"service":"micronode"' in reader.stream.behind)
        self.assertEqual((len(reader.messages), reader.lost), (1, None))
        reader.transport.write(get(News.path))
        await reader.until(lambda: reader.raw.count(b"text/event-stream") == 2)

    async def test_http10(self) -> None:
        reader = await self.reader(request=b"GET %b HTTP/1.0\r\n\r\n" % News.path.encode())
        self.news.tell(b"last")
        self.news.close()
        await reader.until(lambda: reader.lost is not None)
        self.assertEqual((len(reader.messages), reader.stream.whole), (1, True))

    async def test_drain(self) -> None:
        one, two = await self.reader(), await self.reader()
        self.news.tell(*(b"x" for _ in range(4)))
        await self.until(lambda: len(one.messages) + len(two.messages) == 4)
        stopped: Deferred[None] = self.node.stopService()
        for reader in (one, two):
            await reader.until(lambda reader=reader: reader.lost is not None)
            events = reader.stream.events
            self.assertEqual((reader.stream.whole, reader.lost), (True, "ConnectionDone"))
            self.assertEqual({event.type for event in events.events} - {"message"}, set())
            assert events.retry_ms is not None
            self.assertTrue(2500 <= events.retry_ms <= 7500)
        await stopped
        self.assertEqual((self.news.held, len(self.news.waiting)), (set(), 4))

    async def test_a_facet_that_is_switched_off(self) -> None:
        """By both doors its subscriptions end with not_found, and who comes again finds nothing."""
        # Its owner is not there, which ends no subscription so soon.
        path = "/app/feed/jobs/events"
        reader, other = await self.reader(request=get(path)), await self.reader()
        client = await connect(reactor, f"oap://{self.node.addresses['oap']}")
        async with client.subscribe("jobs") as messages:
            await self.until(lambda: self.count("feed.subscribe") == 2)
            await self.reload({"graph": {"enabled": False}})
            self.assertEqual(self.count("feed.subscribe"), 2, "a reload of something else is no matter")
            await self.reload({"feed": {"enabled": False}})
            with self.assertRaises(OAPError) as caught:
                await messages.next()
        await client.close()
        self.assertEqual(caught.exception.name, "not_found")
        await reader.until(lambda: reader.stream.whole)
        last = reader.stream.events.events[-1]
        self.assertEqual((last.type, json.loads(last.data)["code"]), ("error", "not_found"))
        await self.until(lambda: self.count("feed.subscribe") == 0)
        reader.transport.write(get(path))
        await reader.until(lambda: b"404 Not Found" in reader.stream.behind)
        self.assertEqual((self.running, other.lost), (1, None), "others go on")

    async def reload(self, facets: dict[str, Any]) -> None:
        outcome = await self.node.reload(Config.from_mapping(self.config | {"facets": facets}))
        self.assertEqual(outcome.outcome, "applied")

    async def test_slots(self) -> None:
        self.node._parts.dispatcher.serving.bounds["news"].slots.limit = 1
        first = await self.reader()
        second = await self.reader()
        head = second.stream.head
        assert head is not None
        self.assertEqual((head.status, json.loads(second.stream.body)["code"]), (429, "busy"))
        self.assertEqual(head.fields["content-type"], "application/json")
        first.transport.abortConnection()
        await self.until(lambda: self.running == 0)
        third = await self.reader()
        self.assertEqual(third.stream.head and third.stream.head.status, 200)


class Curl(ProcessProtocol):
    """A reader that nobody here wrote."""

    def __init__(self) -> None:
        self.reader = EventReader()
        self.ended: Deferred[bool] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.reader.feed(data)

    def processEnded(self, reason: Failure) -> None:
        """Tell whether it was content."""
        self.ended.callback(reason.check(ProcessDone) is not None)


class CurlTests(EventsTestCase):
    async def test_curl(self) -> None:
        curl = require_tool("curl")
        for version in ("--http1.1", "--http1.0"):
            with self.subTest(version=version):
                self.news.tell(b'{"a": 1}', b'{"a": 2}')
                reading = Curl()
                url = f"http://{self.node.addresses['http']}{News.path}"
                words = [curl, "--silent", "--show-error", "--no-buffer", version, url]
                reactor.spawnProcess(reading, curl, words, env=None)
                await self.until(lambda reading=reading: len(reading.reader.messages) == 2)
                self.assertFalse(reading.ended.called)
                self.news.close()
                self.assertTrue(await reading.ended)
                self.assertEqual(reading.reader.messages, ['{"a": 1}', '{"a": 2}'])
                self.news.closed = False
