"""Subscriptions at the client: messages at the pace they are asked for, and every way to end."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.client import OAPClient, OAPError, connect
from micronode.oap.client.subscription import Subscription
from micronode.oap.compression import deflate
from micronode.oap.wire.frames import ACK_REQ, COMP, Control
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from tests.support.callers import ScriptedNode
from tests.support.oap import SeenFrame


def message(number: int, payload_b64: str = "aGk=") -> bytes:
    """Return a message as a node sends it."""
    fields = {"msg_id": f"m{number}", "ts": 1, "attempt": 1, "attrs": {"a": "b"}, "payload_b64": payload_b64}
    return json.dumps(fields).encode()


class SubscriptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = ScriptedNode()
        connecting = connect(self.node.reactor, "oap://127.0.0.1:5312")
        self.end = self.node.accept()
        self.client: OAPClient = self.successResultOf(connecting)

    def subscribed(self) -> tuple[Subscription, SeenFrame]:
        subscription = self.client.subscribe("orders", capability="cap")
        [start] = self.end.heard()
        return subscription, start

    def begun(self) -> tuple[Subscription, SeenFrame]:
        subscription, start = self.subscribed()
        self.end.begin(start)
        return subscription, start

    def numbers(self, subscription: Subscription) -> Deferred[list[str]]:
        async def collect() -> list[str]:
            return [message["msg_id"] async for message in subscription]

        return Deferred.fromCoroutine(collect())

    def cancels(self) -> list[int]:
        return [frame.corr_id for frame in self.end.heard() if frame.code == 499]

    def test_request(self) -> None:
        subscription, start = self.subscribed()
        self.assertEqual(start.json, {"op": "subscribe", "args": {"topic": "orders"}})
        self.assertEqual((start.app, start.flags & ACK_REQ, start.ends), (Profile.FEED, ACK_REQ, True))
        head = subscription.head()
        self.end.begin(start, content_type="x")
        self.assertEqual(self.successResultOf(head), {"status": 200, "content_type": "x"})

    def test_any_profile_may_have_them(self) -> None:
        kept = self.client.events(Profile.CUSTOM, "watch", {"a": 1})
        [start] = self.end.heard()
        self.assertEqual((start.app, start.json), (Profile.CUSTOM, {"op": "watch", "args": {"a": 1}}))
        self.end.begin(start)
        self.end.message(start, b'{"n":1}')
        self.assertEqual(self.successResultOf(kept.next()), {"n": 1})

    def test_messages_are_read(self) -> None:
        subscription, start = self.begun()
        waiting = subscription.next()
        self.end.message(start, message(1))
        self.assertEqual(
            self.successResultOf(waiting),
            {"msg_id": "m1", "ts": 1, "attempt": 1, "attrs": {"a": "b"}, "payload": b"hi"},
        )

    def test_compressed_ones_too(self) -> None:
        subscription, start = self.begun()
        packed = deflate(message(1, "QUJD" * 500))
        assert packed is not None
        self.end.message(start, packed, flags=COMP)
        self.assertEqual(self.successResultOf(subscription.next())["payload"], b"ABC" * 500)

    def test_iteration_ends_with_the_subscription(self) -> None:
        subscription, start = self.begun()
        self.end.message(start, message(1))
        collected = self.numbers(subscription)
        self.end.message(start, message(2))
        self.assertNoResult(collected)
        self.end.chunk(start, b"", ended=True)
        self.assertEqual(self.successResultOf(collected), ["m1", "m2"])
        self.assertIsNone(self.successResultOf(subscription.next()))
        subscription.cancel()
        self.assertEqual(self.cancels(), [])

    def test_credit_when_the_next_is_asked_for(self) -> None:
        subscription, start = self.begun()
        first = message(1, "QUJD" * 5_000)
        for _ in range(2):
            self.end.message(start, first)
        self.successResultOf(subscription.next())
        self.successResultOf(subscription.next())
        # One is done with, the other is being dealt with; less than half of the window is used.
        self.assertEqual(self.end.heard(), [])
        for credited in ([], [len(first)], []):
            self.end.message(start, first)
            seen = [int.from_bytes(each.payload, "big") for each in self.end.heard()]
            self.assertEqual(seen, credited)
        # More than half is used again, so what is done with counts at once.
        self.successResultOf(subscription.next())
        [credit] = self.end.heard()
        self.assertEqual((credit.code, credit.corr_id), (Control.CREDIT, start.corr_id))
        self.assertEqual(int.from_bytes(credit.payload, "big"), 2 * len(first))
        for _ in range(2):
            self.successResultOf(subscription.next())
        waiting = subscription.next()
        self.end.message(start, message(3))
        self.assertEqual(self.successResultOf(waiting)["msg_id"], "m3")

    def test_what_is_held_is_bounded_by_the_window(self) -> None:
        subscription, start = self.begun()
        one = message(1, "QUJD" * 11_000)
        most = STREAM_WINDOW_BYTES // len(one)
        for _ in range(most):
            self.end.message(start, one)
        self.assertLessEqual(subscription._inbox.held, STREAM_WINDOW_BYTES)
        for _ in range(most):
            self.successResultOf(subscription.next())
        self.assertEqual(subscription._inbox.held, len(one))
        self.end.heard()
        # A node that sends beyond it breaks the protocol.
        again, start = self.begun()
        for _ in range(most + 1):
            self.end.message(start, one)
        for _ in range(most):
            self.successResultOf(again.next())
        self.node.reactor.advance(0)
        self.assertEqual(self.failureResultOf(again.next(), OAPError).value.name, "bad_gateway")

    def test_failure_comes_behind_what_is_here(self) -> None:
        subscription = self.client.events(Profile.CUSTOM, "watch", {})
        [start] = self.end.heard()
        self.end.begin(start)
        self.end.message(start, message(1))
        self.end.fail(start, 503, "draining", retryable=True, retry_after_ms=5)
        self.successResultOf(subscription.next())
        error = self.failureResultOf(subscription.next(), OAPError).value
        self.assertEqual((error.name, error.retry_after_ms), ("draining", 5))

    def test_failure_is_all_where_messages_are_acked(self) -> None:
        """What is here went back to the mailbox with it: an ack would be for another's."""
        subscription, start = self.begun()
        self.end.message(start, message(1))
        self.end.message(start, message(2))
        self.successResultOf(subscription.next())
        self.end.fail(start, 503, "draining", retryable=True, retry_after_ms=5)
        error = self.failureResultOf(subscription.next(), OAPError).value
        self.assertEqual((error.name, error.retry_after_ms), ("draining", 5))

    def test_refusal(self) -> None:
        subscription, start = self.subscribed()
        collected, head = self.numbers(subscription), subscription.head()
        self.end.fail(start, 501, "unknown_op")
        for each in (collected, head):
            self.assertEqual(self.failureResultOf(each, OAPError).value.name, "unknown_op")

    def test_lost_connection(self) -> None:
        subscription, _ = self.begun()
        collected = self.numbers(subscription)
        self.end.hang_up()
        self.assertEqual(self.failureResultOf(collected, OAPError).value.name, "bad_gateway")

    def test_no_connection_to_be_had(self) -> None:
        self.end.hang_up()
        subscription = self.client.subscribe("orders")
        collected = self.numbers(subscription)
        self.node.refuse()
        self.failureResultOf(collected, ConnectError)

    def test_what_is_no_message(self) -> None:
        for wrong in (b"[]", b"{", b'{"payload_b64":1}', b'{"payload_b64":"a"}', b"\xff"):
            for asked_before in (True, False):
                subscription, start = self.begun()
                waiting: Any = subscription.next() if asked_before else None
                self.end.message(start, wrong)
                self.end.message(start, message(2))
                failed = self.failureResultOf(waiting or subscription.next(), OAPError).value
                self.assertEqual(failed.name, "bad_gateway", wrong)
                self.assertEqual(self.cancels(), [start.corr_id])
                self.failureResultOf(subscription.next(), OAPError)

    def test_answer_that_is_no_subscription(self) -> None:
        subscription, start = self.begun()
        collected = self.numbers(subscription)
        self.end.chunk(start, b"a body")
        self.assertIn("no subscription", self.failureResultOf(collected, OAPError).value.message)
        self.assertEqual(self.cancels(), [start.corr_id])

    def test_cancelled_wait_loses_nothing(self) -> None:
        subscription, start = self.begun()
        waiting = subscription.next()
        self.assertRaises(RuntimeError, subscription.next)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.end.message(start, message(1))
        self.assertEqual(self.successResultOf(subscription.next())["msg_id"], "m1")

    # Ways to end it

    def test_aclose(self) -> None:
        subscription, start = self.begun()
        waiting = subscription.next()
        self.successResultOf(Deferred.fromCoroutine(subscription.aclose()))
        self.assertEqual(self.cancels(), [start.corr_id])
        self.assertEqual(self.failureResultOf(waiting, OAPError).value.name, "cancelled")
        self.end.message(start, message(1))
        self.end.fail(start, 499, "cancelled")
        self.successResultOf(Deferred.fromCoroutine(subscription.aclose()))
        self.assertEqual(self.cancels(), [])

    def test_break(self) -> None:
        async def first() -> Any:
            async for each in self.client.subscribe("orders"):
                return each
            raise AssertionError("there is one")

        got = Deferred.fromCoroutine(first())
        [start] = self.end.heard()
        self.end.begin(start)
        self.end.message(start, message(1))
        self.assertEqual(self.successResultOf(got)["msg_id"], "m1")
        self.assertEqual(self.cancels(), [start.corr_id])

    def test_context(self) -> None:
        async def enter_and_leave() -> None:
            async with self.client.subscribe("orders"):
                pass

        self.successResultOf(Deferred.fromCoroutine(enter_and_leave()))
        start, cancel = self.end.heard()
        self.assertEqual((cancel.code, cancel.corr_id), (499, start.corr_id))

    def test_dropped_before_there_is_a_connection(self) -> None:
        self.end.hang_up()
        subscription = self.client.subscribe("orders")
        del subscription
        self.assertEqual(self.node.delayed, [])


class AckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = ScriptedNode()
        connecting = connect(self.node.reactor, "oap://127.0.0.1:5312")
        self.end = self.node.accept()
        self.client: OAPClient = self.successResultOf(connecting)

    def test_ack_and_nack(self) -> None:
        for op, act in (("ack", self.client.ack), ("nack", self.client.nack)):
            done = act("orders", "m1")
            [start] = self.end.heard()
            self.assertEqual(start.app, Profile.FEED)
            self.assertEqual(start.json, {"op": op, "args": {"topic": "orders", "msg_id": "m1"}})
            self.end.answer(start, status=204)
            self.assertIsNone(self.successResultOf(done))

    def test_unknown_message(self) -> None:
        done = self.client.ack("orders", "m1", idempotent=True)
        [start] = self.end.heard()
        self.end.fail(start, 404, "not_found")
        self.failureResultOf(done, OAPError)
