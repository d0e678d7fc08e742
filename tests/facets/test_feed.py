"""micronode.facets.feed."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import Reply
from micronode.calls.operations import Access, BodyRule
from micronode.concurrency.backpressure import Gate
from micronode.errors import ErrorCode, NodeError
from micronode.facets.feed import MAX_PAYLOAD, MAX_RECV, FeedFacet
from micronode.facets.polls import Polls
from micronode.facets.subscription import Deliveries, Subscription
from micronode.interfaces import IFacet
from tests.contracts.facet import FacetContract
from tests.facets.test_polls import Slowest
from tests.support.calls import make_call, operation_of
from tests.support.mailbox import MemoryMailbox
from tests.support.owners import StubReply
from tests.support.sinks import MemoryEventSink, MemorySink

NO_STORE = (("cache-control", "no-store"),)


class Body:
    """A request body in two pieces."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._pieces = (data[:1], data[1:])

    def startProducing(self, consumer: Any) -> Deferred[None]:
        for piece in self._pieces:
            consumer.write(piece)
        return succeed(None)


class FeedCase(SynchronousTestCase):
    timeout_s = 5.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.mailbox = MemoryMailbox(self.clock)
        self.box = self.mailbox.box
        self.addCleanup(self.box.close)
        self.deliveries = Deliveries(self.clock, Polls(self.clock, lambda: Gate(64), Slowest()))
        self.facet = FeedFacet(self.mailbox, self.deliveries, timeout_s=self.timeout_s)

    def run_op(self, op: str, args: dict[str, Any] | None = None, **fields: Any) -> Deferred[Reply]:
        operation = operation_of(self.facet, op)
        call = make_call(operation, {"topic": "jobs"} | (args or {}), **fields)
        return Deferred.fromCoroutine(operation.handler(call))  # type: ignore[arg-type]

    def done(self, op: str, args: dict[str, Any] | None = None, **fields: Any) -> Reply:
        return self.successResultOf(self.run_op(op, args, **fields))

    def refused(self, op: str, args: dict[str, Any] | None = None, **fields: Any) -> NodeError:
        error: NodeError = self.failureResultOf(self.run_op(op, args, **fields), NodeError).value
        return error

    def read(self, reply: Reply) -> bytes:
        sink = MemorySink()
        assert reply.body is not None
        self.successResultOf(reply.body.relay(reply.head, sink))
        return sink.body


class TableTests(FeedCase):
    def test_rows(self) -> None:
        verifyObject(IFacet, self.facet)
        rows = {
            each.op: (each.method, each.path, each.body, each.subscribes) for each in self.facet.operations()
        }
        topic = "/app/feed/{topic}"
        self.assertEqual(
            rows,
            {
                "send": ("POST", topic, BodyRule.STREAMED, False),
                "recv": ("POST", f"{topic}/recv", BodyRule.ARGUMENTS, False),
                "ack": ("POST", f"{topic}/ack/{{msg_id}}", BodyRule.NONE, False),
                "nack": ("POST", f"{topic}/nack/{{msg_id}}", BodyRule.NONE, False),
                "subscribe": ("GET", f"{topic}/events", BodyRule.NONE, True),
            },
        )

    def test_all_of_it_writes_and_none_is_repeated(self) -> None:
        for each in self.facet.operations():
            self.assertEqual((each.profile, each.access, each.idempotent), (0x0201, Access.WRITE, False))

    def test_bounds(self) -> None:
        recv = operation_of(self.facet, "recv")
        for wrong in (
            {"max": 0},
            {"max": 101},
            {"visibility_ms": 999},
            {"visibility_ms": 43_200_001},
            {"wait_ms": -1},
            {"wait_ms": 20_001},
            {"topic": ""},
            {"topic": "x" * 129},
        ):
            self.assertRaises(NodeError, recv.bind, {"topic": "jobs"} | wrong)
        self.assertEqual(
            recv.bind({"topic": "jobs"}),
            {"topic": "jobs", "max": 10, "visibility_ms": 30_000, "wait_ms": 0},
        )
        self.assertEqual(operation_of(self.facet, "send").max_body, MAX_PAYLOAD)


