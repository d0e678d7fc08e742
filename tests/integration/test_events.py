"""Server-sent events on real sockets: slow readers, readers that go, and every way in which a stream ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from micronode import Config, make_node
from micronode.http.events import EVENT_ROOM_BYTES
from tests.cli.processes import Program
from tests.http.support import get
from tests.http.test_events import Stream, read_stream
from tests.support.eventsource import EventReader
from tests.support.feed import MemoryFeed
from tests.support.mailbox import MAX_EVENT_PAYLOAD, MemoryMailbox
from tests.support.measures import sample
from tests.support.subscriber import Subscriber
from tests.support.tools import missing

#: The reactor is many interfaces at once, which types do not say.
reactor: Any = installed_reactor
LOOPBACK = {"listen": "127.0.0.1:0"}
NOWHERE = {"url": "unix:/nowhere/owner"}
#: Bytes that a node may hold for one reader: a full transport, a turn's messages, and their framing.
MOST_HELD = 2 * 65_536 + EVENT_ROOM_BYTES // 8


class Reader(Protocol):
    """One caller with one stream of events; reads unless told to rest.

    :ivar raw: all that came.
    """

    transport: Any

    def __init__(self, request: bytes) -> None:
        self.raw = b""
        self.lost: str | None = None
        self._request = request
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = "" if reason.type is None else reason.type.__name__
        self._look()

    @property
    def stream(self) -> Stream:
        """What came, as far as it came."""
        return read_stream(self.raw, closed=self.lost == "ConnectionDone")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that came."""
        return [json.loads(text) for text in self.stream.events.messages]

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires (None) once *condition*, looked at after every read, is true."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append((condition, waiter))
        self._look()
        return waiter

    def _look(self) -> None:
        for each in list(self._waiting):
            if each[0]():
                self._waiting.remove(each)
                each[1].callback(None)


class EventsTestCase(TestCase):
    """A node with a feed in memory."""

    timeout = 20

    def setUp(self) -> None:
        self.mailbox = MemoryMailbox(reactor)
        self.config = {
            "http": LOOPBACK,
            "admin": LOOPBACK,
            "oap": LOOPBACK,
            "owners": {"index": NOWHERE, "storage": NOWHERE},
            "drain": {"grace": "0s", "deadline": "5s"},
        }
        self.node = make_node(Config.from_mapping(self.config), reactor, facets=[MemoryFeed(self.mailbox)])
        self.node.startService()
        self.readers: list[Any] = []

    async def tearDown(self) -> None:
        for reader in self.readers:
            reader.transport.abortConnection()
            await reader.until(lambda reader=reader: reader.lost)
        await self.node.stopService()
        for msg_id in self.mailbox.held("jobs") + self.mailbox.waiting("jobs"):
            self.mailbox.ack("jobs", msg_id)

    async def reader(self, *fields: str, request: bytes | None = None) -> Reader:
        """Return a caller whose stream has begun."""
        reader = Reader(get("/app/feed/jobs/events", *fields) if request is None else request)
        await self.connect("http", reader)
        await reader.until(lambda: reader.stream.head is not None)
        return reader

    async def connect(self, door: str, protocol: Any) -> Any:
        host, port = self.node.addresses[door].rsplit(":", 1)
        await connectProtocol(clientFromString(reactor, f"tcp:{host}:{port}"), protocol)
        self.readers.append(protocol)
        return protocol

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    @property
    def running(self) -> float:
        """How many subscriptions run."""
        return sample(self.node.metrics, "inflight_requests", route="feed.subscribe")


