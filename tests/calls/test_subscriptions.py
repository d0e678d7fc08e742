"""Subscriptions at the dispatcher: slots of their own, an end when the node drains."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from micronode.calls.call import Reply, ResponseHead
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import Access, BodyRule, Operation
from micronode.calls.table import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IReplyBody
from tests.calls.test_dispatcher import HEAD, TIMEOUT_S, DispatcherCase, StubHandler, make_operation
from tests.support.sinks import MemoryEventSink


@implementer(IReplyBody)
class HandingBack:
    """A relay that starts, waits, and on its way out hands back, which takes as long as the test says.

    :ivar back: fires when it is handed back; None: that is at once.
    """

    def __init__(self, *, slow: bool = False, error: Exception | None = None) -> None:
        self.back: Deferred[None] | None = Deferred() if slow else None
        self.left = 0
        self._error = error

    def relay(self, head: ResponseHead, sink: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self._relay(head, sink))

    async def _relay(self, head: ResponseHead, sink: Any) -> None:
        sink.start(head)
        try:
            await Deferred()
        except CancelledError:
            self.left += 1
            if self.back is not None:
                await self.back
            if self._error is not None:
                raise self._error from None
            raise

    def abort(self) -> None:
        """Nothing is left."""


class SubscriptionCase(DispatcherCase):
    """The facet ``echo`` with one subscribing operation, two permits and one slot."""

    def setUp(self) -> None:
        super().setUp()
        self.slots = Gate(1)
        self.topics = StubHandler()
        self.subscribe = Operation(
            name="echo.subscribe",
            facet="echo",
            method="GET",
            path="/app/echo/events",
            profile=0x0501,
            op="subscribe",
            access=Access.WRITE,
            handler=self.topics,
            subscribes=True,
        )
        self.dispatcher = self.make_dispatcher(self.operation, self.subscribe)

    def make_dispatcher(self, *operations: Operation) -> Dispatcher:
        return Dispatcher(
            OperationTable(operations),
            gates={"echo": self.gate},
            slots={"echo": self.slots} if hasattr(self, "slots") else {},
            timeouts={"echo": TIMEOUT_S},
            clock=self.clock,
            metrics=self.metrics,
        )

    def begin(self, relay: HandingBack | None = None) -> tuple[MemoryEventSink, Deferred[None]]:
        sink = MemoryEventSink()
        over = self.dispatch(sink, operation=self.subscribe)
        if relay is not None:
            self.topics.answer.callback(Reply(head=HEAD, body=relay))
        return sink, over

    def assert_none_left(self) -> None:
        self.assertEqual((self.slots.in_use, self.gate.in_use, self.dispatcher.active), (0, 0, 0))
        self.assertEqual(self.counted("inflight_requests", route="echo.subscribe"), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SlotTests(SubscriptionCase):
    def test_takes_a_slot_and_no_permit(self) -> None:
        self.begin(HandingBack())
        self.assertEqual((self.slots.in_use, self.gate.in_use, self.dispatcher.active), (1, 0, 1))
        self.assertEqual(self.counted("inflight_requests", route="echo.subscribe"), 1)

    def test_slots_are_bounded(self) -> None:
        self.begin(HandingBack())
        sink, over = self.begin()
        self.successResultOf(over)
        error = self.assert_failed(sink, ErrorCode.BUSY)
        self.assertIn("1 subscriptions", str(error))
        self.assertEqual(self.results(), {"refused": 1.0})

    def test_full_slots_and_full_permits_are_apart(self) -> None:
        self.begin(HandingBack())
        for _ in range(self.LIMIT):
            self.dispatch(MemoryEventSink())
        self.assertEqual((self.slots.in_use, self.gate.in_use), (1, 2))
        self.slots.limit += 1
        self.topics.answer = Deferred()
        sink, _ = self.begin()
        self.assertIsNone(sink.error)

    def test_a_facet_without_slots(self) -> None:
        del self.slots
        with self.assertRaisesRegex(ValueError, "no slots"):
            self.make_dispatcher(self.subscribe)

    def test_head_has_the_facet_s_deadline(self) -> None:
        sink, over = self.begin()
        self.clock.advance(TIMEOUT_S)
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
        self.assert_none_left()

    def test_no_deadline_after_the_head(self) -> None:
        sink, over = self.begin(HandingBack())
        self.clock.advance(1000 * TIMEOUT_S)
        self.assertNoResult(over)
        self.assertIsNone(sink.outcome)

    def test_cancel(self) -> None:
        relay = HandingBack()
        _, over = self.begin(relay)
        over.cancel()
        self.successResultOf(over)
        self.assertEqual((relay.left, self.results()), (1, {"cancelled": 1.0}))
        self.assert_none_left()

    def test_slot_until_it_was_handed_back(self) -> None:
        relay = HandingBack(slow=True)
        _, over = self.begin(relay)
        over.cancel()
        self.assertNoResult(over)
        self.assertEqual(self.slots.in_use, 1)
        assert relay.back is not None
        relay.back.callback(None)
        self.successResultOf(over)
        self.assert_none_left()

    def test_a_request_body(self) -> None:
        handler = make_operation(self.handler)
        self.assertIs(handler.body, BodyRule.STREAMED)
        with self.assertRaisesRegex(ValueError, "takes no request body"):
            Operation(
                name="echo.both",
                facet="echo",
                method="POST",
                path="/x",
                profile=1,
                op="both",
                access=Access.WRITE,
                handler=self.handler,
                body=BodyRule.STREAMED,
                subscribes=True,
            )


class DrainTests(SubscriptionCase):
    def test_is_ended_and_told(self) -> None:
        relay = HandingBack()
        sink, over = self.begin(relay)
        self.dispatcher.drain()
        self.successResultOf(over)
        error = self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertEqual(error.retry_after_ms, 5000)
        self.assertEqual((relay.left, self.results()), (1, {"cancelled": 1.0}))
        self.assert_none_left()

    def test_caller_is_told_before_all_is_handed_back(self) -> None:
        relay = HandingBack(slow=True)
        sink, over = self.begin(relay)
        self.dispatcher.drain()
        self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertNoResult(over)
        self.assertEqual(self.dispatcher.active, 1)
        self.dispatcher.drain()
        self.assertEqual(relay.left, 1, "it is interrupted once")
        assert relay.back is not None
        relay.back.callback(None)
        self.successResultOf(over)
        self.assert_none_left()

    def test_one_that_waits_for_its_head(self) -> None:
        sink, over = self.begin()
        self.dispatcher.drain()
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertFalse(sink.started)
        self.assertEqual(self.topics.cancelled, 1)
        self.assert_none_left()

    def test_one_whose_caller_left_is_left_alone(self) -> None:
        relay = HandingBack(slow=True)
        sink, over = self.begin(relay)
        over.cancel()
        self.dispatcher.drain()
        self.assert_untouched_after_start(sink)
        self.assertEqual(relay.left, 1)

    def assert_untouched_after_start(self, sink: MemoryEventSink) -> None:
        self.assertEqual((sink.outcome, sink.error, sink.messages), (None, None, []))

    def test_an_owner_that_fails_on_the_way_out(self) -> None:
        relay = HandingBack(error=NodeError(ErrorCode.OWNER_UNAVAILABLE, "refused"))
        sink, over = self.begin(relay)
        self.dispatcher.drain()
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertEqual(self.results(), {"cancelled": 1.0})

    def test_a_defect_on_the_way_out_is_logged(self) -> None:
        relay = HandingBack(error=ZeroDivisionError())
        sink, over = self.begin(relay)
        self.dispatcher.drain()
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_none_left()

    def test_calls_go_on(self) -> None:
        sink = MemoryEventSink()
        over = self.dispatch(sink)
        self.dispatcher.drain()
        self.assertNoResult(over)
        self.handler.answer.callback(Reply(head=HEAD))
        self.successResultOf(over)
        self.assertEqual(sink.outcome, "finished")

    def test_none_is_begun_any_more(self) -> None:
        self.dispatcher.drain()
        sink, _ = self.begin()
        self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertEqual(self.topics.calls, [])
        self.assert_none_left()


class DoubleTests(SynchronousTestCase):
    def test_a_relay_that_waits(self) -> None:
        body: Any = HandingBack()
        self.assertTrue(IReplyBody.providedBy(body))


class WithdrawTests(SubscriptionCase):
    """A reload that takes a subscribing operation away, as its facet is switched off."""

    def serve(self, *operations: Operation) -> None:
        before = self.dispatcher.serving
        self.dispatcher.serve(attrs.evolve(before, table=OperationTable(operations)))

    def test_is_ended_and_told(self) -> None:
        relay = HandingBack()
        sink, over = self.begin(relay)
        self.serve(self.operation)
        self.assertIsNone(sink.error, "the snapshot comes first")
        self.dispatcher.end_withdrawn()
        self.successResultOf(over)
        error = self.assert_failed(sink, ErrorCode.NOT_FOUND)
        self.assertIn("echo.subscribe is not served", error.message)
        self.assertEqual((relay.left, self.results()), (1, {"cancelled": 1.0}))
        self.assert_none_left()

    def test_one_that_waits_for_its_head(self) -> None:
        sink, over = self.begin()
        self.serve()
        self.dispatcher.end_withdrawn()
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.NOT_FOUND)
        self.assertFalse(sink.started)

    def test_caller_is_told_before_all_is_handed_back(self) -> None:
        relay = HandingBack(slow=True)
        sink, over = self.begin(relay)
        self.serve()
        self.dispatcher.end_withdrawn()
        self.assert_failed(sink, ErrorCode.NOT_FOUND)
        self.assertEqual(self.slots.in_use, 1)
        self.dispatcher.end_withdrawn()
        self.dispatcher.drain()
        assert relay.back is not None
        relay.back.callback(None)
        self.successResultOf(over)
        self.assertEqual(relay.left, 1, "it is interrupted once")
        self.assert_none_left()

    def test_what_is_served_again_goes_on(self) -> None:
        """Every reload makes its operations anew: the name says what stays."""
        relay = HandingBack()
        sink, over = self.begin(relay)
        self.serve(attrs.evolve(self.subscribe, summary="made anew"))
        self.dispatcher.end_withdrawn()
        self.assertNoResult(over)
        self.assertIsNone(sink.error)

    def test_calls_go_on(self) -> None:
        over = self.dispatch(MemoryEventSink())
        self.serve()
        self.dispatcher.end_withdrawn()
        self.assertNoResult(over)

    def test_of_some_callers(self) -> None:
        """As the end of a token is one to all that came by it."""
        self.slots.limit = 2
        sink, over = self.begin(HandingBack())
        self.topics.answer = Deferred()
        other, others = self.begin()
        refusal = NodeError(ErrorCode.UNAUTHORIZED, "revoked")
        self.dispatcher.end_subscriptions(lambda call: refusal if call is self.topics.calls[0] else None)
        self.successResultOf(over)
        self.assertNoResult(others)
        self.assert_failed(sink, ErrorCode.UNAUTHORIZED)
        self.assertIsNone(other.error)