class SendTests(FeedCase):
    def test_statuses(self) -> None:
        for status in (201, 200):
            reply = self.done("send", {"attrs": {"a": "b"}}, body=Body(b"hello"), idempotency_key="k")
            self.assertEqual((reply.head.status, reply.head.headers), (status, NO_STORE))
            said = json.loads(self.read(reply))
            self.assertEqual(said, {"msg_id": self.box.waiting("jobs")[0], "duplicate": status == 200})
        error = self.refused("send", body=Body(b"other"), idempotency_key="k")
        self.assertEqual((error.code, error.source), (ErrorCode.CONFLICT, "mailbox"))

    def test_nothing_is_a_payload(self) -> None:
        self.assertEqual(self.done("send", idempotency_key="k").head.status, 201)

    def test_without_a_key(self) -> None:
        self.assertIs(self.refused("send", body=Body(b"x")).code, ErrorCode.BAD_REQUEST)
        self.assertEqual(self.box.waiting("jobs"), [])

    def test_what_the_mailbox_does_not_take(self) -> None:
        for status, code in ((400, ErrorCode.BAD_REQUEST), (429, ErrorCode.OWNER_UNAVAILABLE)):
            self.mailbox.send = lambda *_, status=status, **__: succeed(StubReply(status))  # type: ignore[method-assign,misc]
            self.assertIs(self.refused("send", idempotency_key="k").code, code)

    def test_subscribers_are_told(self) -> None:
        sink = MemoryEventSink()
        reply = self.done("subscribe")
        assert isinstance(reply.body, Subscription)
        over = reply.body.relay(reply.head, sink)
        # Its owner does not wait any more, and it would be asked again in two seconds.
        self.box.deliveries._is_over = True
        for _ in range(200):
            self.clock.advance(0.05)
        self.done("send", idempotency_key="k")
        self.assertEqual(len(sink.messages), 1)
        over.addErrback(lambda _: None)
        over.cancel()


class ReceiveTests(FeedCase):
    def test_the_owners_words(self) -> None:
        msg_id = self.box.send("jobs", b"hi")
        reply = self.done("recv")
        self.assertEqual((reply.head.status, reply.head.headers), (200, NO_STORE))
        (message,) = json.loads(self.read(reply))["messages"]
        self.assertEqual((message["msg_id"], message["topic"]), (msg_id, "jobs"))
        self.assertEqual(
            self.mailbox.asked,
            [
                {
                    "topic": "jobs",
                    "max_messages": 10,
                    "max_bytes": MAX_RECV,
                    "visibility_ms": 30_000,
                    "wait_ms": 0,
                }
            ],
        )

    def test_waiting(self) -> None:
        asked = self.run_op("recv", {"wait_ms": 3_000})
        self.assertNoResult(asked)
        msg_id = self.box.send("jobs")
        self.assertIn(msg_id.encode(), self.read(self.successResultOf(asked)))

    def test_one_who_leaves_takes_nothing_along(self) -> None:
        asked = self.run_op("recv", {"wait_ms": 3_000})
        asked.addErrback(lambda _: None)
        asked.cancel()
        msg_id = self.box.send("jobs")
        self.assertEqual(self.box.waiting("jobs"), [msg_id])

    def test_how_long_it_may_wait(self) -> None:
        """So that there is time for the answer: of the facet's, and of the caller's."""
        for timeout_s, deadline_s, asked_ms, wait_ms in (
            (5.0, None, 20_000, 4_000),
            (5.0, None, 3_999, 3_999),
            (30.0, None, 20_000, 20_000),
            (0.5, None, 20_000, 400),
            (5.0, 2.0, 20_000, 1_600),
            (5.0, 60.0, 20_000, 4_000),
            (5.0, 0.0, 20_000, 0),
        ):
            self.facet = FeedFacet(self.mailbox, self.deliveries, timeout_s=timeout_s)
            self.run_op("recv", {"wait_ms": asked_ms}, deadline_s=deadline_s)
            self.assertEqual(self.mailbox.asked[-1]["wait_ms"], wait_ms)

    def test_an_owner_that_speaks_otherwise(self) -> None:
        for reply in (StubReply(200, b"<p>", content_type="text/html"), StubReply(500), StubReply(302)):
            self.mailbox.recv = lambda *_, reply=reply, **__: succeed(reply)  # type: ignore[method-assign,misc]
            self.assertIs(self.refused("recv").code, ErrorCode.BAD_GATEWAY)
            self.assertTrue(reply.dropped)


