"""The feed in memory: what a mailbox promises, and the facet before it, on a clock."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import Reply
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IFacet, IReplyBody
from tests.support.calls import make_call, operation_of
from tests.support.feed import MemoryFeed, Messages
from tests.support.mailbox import MAX_EVENT_PAYLOAD, MemoryMailbox
from tests.support.sinks import MemoryEventSink, MemorySink

CHUNK = 65_536


class MailboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.mailbox = MemoryMailbox(self.clock, visibility_s=30.0)

    def take(self, holder: object = None, max_bytes: int = CHUNK) -> Any:
        data = self.mailbox.take("jobs", max_bytes, CHUNK, holder)
        return None if data is None else json.loads(data)

    def test_oldest_first_and_once(self) -> None:
        ids = [self.mailbox.send("jobs", b"x")[0] for _ in range(12)]
        self.assertEqual([self.take()["msg_id"] for _ in range(12)], ids)
        self.assertIsNone(self.take())

    def test_topics_are_apart(self) -> None:
        self.mailbox.send("other", b"x")
        self.assertIsNone(self.take())

    def test_idempotency_key(self) -> None:
        first = self.mailbox.send("jobs", b"x", key="k")
        self.assertEqual(self.mailbox.send("jobs", b"x", key="k"), (first[0], True))
        error = self.assertRaises(NodeError, self.mailbox.send, "jobs", b"y", key="k")
        self.assertIs(error.code, ErrorCode.CONFLICT)

    def test_comes_again_after_its_time(self) -> None:
        self.mailbox.send("jobs", b"x")
        self.take()
        changed = self.mailbox.when_changed("jobs")
        self.clock.advance(29.9)
        self.assertIsNone(self.take())
        self.clock.advance(0.1)
        self.successResultOf(changed)
        self.assertEqual(self.take()["attempt"], 2)

    def test_confirmed_never(self) -> None:
        msg_id, _ = self.mailbox.send("jobs", b"x")
        self.take()
        self.assertTrue(self.mailbox.ack("jobs", msg_id))
        self.assertFalse(self.mailbox.ack("jobs", msg_id))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_back_in_its_place(self) -> None:
        first, second = (self.mailbox.send("jobs", b"x")[0] for _ in range(2))
        one, other = object(), object()
        self.take(one)
        self.take(other)
        self.mailbox.give_back("jobs", one)
        self.assertEqual((self.mailbox.waiting("jobs"), self.mailbox.held("jobs")), ([first], [second]))
        self.assertFalse(self.mailbox.nack("jobs", "m-99"))
        self.assertEqual(self.take()["msg_id"], first)

    def test_no_more_than_is_asked_for(self) -> None:
        self.mailbox.send("jobs", bytes(300))
        size = self.mailbox.next_size("jobs", CHUNK)
        assert size is not None
        self.assertIsNone(self.take(max_bytes=size - 1))
        self.assertIsNotNone(self.take(max_bytes=size))
        self.assertEqual(self.mailbox.asked, [size - 1, size])

    def test_a_full_payload_does_not_fit_a_frame(self) -> None:
        self.mailbox.send("jobs", bytes(MAX_EVENT_PAYLOAD))
        self.assertIsNone(self.mailbox.next_size("jobs", CHUNK))
        size = self.mailbox.next_size("jobs", 2 * CHUNK)
        assert size is not None
        self.assertGreater(size, CHUNK)


class FacetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.mailbox = MemoryMailbox(self.clock)
        self.feed = MemoryFeed(self.mailbox)

    def ask(self, op: str, args: dict[str, Any], **fields: Any) -> Reply:
        operation = operation_of(self.feed, op)
        call = make_call(operation, {"topic": "jobs"} | args, **fields)
        return self.successResultOf(Deferred.fromCoroutine(operation.handler(call)))  # type: ignore[arg-type]

    def subscribe(self, sink: MemoryEventSink) -> Deferred[None]:
        reply = self.ask("subscribe", {})
        assert reply.body is not None
        over = reply.body.relay(reply.head, sink)

        def end() -> None:
            # One that is left to the garbage collector would hand back in the middle of another test.
            over.addErrback(lambda _: None)
            over.cancel()

        self.addCleanup(end)
        return over

    def test_interfaces(self) -> None:
        verifyObject(IFacet, self.feed)
        verifyObject(IReplyBody, Messages(self.mailbox, "jobs"))

    def test_send(self) -> None:
        class Body:
            length = 5

            def startProducing(self, consumer: Any) -> Deferred[None]:
                consumer.write(b"hello")
                return succeed(None)

        for status, duplicate in ((201, False), (200, True)):
            reply = self.ask("send", {}, body=Body(), idempotency_key="k")
            sink = MemorySink()
            assert reply.body is not None
            reply.body.relay(reply.head, sink)
            self.assertEqual(json.loads(sink.body), {"msg_id": "m-1", "duplicate": duplicate})
            self.assertEqual(reply.head.status, status)

    def test_send_without_a_key(self) -> None:
        operation = operation_of(self.feed, "send")
        asked = Deferred.fromCoroutine(operation.handler(make_call(operation, {"topic": "jobs"})))  # type: ignore[arg-type]
        self.assertIs(self.failureResultOf(asked, NodeError).value.code, ErrorCode.BAD_REQUEST)

    def test_relays_what_there_is_and_what_comes(self) -> None:
        self.mailbox.send("jobs", b"before")
        sink = MemoryEventSink()
        over = self.subscribe(sink)
        self.mailbox.send("jobs", b"after")
        self.assertEqual([json.loads(each)["msg_id"] for each in sink.messages], ["m-1", "m-2"])
        self.assertNoResult(over)

    def test_asks_for_no_more_than_there_is_room_for(self) -> None:
        for _ in range(10):
            self.mailbox.send("jobs", bytes(300))
        sink = MemoryEventSink(window=2000)
        self.subscribe(sink)
        size = len(sink.messages[0])
        self.assertEqual(
            (len(sink.messages), len(self.mailbox.waiting("jobs"))), (2000 // size, 10 - 2000 // size)
        )
        self.assertLessEqual(max(self.mailbox.asked), 2000)
        sink.take(size)
        self.assertEqual(len(sink.messages), 2000 // size + 1)

    def test_unconfirmed_messages_come_again(self) -> None:
        self.mailbox.send("jobs", b"x")
        sink = MemoryEventSink()
        self.subscribe(sink)
        self.clock.advance(30)
        self.assertEqual([json.loads(each)["attempt"] for each in sink.messages], [1, 2])

    def test_hands_back_when_it_is_cancelled(self) -> None:
        for waits_for_room in (False, True):
            self.setUp()
            ids = [self.mailbox.send("jobs", bytes(300))[0] for _ in range(4)]
            sink = MemoryEventSink(window=1000 if waits_for_room else 100_000)
            over = self.subscribe(sink)
            self.ask("ack", {"msg_id": ids[0]})
            over.cancel()
            self.failureResultOf(over)
            self.assertEqual((self.mailbox.waiting("jobs"), self.mailbox.held("jobs")), (ids[1:], []))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hands_back_when_the_caller_goes(self) -> None:
        ids = [self.mailbox.send("jobs", bytes(300))[0] for _ in range(4)]
        sink = MemoryEventSink(window=1000)
        over = self.subscribe(sink)
        sink.go()
        self.failureResultOf(over, NodeError)
        self.assertEqual(self.mailbox.waiting("jobs"), ids)

    def test_ends_well_when_the_topic_is_closed(self) -> None:
        self.mailbox.send("jobs", b"x")
        sink = MemoryEventSink()
        over = self.subscribe(sink)
        self.mailbox.close("jobs")
        self.successResultOf(over)
        self.assertEqual((len(sink.messages), sink.outcome), (1, "finished"))

    def test_confirming_what_is_not_there(self) -> None:
        for op in ("ack", "nack"):
            operation = operation_of(self.feed, op)
            call = make_call(operation, {"topic": "jobs", "msg_id": "m-9"})
            asked = Deferred.fromCoroutine(operation.handler(call))  # type: ignore[arg-type]
            self.assertIs(self.failureResultOf(asked, NodeError).value.code, ErrorCode.NOT_FOUND)

    def test_nack(self) -> None:
        self.mailbox.send("jobs", b"x")
        sink = MemoryEventSink()
        self.subscribe(sink)
        self.assertEqual(self.ask("nack", {"msg_id": "m-1"}).head.status, 204)
        self.assertEqual([json.loads(each)["attempt"] for each in sink.messages], [1, 2])