class DeliveryTests(EventsTestCase):
    async def test_messages(self) -> None:
        reader = await self.reader()
        head = reader.stream.head
        assert head is not None
        self.assertEqual((head.status, head.fields["content-type"]), (200, "text/event-stream"))
        self.mailbox.send("jobs", b"hello", attrs={"a": "b\r\nc"})
        await reader.until(lambda: len(reader.messages) == 1)
        [message] = reader.messages
        self.assertEqual((message["attempt"], message["attrs"]), (1, {"a": "b\r\nc"}))
        self.assertEqual(b64decode(message["payload_b64"]), b"hello")
        self.assertEqual(reader.stream.events.last_event_id, message["msg_id"])

    async def test_reader_that_comes_back_says_where_it_stopped(self) -> None:
        for payload in (b"1", b"2"):
            self.mailbox.send("jobs", payload)
        reader = await self.reader()
        await reader.until(lambda: len(reader.messages) == 2)
        reader.transport.abortConnection()
        await self.until(lambda: not self.mailbox.held("jobs"))
        again = await self.reader(f"Last-Event-ID: {reader.stream.events.last_event_id}")
        await again.until(lambda: len(again.messages) == 1)
        self.assertEqual([message["msg_id"] for message in again.messages], ["m-1"])

    async def test_doors_share_a_topic(self) -> None:
        reader, caller = await self.reader(), await self.connect("oap", Subscriber())
        caller.subscribe()
        await caller.until(lambda: len(caller.frames) >= 2)
        for number in range(10):
            self.mailbox.send("jobs", b"%d" % number)
        await self.until(lambda: len(reader.messages) + len(caller.messages) == 10)
        ids = {message["msg_id"] for message in reader.messages} | set(caller.ids)
        self.assertEqual(len(ids), 10, "each is delivered to one of them")

    async def test_large_messages_are_left_to_recv(self) -> None:
        reader = await self.reader()
        for size in (MAX_EVENT_PAYLOAD + 1, MAX_EVENT_PAYLOAD - 1024, 1):
            self.mailbox.send("jobs", bytes(size))
        await reader.until(lambda: len(reader.messages) == 2)
        sizes = [len(b64decode(message["payload_b64"])) for message in reader.messages]
        self.assertEqual(sizes, [MAX_EVENT_PAYLOAD - 1024, 1])

    async def test_slow_reader_is_bounded(self) -> None:
        """What it does not take stays at the owner, and others are served meanwhile."""
        slow = await self.reader()
        slow.transport.pauseProducing()
        size = 40_000
        for _ in range(400):
            self.mailbox.send("jobs", bytes(size))
        taken = -1
        while taken != len(self.mailbox.held("jobs")):
            taken = len(self.mailbox.held("jobs"))
            await deferLater(reactor, 0.05)
        self.assertLess(taken, 400)
        self.assertTrue(65_536 < self.held_bytes() <= MOST_HELD, self.held_bytes())
        other = await self.reader()
        await other.until(lambda: len(other.messages) >= 3)
        slow.transport.resumeProducing()
        await slow.until(lambda: len(slow.messages) > taken)

    def held_bytes(self) -> int:
        """Return how many bytes wait in the node for the kernel to take them."""
        transports = [channel.transport for channel in self.node._http._channels]
        return sum(each._tempDataLen + len(each.dataBuffer) - each.offset for each in transports)


