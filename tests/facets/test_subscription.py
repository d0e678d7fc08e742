"""micronode.facets.subscription: messages on their way to a caller, and back."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.concurrency.backpressure import Gate
from micronode.errors import ErrorCode, NodeError
from micronode.facets.polls import PATIENCE_S, Polls
from micronode.facets.subscription import (
    BATCH,
    MAX_EVENT,
    MAX_UNCONFIRMED,
    Deliveries,
    Subscription,
)
from micronode.interfaces import IReplyBody
from tests.contracts.mailbox import RECV
from tests.facets.test_polls import Slowest
from tests.support.calls import make_call
from tests.support.mailbox import MemoryMailbox
from tests.support.sinks import MemoryEventSink

DOWN = NodeError(ErrorCode.OWNER_UNAVAILABLE, "owner mailbox cannot be reached")
HEAD = ResponseHead()


class SubscriptionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = Gate(64)
        self.mailbox = MemoryMailbox(self.clock)
        self.box = self.mailbox.box
        self.addCleanup(self.box.close)
        self.deliveries = Deliveries(self.clock, Polls(self.clock, lambda: self.gate, Slowest()))

    def subscribe(self, sink: MemoryEventSink, **more: Any) -> Deferred[None]:
        visibility_ms = more.pop("visibility_ms", 30_000)
        subscription = Subscription(
            make_call(RECV, **more), "jobs", self.mailbox, self.deliveries, visibility_ms=visibility_ms
        )
        over = subscription.relay(HEAD, sink)

        def end() -> None:
            self.leave(over)
            self.pass_time(1.0)

        self.addCleanup(end)
        return over

    def leave(self, over: Deferred[None]) -> None:
        """Let a subscriber go."""
        over.addErrback(lambda failure: failure.trap(CancelledError, NodeError) and None)
        over.cancel()

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))

    def told(self, sink: MemoryEventSink) -> list[str]:
        return [json.loads(each)["msg_id"] for each in sink.messages]


class DeliveryTests(SubscriptionCase):
    def test_interface(self) -> None:
        call = make_call(RECV)
        verifyObject(IReplyBody, Subscription(call, "t", self.mailbox, self.deliveries, visibility_ms=1))

    def test_what_there_is_and_what_comes(self) -> None:
        first = self.box.send("jobs", b"hi", attrs={"a": "b"})
        sink = MemoryEventSink()
        over = self.subscribe(sink)
        self.assertIs(sink.head, HEAD)
        second = self.box.send("jobs")
        self.assertEqual(self.told(sink), [first, second])
        message = json.loads(sink.messages[0])
        self.assertEqual(list(message), ["msg_id", "ts", "attempt", "attrs", "payload_b64"])
        self.assertEqual(
            (message["attempt"], message["attrs"], message["payload_b64"]), (1, {"a": "b"}, "aGk=")
        )
        self.assertNoResult(over)

    def test_what_is_asked_for(self) -> None:
        sink = MemoryEventSink()
        self.subscribe(sink, visibility_ms=5_000)
        (asked,) = self.mailbox.asked
        self.assertEqual(
            (asked["topic"], asked["max_messages"], asked["visibility_ms"]), ("jobs", BATCH, 5_000)
        )
        self.assertEqual((asked["max_bytes"], asked["wait_ms"]), (sink.max_event, 500))

    def test_a_caller_that_takes_little(self) -> None:
        """Its longest message is its bound."""
        sink = MemoryEventSink(window=8_000)
        large, small = self.box.send("jobs", bytes(4_000)), self.box.send("jobs", bytes(100))
        self.subscribe(sink)
        self.assertEqual(self.mailbox.asked[0]["max_bytes"], 4_000)
        self.assertEqual((self.told(sink), self.box.waiting("jobs")), ([small], [large]))

    def test_a_caller_that_takes_much(self) -> None:
        self.subscribe(MemoryEventSink(window=1 << 20))
        self.assertEqual(self.mailbox.asked[0]["max_bytes"], MAX_EVENT)

    def test_large_messages_are_left_where_they_are(self) -> None:
        """However often others are taken, they do not die of it."""
        sink = MemoryEventSink()
        large = [self.box.send("jobs", bytes(size)) for size in (49_153, 49_152, 1 << 20)]
        self.subscribe(sink)
        small = [self.box.send("jobs", bytes(48_000)) for _ in range(2)]
        for msg_id in small:
            sink.take(70_000)
            self.box.deliveries.ack("0" * 32, msg_id)
        self.pass_time(60.0)
        self.assertEqual(self.told(sink), small)
        self.assertEqual(self.box.waiting("jobs"), large)
        self.assertEqual(set(self.box.attempts("jobs").values()), {0})

    def test_nothing_is_asked_for_without_room_for_the_longest(self) -> None:
        sink = MemoryEventSink()
        ids = [self.box.send("jobs", bytes(30_000)) for _ in range(5)]
        self.subscribe(sink)
        self.assertEqual(self.told(sink), ids[:2])
        self.pass_time(10.0)
        self.assertEqual((len(self.mailbox.asked), self.box.waiting("jobs")), (2, ids[2:]))
        sink.take(15_000)
        self.assertEqual(self.told(sink), ids[:3])

    def test_a_batch_waits_for_room(self) -> None:
        """Room that shrank meanwhile: what was asked for is written when there is some again."""
        sink = MemoryEventSink()
        over = self.subscribe(sink)
        sink.pause()
        ids = [self.box.send("jobs") for _ in range(3)]
        self.assertEqual(self.told(sink), [])
        sink.resume()
        self.pass_time(1.0)
        self.assertEqual(self.told(sink), ids)
        self.assertNoResult(over)

    def test_what_waited_too_long_is_not_written(self) -> None:
        """It has come back by itself, and another one may have it."""
        sink, two = MemoryEventSink(), MemoryEventSink()
        over = self.subscribe(sink, visibility_ms=2_000)
        sink.pause()
        ids = [self.box.send("jobs") for _ in range(3)]
        self.subscribe(two, visibility_ms=60_000)
        self.pass_time(3.0)
        self.assertEqual(self.told(two), [*ids[1:], ids[0]])
        sink.resume()
        self.pass_time(1.0)
        self.assertEqual((self.told(sink), self.mailbox.nacked), ([], []))
        ids.append(self.box.send("jobs"))
        self.pass_time(1.0)
        self.assertEqual(len(self.told(sink)) + len(self.told(two)), 4)
        self.assertNoResult(over)

    def test_an_owner_that_hands_out_too_much(self) -> None:
        """It goes back at once, and is no reason to hurry."""
        sink = MemoryEventSink(window=8_000)
        recv = self.mailbox.recv

        def careless(*args: Any, **bounds: Any) -> Any:
            return recv(*args, **(bounds | {"max_bytes": 1 << 20, "wait_ms": 0}))

        self.mailbox.recv = careless  # type: ignore[method-assign]
        msg_id = self.box.send("jobs", bytes(5_000))
        self.subscribe(sink)
        self.assertEqual((self.told(sink), self.mailbox.nacked), ([], [msg_id]))
        self.pass_time(1.0)
        self.assertLessEqual(len(self.mailbox.nacked), 5)

    def test_subscribers_share(self) -> None:
        one, two = MemoryEventSink(), MemoryEventSink()
        self.subscribe(one)
        self.subscribe(two)
        ids = [self.box.send("jobs") for _ in range(6)]
        self.assertEqual((self.told(one), self.told(two)), (ids[::2], ids[1::2]))

    def test_tokens_are_apart(self) -> None:
        """The owner is told whose token asks; what it answers is for nobody else."""
        asked: list[tuple[str | None, int]] = []
        recv = self.mailbox.recv

        def only_the_second(call: Any, *args: Any, **bounds: Any) -> Any:
            if call.token_id == "b":
                return recv(call, *args, **bounds)
            asked.append((call.token_id, bounds["max_bytes"]))
            return recv(call, "nothing", **bounds)

        self.mailbox.recv = only_the_second  # type: ignore[method-assign]
        one, two = MemoryEventSink(), MemoryEventSink()
        self.subscribe(one, token_id="a")
        self.subscribe(two, token_id="b")
        ids = [self.box.send("jobs") for _ in range(3)]
        self.pass_time(3.0)
        self.assertEqual((self.told(one), self.told(two)), ([], ids))
        self.assertEqual(asked[0][0], "a")

    def test_tenants_are_apart(self) -> None:
        sink = MemoryEventSink()
        self.subscribe(sink, tenant=bytes(15) + b"\1")
        self.box.send("jobs")
        self.pass_time(1.0)
        self.assertEqual(sink.messages, [])

    def test_the_callers_deadline_is_for_the_head(self) -> None:
        seen: list[Any] = []
        recv = self.mailbox.recv

        def spy(call: Any, *args: Any, **bounds: Any) -> Any:
            seen.append(call.deadline_s)
            return recv(call, *args, **bounds)

        self.mailbox.recv = spy  # type: ignore[method-assign]
        self.subscribe(MemoryEventSink(), deadline_s=0.1)
        self.assertEqual(seen, [None])


class EndTests(SubscriptionCase):
    def test_what_was_not_confirmed_goes_back(self) -> None:
        sink = MemoryEventSink()
        ids = [self.box.send("jobs") for _ in range(3)]
        over = self.subscribe(sink)
        self.box.deliveries.ack("0" * 32, ids[1])
        self.deliveries.unconfirmed.settle(bytes(16), ids[1])
        self.assertEqual(self.box.held("jobs"), [ids[0], ids[2]])
        self.leave(over)
        self.pass_time(1.0)
        self.successResultOf(over)
        self.assertEqual(self.box.waiting("jobs"), [ids[0], ids[2]])
        self.assertEqual(self.mailbox.nacked, [ids[0], ids[2]])
        self.assertEqual(len(self.deliveries.unconfirmed), 0)

    def test_what_was_not_written_goes_back(self) -> None:
        sink = MemoryEventSink()
        over = self.subscribe(sink)
        sink.pause()
        ids = [self.box.send("jobs") for _ in range(3)]
        self.assertEqual(self.box.held("jobs"), ids[:1])
        sink.go()
        self.failureResultOf(over, NodeError)
        self.assertEqual(self.box.waiting("jobs"), ids)

    def test_not_before_a_poll_is_over(self) -> None:
        """That one would be handed what goes back."""
        msg_id = self.box.send("jobs")
        over = self.subscribe(MemoryEventSink())
        self.leave(over)
        self.assertEqual(self.box.held("jobs"), [msg_id])
        self.assertNoResult(over)
        self.pass_time(0.6)
        self.successResultOf(over)
        self.assertEqual(self.box.attempts("jobs"), {msg_id: 1})

    def test_another_subscriber_gets_it(self) -> None:
        one, two = MemoryEventSink(), MemoryEventSink()
        msg_id = self.box.send("jobs")
        over = self.subscribe(one)
        self.subscribe(two)
        self.leave(over)
        self.pass_time(0.6)
        self.assertEqual(self.told(two), [msg_id])

    def full(self, **more: Any) -> tuple[Deferred[None], MemoryEventSink, list[str]]:
        """Return a subscription that got two messages and has no room to ask for more."""
        sink = MemoryEventSink(window=8_000)
        ids = [self.box.send("jobs", bytes(2_000)) for _ in range(2)]
        over = self.subscribe(sink, **more)
        self.assertEqual(self.told(sink), ids)
        return over, sink, ids

    def test_nothing_goes_back_that_may_be_anothers(self) -> None:
        """Its time is over, or as good as."""
        over, _, ids = self.full(visibility_ms=10_000)
        # Giving back may take 2 s itself.
        self.clock.advance(7.5)
        self.leave(over)
        self.successResultOf(over)
        self.assertEqual((self.mailbox.nacked, self.box.held("jobs")), ([], ids))

    def test_a_message_that_came_again_is_the_second_ones(self) -> None:
        over, _, ids = self.full(visibility_ms=2_000)
        two = MemoryEventSink()
        self.subscribe(two, visibility_ms=60_000)
        self.pass_time(2.5)
        self.assertEqual(self.told(two), ids)
        self.leave(over)
        self.pass_time(1.0)
        self.assertEqual((self.mailbox.nacked, self.box.held("jobs")), ([], ids))
        self.assertEqual(len(self.deliveries.unconfirmed), 2)

    def test_few_are_remembered(self) -> None:
        sink = MemoryEventSink()
        over = self.subscribe(sink)
        ids = [self.box.send("jobs") for _ in range(MAX_UNCONFIRMED + 10)]
        self.assertEqual(len(self.told(sink)), len(ids))
        self.assertEqual(len(self.deliveries.unconfirmed), MAX_UNCONFIRMED)
        self.leave(over)
        self.pass_time(1.0)
        self.assertEqual(self.box.waiting("jobs"), ids[10:])

    def test_an_owner_that_is_gone(self) -> None:
        over = self.subscribe(MemoryEventSink())
        msg_id = self.box.send("jobs")
        self.mailbox.error = DOWN
        self.leave(over)
        self.pass_time(1.0)
        self.successResultOf(over)
        self.clock.advance(30.0)
        self.assertEqual(self.box.waiting("jobs"), [msg_id], "it comes back by itself")

    def test_an_owner_that_does_not_answer(self) -> None:
        over = self.subscribe(MemoryEventSink())
        for _ in range(10):
            self.box.send("jobs")
        asked: list[Deferred[Any]] = []

        def silent(call: Any, msg_id: str) -> Deferred[Any]:
            asked.append(Deferred())
            return asked[-1]

        self.mailbox.nack = silent  # type: ignore[method-assign]
        self.leave(over)
        self.pass_time(1.0)
        self.assertEqual(len(asked), 4, "so many at a time")
        self.assertNoResult(over)
        self.pass_time(2.0)
        self.successResultOf(over)
        self.assertEqual((len(asked), all(each.called for each in asked)), (4, True))

    def test_an_owner_that_fails_for_long_ends_it(self) -> None:
        over = self.subscribe(MemoryEventSink())
        self.mailbox.error = DOWN
        self.pass_time(PATIENCE_S - 1.0)
        self.assertNoResult(over)
        self.pass_time(10.0)
        self.assertIs(self.failureResultOf(over, NodeError).value, DOWN)

    def test_an_owner_that_comes_back(self) -> None:
        sink = MemoryEventSink()
        over = self.subscribe(sink)
        self.mailbox.error = DOWN
        self.pass_time(20.0)
        self.mailbox.error = None
        msg_id = self.box.send("jobs")
        self.pass_time(6.0)
        self.assertEqual(self.told(sink), [msg_id])
        self.assertNoResult(over)

    def test_cancelled_while_it_ends(self) -> None:
        """What it holds comes again by itself, and nobody remembers it."""
        over = self.subscribe(MemoryEventSink())
        msg_id = self.box.send("jobs")
        self.leave(over)
        over.cancel()
        self.successResultOf(over)
        self.assertEqual((self.mailbox.nacked, len(self.deliveries.unconfirmed)), ([], 0))
        self.clock.advance(30.0)
        self.assertEqual(self.box.waiting("jobs"), [msg_id])

    def test_nothing_stays_behind(self) -> None:
        over = self.subscribe(MemoryEventSink())
        self.box.send("jobs")
        self.leave(over)
        self.pass_time(1.0)
        self.successResultOf(over)
        self.assertEqual(self.gate.in_use, 0)
        self.clock.advance(31.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