class SettleTests(FeedCase):
    def test_statuses(self) -> None:
        msg_id = self.box.send("jobs")
        self.done("recv")
        for op in ("nack", "ack"):
            reply = self.done(op, {"msg_id": msg_id})
            self.assertEqual((reply.head.status, reply.body), (204, None))
        for op in ("nack", "ack"):
            self.assertIs(self.refused(op, {"msg_id": msg_id}).code, ErrorCode.NOT_FOUND)

    def test_what_is_confirmed_does_not_go_back(self) -> None:
        ids = [self.box.send("jobs") for _ in range(3)]
        sink = MemoryEventSink()
        reply = self.done("subscribe")
        assert reply.body is not None
        over = reply.body.relay(reply.head, sink)
        self.done("ack", {"msg_id": ids[0]})
        self.done("nack", {"msg_id": ids[1]})
        # It came again, and is the subscriber's once more.
        self.assertEqual(len(sink.messages), 4)
        self.assertEqual(len(self.deliveries.unconfirmed), 2)
        over.addErrback(lambda _: None)
        over.cancel()
        self.clock.advance(0.5)
        self.assertEqual(self.mailbox.nacked, [ids[1], ids[2], ids[1]])


class SubscribeTests(FeedCase):
    def test_head(self) -> None:
        reply = self.done("subscribe")
        self.assertEqual((reply.head.status, reply.head.headers), (200, NO_STORE))
        self.assertEqual(self.mailbox.asked, [], "nothing is asked before there is a sink")

    def test_the_last_message_is_confirmed_first(self) -> None:
        msg_id = self.box.send("jobs")
        self.done("recv")
        self.done("subscribe", {"last_event_id": msg_id})
        self.assertEqual(self.box.held("jobs"), [])

    def test_those_before_it_are_not_confirmed(self) -> None:
        before, last = self.box.send("jobs"), self.box.send("jobs", b"y")
        self.done("recv")
        self.done("subscribe", {"last_event_id": last})
        self.assertEqual(self.box.held("jobs"), [before])

    def test_an_unknown_one_is_ignored(self) -> None:
        for known in ("nothing", "é", ""):
            self.assertEqual(self.done("subscribe", {"last_event_id": known}).head.status, 200)

    def test_what_no_message_is_called_is_not_asked_for(self) -> None:
        asked: list[str] = []
        self.mailbox.ack = lambda _, msg_id: asked.append(msg_id)  # type: ignore[assignment]
        for known in (".", "..", "a b", "é"):
            self.assertEqual(self.done("subscribe", {"last_event_id": known}).head.status, 200)
        self.assertEqual(asked, [])

    def test_an_owner_that_cannot_be_asked(self) -> None:
        self.mailbox.error = NodeError(ErrorCode.OWNER_UNAVAILABLE, "down")
        self.assertIs(self.refused("subscribe", {"last_event_id": "x"}), self.mailbox.error)
        self.mailbox.error = None
        self.mailbox.ack = lambda *_: succeed(StubReply(500))  # type: ignore[method-assign]
        self.assertIs(self.refused("subscribe", {"last_event_id": "x"}).code, ErrorCode.BAD_GATEWAY)


class ContractTests(FacetContract, FeedCase):
    def make_facet(self) -> FeedFacet:
        return self.facet