class EndTests(EventsTestCase):
    async def test_reader_that_goes_hands_back(self) -> None:
        """Without a message in between: its kernel is asked."""
        for how in ("loseConnection", "abortConnection"):
            reader = await self.reader()
            self.mailbox.send("jobs", how.encode())
            await reader.until(lambda reader=reader: bool(reader.messages))
            getattr(reader.transport, how)()
            await self.until(lambda: not self.mailbox.held("jobs"))
            await self.until(lambda: self.running == 0)
            for msg_id in self.mailbox.waiting("jobs"):
                self.mailbox.ack("jobs", msg_id)
        self.assertEqual(self.node._http.connections, 0)

    async def test_reader_that_goes_behind_what_it_pipelined(self) -> None:
        reader = await self.reader()
        reader.transport.write(get("/app/search?q=x") * 1000)
        await deferLater(reactor, 0.05)
        reader.transport.abortConnection()
        await self.until(lambda: self.running == 0)

    async def test_half_closed_reader_is_served(self) -> None:
        reader = await self.reader()
        reader.transport.loseWriteConnection()
        await reader.until(lambda: reader.stream.events.comments == 1)
        self.mailbox.send("jobs", b"x")
        await reader.until(lambda: len(reader.messages) == 1)
        self.assertEqual(self.running, 1)
        self.mailbox.close("jobs")
        await reader.until(lambda: reader.lost is not None)
        self.assertEqual((reader.stream.whole, reader.lost), (True, "ConnectionDone"))

    async def test_end_of_its_own_and_what_is_pipelined_behind(self) -> None:
        reader = await self.reader(request=get("/app/feed/jobs/events") + get("/app/_meta"))
        self.mailbox.send("jobs", b"last")
        self.mailbox.close("jobs")
        await reader.until(lambda: b'"service":"micronode"' in reader.stream.behind)
        self.assertEqual((len(reader.messages), reader.lost), (1, None))
        reader.transport.write(get("/app/feed/jobs/events"))
        await reader.until(lambda: reader.raw.count(b"text/event-stream") == 2)

    async def test_http10(self) -> None:
        reader = await self.reader(request=b"GET /app/feed/jobs/events HTTP/1.0\r\n\r\n")
        self.mailbox.send("jobs", b"last")
        self.mailbox.close("jobs")
        await reader.until(lambda: reader.lost is not None)
        self.assertEqual((len(reader.messages), reader.stream.whole), (1, True))

    async def test_drain(self) -> None:
        one, two = await self.reader(), await self.reader()
        for _ in range(4):
            self.mailbox.send("jobs", b"x")
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
        self.assertEqual((self.mailbox.held("jobs"), len(self.mailbox.waiting("jobs"))), ([], 4))

    async def test_a_facet_that_is_switched_off(self) -> None:
        """By both doors its subscriptions end with not_found, and who comes again finds nothing."""
        reader, caller = await self.reader(), await self.connect("oap", Subscriber())
        caller.subscribe()
        await caller.until(lambda: len(caller.frames) >= 2)
        self.mailbox.send("jobs", b"x")
        await self.until(lambda: bool(self.mailbox.held("jobs")))
        await self.node.reload(Config.from_mapping(self.config | {"facets": {"graph": {"limit": 1}}}))
        self.assertEqual(self.running, 2, "a reload of something else is no matter")
        # A host's facets are switched by nobody; this is what the switch of a built-in one does.
        del self.node._parts._hosted["feed"]
        await self.node.reload(Config.from_mapping(self.config | {"facets": {"graph": {"limit": 2}}}))
        await reader.until(lambda: reader.stream.whole)
        last = reader.stream.events.events[-1]
        self.assertEqual((last.type, json.loads(last.data)["code"]), ("error", "not_found"))
        await caller.until(lambda: caller.end_of(1) is not None)
        end = caller.end_of(1)
        assert end is not None
        self.assertEqual((end.code, end.json["code"]), (404, "not_found"))
        self.assertEqual((self.running, self.mailbox.held("jobs")), (0, []))
        reader.transport.write(get("/app/feed/jobs/events"))
        await reader.until(lambda: b"404 Not Found" in reader.stream.behind)

    async def test_slots(self) -> None:
        self.node._parts.dispatcher.serving.bounds["feed"].slots.limit = 1
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


class CurlTests(SynchronousTestCase):
    """A reader that nobody here wrote, and a node that is a process."""

    def test_curl(self) -> None:
        if shutil.which("curl") is None:
            missing("curl is not installed")
        node = Program(self, "jobs=2", python=("-m", "tests.support.feednode"))
        address = node.until(r"http://[0-9.:]+\n")[0].strip()
        for version in ("--http1.1", "--http1.0"):
            curl = subprocess.Popen(
                ["curl", "--silent", "--no-buffer", version, f"{address}/app/feed/jobs/events"],
                stdout=subprocess.PIPE,
            )
            self.addCleanup(_end, curl)
            assert curl.stdout is not None
            reader = EventReader()
            while len(reader.messages) < 2:
                reader.feed(os.read(curl.stdout.fileno(), 65_536))
            if version == "--http1.1":
                # Its messages are the next one's, at once.
                curl.terminate()
                curl.wait(10)
        node.kill(signal.SIGTERM)
        self.assertEqual(curl.wait(10), 0, "the stream ended well")
        reader.feed(curl.stdout.read())
        assert reader.retry_ms is not None
        self.assertEqual([event.last_event_id for event in reader.events], ["m-1", "m-2"])
        self.assertIn(node.process.wait(20), (0, -15))
        self.assertEqual(node.complained, "")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
