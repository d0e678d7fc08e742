"""Subscriptions on real sockets: slow consumers, two of them, and every way in which one ends."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from micronode import Config, make_node
from micronode.facets.feed import MAX_PAYLOAD
from micronode.facets.messages import MAX_EVENT_PAYLOAD
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from tests.cli.processes import Program
from tests.support.mailbox import ListeningMailbox
from tests.support.measures import sample
from tests.support.subscriber import Subscriber

#: The reactor is many interfaces at once, which types do not say.
reactor: Any = installed_reactor
LOOPBACK = {"listen": "127.0.0.1:0"}
NOWHERE = {"url": "unix:/nowhere/owner"}


class LiveTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.owner = ListeningMailbox(reactor)
        self.mailbox = self.owner.box
        config = {
            "http": LOOPBACK,
            "admin": LOOPBACK,
            "oap": LOOPBACK,
            "owners": {"index": NOWHERE, "storage": NOWHERE, "mailbox": {"url": self.owner.url}},
            "drain": {"grace": "0s", "deadline": "5s"},
        }
        self.node = make_node(Config.from_mapping(config), reactor)
        self.node.startService()
        self.callers: list[Subscriber] = []

    async def tearDown(self) -> None:
        for caller in self.callers:
            caller.transport.abortConnection()
            await caller.until(lambda caller=caller: caller.lost)
        await self.node.stopService()
        await self.owner.stop()
        self.mailbox.close()

    async def caller(self) -> Subscriber:
        """Return a caller that has subscribed, and got the head."""
        host, port = self.node.addresses["oap"].rsplit(":", 1)
        endpoint = clientFromString(reactor, f"tcp:{host}:{port}")
        caller = await connectProtocol(endpoint, Subscriber())
        self.callers.append(caller)
        caller.subscribe()
        await caller.until(lambda: len(caller.frames) >= 2)
        return caller

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    def count(self, name: str, **labels: str) -> float:
        return sample(self.node.metrics, name, **labels)

    async def test_messages(self) -> None:
        caller = await self.caller()
        reply, head = caller.frames
        self.assertEqual(reply.json["ack_window"], STREAM_WINDOW_BYTES)
        self.assertEqual((head.corr_id, head.json["status"]), (1, 200))
        self.mailbox.send("jobs", b"hello", attrs={"a": "b"})
        await caller.until(lambda: len(caller.messages) == 1)
        [message] = caller.messages
        self.assertEqual(set(message), {"msg_id", "ts", "attempt", "attrs", "payload_b64"})
        self.assertEqual((message["attempt"], message["attrs"]), (1, {"a": "b"}))
        self.assertEqual(b64decode(message["payload_b64"]), b"hello")
        caller.ack(message["msg_id"])
        await caller.until(lambda: caller.end_of(2) is not None)
        self.assertEqual(self.mailbox.held("jobs"), [])

    async def test_two_subscribers_share_a_topic(self) -> None:
        one, two = await self.caller(), await self.caller()
        for number in range(40):
            self.mailbox.send("jobs", b"%d" % number + bytes(20_000))
        for caller in (one, two):
            await caller.until(lambda caller=caller: len(caller.messages) >= 3)
        for caller in (one, two):
            caller.credit(caller.told)
        for caller in (one, two):
            await caller.until(lambda caller=caller: len(caller.messages) >= 6)
        ids = one.ids + two.ids
        self.assertEqual(len({*ids}), len(ids), "each is delivered to one of them")

    async def test_slow_consumer_is_bounded_by_its_window(self) -> None:
        """What it does not take stays at the owner, and others are served meanwhile."""
        slow = await self.caller()
        for _ in range(100):
            self.mailbox.send("jobs", bytes(30_000))
        # There is no more room for the longest message that there may be.
        await slow.until(lambda: len(slow.messages) == 2)
        await deferLater(reactor, 0.1)
        self.assertEqual((len(slow.messages), len(self.mailbox.waiting("jobs"))), (2, 98))
        self.assertLess(STREAM_WINDOW_BYTES - slow.told, 65_536)
        other = await self.caller()
        await other.until(lambda: len(other.messages) == 2)
        slow.credit(slow.told)
        await slow.until(lambda: len(slow.messages) == 4)
        self.assertEqual(len(self.mailbox.waiting("jobs")), 94)

    async def test_large_messages_are_left_to_recv(self) -> None:
        caller = await self.caller()
        for size in (MAX_EVENT_PAYLOAD + 1, MAX_EVENT_PAYLOAD, MAX_EVENT_PAYLOAD - 1024, MAX_PAYLOAD, 1):
            self.mailbox.send("jobs", bytes(size))
        await caller.until(lambda: len(caller.messages) == 2)
        sizes = [len(b64decode(message["payload_b64"])) for message in caller.messages]
        self.assertEqual(sizes, [MAX_EVENT_PAYLOAD - 1024, 1])
        self.assertEqual(len(self.mailbox.waiting("jobs")), 3)

    async def test_cancel_hands_back(self) -> None:
        caller = await self.caller()
        for _ in range(3):
            self.mailbox.send("jobs", b"x")
        await caller.until(lambda: len(caller.messages) == 3)
        caller.ack(caller.ids[0])
        await caller.until(lambda: caller.end_of(2) is not None)
        caller.cancel()
        await caller.until(lambda: caller.end_of(1) is not None)
        end = caller.end_of(1)
        assert end is not None
        self.assertEqual((end.code, end.payload), (499, b""))
        await self.until(lambda: self.mailbox.waiting("jobs") == caller.ids[1:])
        await self.until(lambda: not self.node.calls)
        self.assertEqual(self.count("inflight_requests", route="feed.subscribe"), 0)
        again = await self.caller()
        await again.until(lambda: len(again.messages) == 2)
        self.assertEqual([message["attempt"] for message in again.messages], [2, 2])

    async def test_caller_that_closes_hands_back(self) -> None:
        for how in ("loseConnection", "abortConnection", "loseWriteConnection"):
            caller = await self.caller()
            self.mailbox.send("jobs", how.encode())
            await caller.until(lambda caller=caller: bool(caller.messages))
            getattr(caller.transport, how)()
            await self.until(lambda: not self.mailbox.held("jobs"))
            await caller.until(lambda caller=caller: caller.lost)
            for msg_id in self.mailbox.waiting("jobs"):
                self.mailbox.deliveries.ack("0" * 32, msg_id)
        self.assertEqual(self.count("oap_streams"), 0)

    async def test_drain_hands_back_and_answers(self) -> None:
        one, two = await self.caller(), await self.caller()
        for _ in range(20):
            self.mailbox.send("jobs", bytes(40_000))
        for caller in (one, two):
            await caller.until(lambda caller=caller: len(caller.messages) == 2)
        before = reactor.seconds()
        stopped: Deferred[None] = self.node.stopService()
        for caller in (one, two):
            await caller.until(lambda caller=caller: caller.lost)
            goaway, end = caller.frames[-2:]
            self.assertEqual((goaway.app, goaway.code), (0, 503))
            self.assertEqual((end.corr_id, end.code, end.json["code"]), (1, 503, "draining"))
        await stopped
        self.assertLess(reactor.seconds() - before, 4.0, "it does not wait for the drain deadline")
        self.assertEqual((self.mailbox.held("jobs"), len(self.mailbox.waiting("jobs"))), ([], 20))


class FeedNodeTests(SynchronousTestCase):
    """``python -m tests.support.feednode``, which other tests talk to."""

    def test_prints_its_addresses_and_stops(self) -> None:
        node = Program(self, "jobs=2", python=("-m", "tests.support.feednode"))
        node.until(r"(?m)\Aoap://127\.0\.0\.1:[0-9]+\nhttp://127\.0\.0\.1:[0-9]+\n")
        node.process.terminate()
        self.assertIn(node.process.wait(20), (0, -15))
        self.assertEqual(node.complained, "")
