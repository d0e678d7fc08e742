"""The way of a call: every ending reaches the sink once, and every permit comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.calls.call import Call, Ingress, Reply, ResponseHead
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import Access, BodyRule, Operation
from micronode.calls.table import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IReplyBody, IResponseSink
from micronode.observability.metrics import Metrics
from tests.support.sinks import MemorySink

TIMEOUT_S = 5.0
HEAD = ResponseHead(status=200, content_type="application/json")


@implementer(IReplyBody)
class StubBody:
    """A reply's body whose relay the test ends: :meth:`send`, :meth:`end`, :meth:`break_off`."""

    def __init__(self) -> None:
        self.aborted = 0
        self.cancelled = False
        self.sink: Any = None
        self._done: Deferred[None] = Deferred(self._cancel)

    def relay(self, head: ResponseHead, sink: Any) -> Deferred[None]:
        self.sink = sink
        sink.start(head)
        return self._done

    def abort(self) -> None:
        self.aborted += 1

    def send(self, data: bytes) -> None:
        self.sink.write(data)

    def end(self) -> None:
        self.sink.finish().chainDeferred(self._done)

    def break_off(self, error: Exception) -> None:
        self._done.errback(error)

    def _cancel(self, _: Deferred[None]) -> None:
        self.cancelled = True


class StubHandler:
    """A facet's handler: what it awaits is a Deferred that the test fires."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.cancelled = 0
        self.answer: Deferred[Any] = Deferred(self._cancel)

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        reply: Reply = await self.answer
        return reply

    def _cancel(self, _: Deferred[Any]) -> None:
        self.cancelled += 1


def make_operation(
    handler: Callable[[Call], Awaitable[Reply]], name: str = "echo.say", facet: str = "echo"
) -> Operation:
    op = name.partition(".")[2]
    return Operation(
        name=name,
        facet=facet,
        method="GET",
        path=f"/app/echo/{op}",
        profile=0x0501,
        op=op,
        access=Access.READ,
        handler=handler,
        body=BodyRule.STREAMED,
    )


def say_yes(call: Call) -> Deferred[Reply]:
    return succeed(Reply(head=HEAD))


class DispatcherCase(SynchronousTestCase):
    """A dispatcher with one facet (``echo``, two permits) and one operation on a stub handler."""

    LIMIT = 2

    def setUp(self) -> None:
        self.clock = Clock()
        self.handler = StubHandler()
        self.body = StubBody()
        self.gate = Gate(self.LIMIT)
        self.metrics = Metrics(facets=["echo"], owners=[], states=[], build={"version": "0"})
        self.operation = make_operation(self.handler)
        self.dispatcher = self.make_dispatcher(self.operation)

    def make_dispatcher(self, *operations: Operation, **more: Any) -> Dispatcher:
        return Dispatcher(
            OperationTable(operations),
            gates={"echo": self.gate},
            timeouts={"echo": TIMEOUT_S},
            clock=self.clock,
            metrics=self.metrics,
            **more,
        )

    def call(self, **fields: Any) -> Call:
        given = {"operation": self.operation, "args": {}, "ingress": Ingress.HTTP, "request_id": "r-1"}
        return Call(**(given | fields))

    def dispatch(self, sink: MemorySink, **fields: Any) -> Deferred[None]:
        return self.dispatcher.dispatch(self.call(**fields), sink)

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def results(self) -> dict[str, float]:
        """Return the facet's results that are not zero."""
        found = {
            result: self.counted("ron_facet_requests_total", facet="echo", result=result)
            for result in ("ok", "refused", "failed", "cancelled")
        }
        return {result: count for result, count in found.items() if count}

    def assert_over(self, result: str) -> None:
        """Assert that one call ended with *result* and nothing of it is left."""
        self.assertEqual(self.results(), {result: 1.0})
        self.assertEqual(self.gate.in_use, 0)
        self.assertEqual(self.dispatcher.active, 0)
        self.assertEqual(self.counted("inflight_requests", route="echo.say"), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def assert_failed(self, sink: MemorySink, code: ErrorCode) -> NodeError:
        self.assertEqual(sink.outcome, "failed")
        assert sink.error is not None
        self.assertIs(sink.error.code, code)
        return sink.error

    def assert_untouched(self, sink: MemorySink) -> None:
        self.assertEqual((sink.outcome, sink.head, sink.writes), (None, None, []))


class DoublesTests(SynchronousTestCase):
    """The doubles keep their interfaces' promises."""

    def test_interfaces(self) -> None:
        verifyObject(IReplyBody, StubBody())
        verifyObject(IResponseSink, MemorySink())


class AnswerTests(DispatcherCase):
    """Calls that end well."""

    def test_without_a_body(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.assertNoResult(over)
        self.assertEqual(self.dispatcher.active, 1)
        self.assertEqual(self.gate.in_use, 1)
        self.assertEqual(self.counted("inflight_requests", route="echo.say"), 1)
        self.handler.answer.callback(Reply(head=HEAD))
        self.assertIsNone(self.successResultOf(over))
        self.assertEqual((sink.head, sink.body, sink.outcome), (HEAD, b"", "finished"))
        self.assert_over("ok")

    def test_with_a_body(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.handler.answer.callback(Reply(head=HEAD, body=self.body))
        self.body.send(b"one")
        self.body.send(b"two")
        self.assertNoResult(over)
        self.body.end()
        self.assertIsNone(self.successResultOf(over))
        self.assertEqual((sink.head, sink.body, sink.outcome), (HEAD, b"onetwo", "finished"))
        self.assertEqual(self.body.aborted, 0)
        self.assert_over("ok")

    def test_at_once(self) -> None:
        """A handler that answers without waiting leaves no timer and no permit behind."""
        self.operation = make_operation(say_yes)
        self.dispatcher = self.make_dispatcher(self.operation)
        sink = MemorySink()
        self.assertIsNone(self.successResultOf(self.dispatch(sink)))
        self.assertEqual(sink.outcome, "finished")
        self.assert_over("ok")

    def test_the_handler_gets_the_call(self) -> None:
        call = self.call(args={"q": "klein"})
        self.dispatcher.dispatch(call, MemorySink())
        self.assertEqual(self.handler.calls, [call])

    def test_permit_until_the_last_byte(self) -> None:
        """While the sink still holds bytes the permit is out and the call is active."""
        for reply in (Reply(head=HEAD), Reply(head=HEAD, body=self.body)):
            sink = MemorySink(hold_finish=True)
            handler = StubHandler()
            self.operation = make_operation(handler)
            over = self.dispatch(sink)
            handler.answer.callback(reply)
            if reply.body is not None:
                self.body.end()
            self.assertNoResult(over)
            self.assertEqual((self.gate.in_use, self.dispatcher.active), (1, 1))
            sink.flush()
            self.assertIsNone(self.successResultOf(over))
            self.assertEqual((self.gate.in_use, self.dispatcher.active), (0, 0))

    def test_no_deadline_after_the_head(self) -> None:
        """The facet's timeout ends with the response head; the relay has deadlines of its own."""
        sink = MemorySink()
        over = self.dispatch(sink, deadline_s=1.0)
        self.handler.answer.callback(Reply(head=HEAD, body=self.body))
        self.clock.advance(10 * TIMEOUT_S)
        self.assertNoResult(over)
        self.body.end()
        self.assertEqual(sink.outcome, "finished")


class AdmissionTests(DispatcherCase):
    """Calls that are refused before anything is done."""

    LIMIT = 1

    def test_gate_full(self) -> None:
        self.dispatch(MemorySink())
        sink = MemorySink()
        over = self.dispatch(sink)
        self.assertIsNone(self.successResultOf(over))
        error = self.assert_failed(sink, ErrorCode.BUSY)
        assert error.retry_after_ms is not None
        self.assertTrue(1000 <= error.retry_after_ms <= 1300, error.retry_after_ms)
        self.assertFalse(sink.started)
        self.assertEqual(len(self.handler.calls), 1)
        self.assertEqual((self.gate.in_use, self.dispatcher.active), (1, 1))
        self.assertEqual(self.counted("rejected_total", reason="busy"), 1)
        self.assertEqual(self.results(), {"refused": 1.0})

    def test_gate_turns_over(self) -> None:
        self.dispatch(MemorySink())
        self.handler.answer.callback(Reply(head=HEAD))
        sink = MemorySink()
        self.handler.answer = succeed(Reply(head=HEAD))
        self.successResultOf(self.dispatch(sink))
        self.assertEqual(sink.outcome, "finished")

    def test_draining(self) -> None:
        """What was admitted goes on; what comes after is refused and takes no permit."""
        admitted = MemorySink()
        over = self.dispatch(admitted)
        self.dispatcher.drain()
        self.handler.answer.callback(Reply(head=HEAD))
        self.successResultOf(over)
        self.assertEqual(admitted.outcome, "finished")
        sink = MemorySink()
        self.assertIsNone(self.successResultOf(self.dispatch(sink)))
        error = self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertEqual(error.retry_after_ms, 5000)
        self.assertEqual(len(self.handler.calls), 1)
        self.assertEqual(self.gate.in_use, 0)
        self.assertEqual(self.counted("rejected_total", reason="draining"), 1)

    def test_gate_before_draining(self) -> None:
        """The order is fixed: a full gate is told even by a node that goes away."""
        self.dispatch(MemorySink())
        self.dispatcher.drain()
        sink = MemorySink()
        self.dispatch(sink)
        self.assert_failed(sink, ErrorCode.BUSY)

    def test_gates_are_apart(self) -> None:
        """A facet that is full takes nothing from another."""
        other = StubHandler()
        spare = make_operation(other, "spare.say2", "spare")
        self.dispatcher = Dispatcher(
            OperationTable([self.operation, spare]),
            gates={"echo": Gate(0), "spare": Gate(1)},
            timeouts={"echo": 1.0, "spare": 1.0},
            clock=self.clock,
            metrics=self.metrics,
        )
        refused = MemorySink()
        self.dispatch(refused)
        self.assert_failed(refused, ErrorCode.BUSY)
        self.dispatch(MemorySink(), operation=spare)
        self.assertEqual((len(self.handler.calls), len(other.calls)), (0, 1))

    def test_a_facet_without_a_gate(self) -> None:
        with self.assertRaisesRegex(ValueError, "facet lone "):
            self.make_dispatcher(make_operation(self.handler, "lone.say", "lone"))


class FailureTests(DispatcherCase):
    """Calls that end badly."""

    def test_before_the_head(self) -> None:
        for code, result in ((ErrorCode.NOT_FOUND, "refused"), (ErrorCode.OWNER_UNAVAILABLE, "failed")):
            self.setUp()
            sink = MemorySink()
            over = self.dispatch(sink)
            error = NodeError(code, "said the owner")
            self.handler.answer.errback(error)
            self.assertIsNone(self.successResultOf(over))
            self.assertIs(sink.error, error)
            self.assertFalse(sink.started)
            self.assert_over(result)

    def test_after_the_head(self) -> None:
        """The sink decides what an error after the head looks like; it is told once."""
        sink = MemorySink()
        over = self.dispatch(sink)
        self.handler.answer.callback(Reply(head=HEAD, body=self.body))
        self.body.send(b"half")
        self.body.break_off(NodeError(ErrorCode.INTEGRITY_FAILED, "not its address"))
        self.assertIsNone(self.successResultOf(over))
        self.assertTrue(sink.started)
        self.assert_failed(sink, ErrorCode.INTEGRITY_FAILED)
        self.assertGreater(self.body.aborted, 0)
        self.assert_over("failed")

    def test_a_defect_of_the_handler(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.handler.answer.errback(KeyError("a secret"))
        self.assertIsNone(self.successResultOf(over))
        error = self.assert_failed(sink, ErrorCode.INTERNAL)
        self.assertNotIn("secret", error.message)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assert_over("failed")

    def test_a_defect_before_any_await(self) -> None:
        async def handler(call: Call) -> Reply:
            raise ZeroDivisionError

        self.operation = make_operation(handler)
        sink = MemorySink()
        self.assertIsNone(self.successResultOf(self.dispatch(sink)))
        self.assert_failed(sink, ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_over("failed")

    def test_what_is_no_deferred(self) -> None:
        """A handler that awaits what nobody here can wait for gets a TypeError."""

        class Elsewhere:
            def __await__(self) -> Any:
                return iter([object()])

        async def handler(call: Call) -> Reply:
            await Elsewhere()
            return Reply(head=HEAD)

        dispatcher = self.make_dispatcher(make_operation(handler))
        sink = MemorySink()
        self.successResultOf(dispatcher.dispatch(self.call(operation=make_operation(handler)), sink))
        self.assert_failed(sink, ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(self.gate.in_use, 0)

    def test_a_defect_of_the_relay(self) -> None:
        """The owner's connection is freed even where the relay forgot it."""
        sink = MemorySink()
        self.dispatch(sink)
        self.handler.answer.callback(Reply(head=HEAD, body=self.body))
        self.body.break_off(RuntimeError("relay"))
        self.assert_failed(sink, ErrorCode.INTERNAL)
        self.assertEqual(self.body.aborted, 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_over("failed")

    def test_a_defect_of_the_sink(self) -> None:
        """A sink that raises keeps no permit, and the Deferred still does not fail."""

        class BrokenSink(MemorySink):
            def fail(self, error: NodeError) -> None:
                raise RuntimeError("sink")

        over = self.dispatch(BrokenSink())
        self.handler.answer.errback(NodeError(ErrorCode.NOT_FOUND, "no"))
        self.assertIsNone(self.successResultOf(over))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_over("refused")
        self.dispatcher.drain()
        self.assertIsNone(self.successResultOf(self.dispatch(BrokenSink())))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_answer_that_the_sink_cannot_send(self) -> None:
        """The sink has ended it by itself, and the call did not go well."""
        for code, result in ((ErrorCode.BAD_GATEWAY, "failed"), (ErrorCode.CANCELLED, "cancelled")):

            class Refusing(MemorySink):
                refusal = NodeError(code, "a malformed head")

                def start(self, head: ResponseHead) -> None:
                    self.started = True
                    self.fail(self.refusal)

            for body in (None, self.body):
                self.setUp()
                over = self.dispatch(Refusing())
                self.handler.answer.callback(Reply(head=HEAD, body=body))
                if body is not None:
                    body.end()
                self.assertIsNone(self.successResultOf(over))
                self.assert_over(result)
            self.body = StubBody()

    def test_a_stray_cancellation(self) -> None:
        """A CancelledError nobody asked for is a defect; the caller is not left waiting."""
        sink = MemorySink()
        over = self.dispatch(sink)
        self.handler.answer.errback(CancelledError())
        self.assertIsNone(self.successResultOf(over))
        self.assert_failed(sink, ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)
        self.assert_over("failed")


class DeadlineTests(DispatcherCase):
    """The time a facet has."""

    def test_facet_timeout(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.clock.advance(TIMEOUT_S - 0.01)
        self.assertNoResult(over)
        self.clock.advance(0.01)
        self.assertIsNone(self.successResultOf(over))
        error = self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(error.code.retryable)
        self.assertEqual(self.handler.cancelled, 1)
        self.assert_over("failed")

    def test_deadline_shortens(self) -> None:
        sink = MemorySink()
        self.dispatch(sink, deadline_s=0.2)
        self.clock.advance(0.2)
        error = self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
        self.assertEqual(error.message, "the answer did not come within the caller's deadline")
        self.assert_over("failed")

    def test_deadline_never_lengthens(self) -> None:
        sink = MemorySink()
        self.dispatch(sink, deadline_s=60.0)
        self.clock.advance(TIMEOUT_S)
        error = self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
        self.assertEqual(
            error.message, f"the answer did not come within the facet's timeout of {TIMEOUT_S:g} s"
        )
        self.assert_over("failed")

    def test_no_time_left(self) -> None:
        """A deadline that has passed on arrival is an answer like any other, not a defect."""
        for deadline_s in (0.0, -3.0):
            self.setUp()
            sink = MemorySink()
            self.dispatch(sink, deadline_s=deadline_s)
            # A reactor refuses to be asked for a moment that has passed, which Clock does not.
            due_s = min(timer.getTime() for timer in self.clock.getDelayedCalls())
            self.assertEqual(due_s, self.clock.seconds())
            self.clock.advance(0)
            self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
            self.assert_over("failed")

    def test_answer_that_is_held_back(self) -> None:
        """The time runs until the caller's head, not the owner's: a relay may hold a small body."""

        class HoldingBody(StubBody):
            def relay(self, head: ResponseHead, sink: Any) -> Deferred[None]:
                return self._done

        for fields, seconds in (({}, TIMEOUT_S), ({"deadline_s": 0.5}, 0.5)):
            self.setUp()
            body, sink = HoldingBody(), MemorySink()
            over = self.dispatch(sink, **fields)
            self.handler.answer.callback(Reply(head=HEAD, body=body))
            self.clock.advance(seconds - 0.01)
            self.assertNoResult(over)
            self.clock.advance(0.01)
            self.assertIsNone(self.successResultOf(over))
            self.assertTrue(body.cancelled)
            self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
            self.assert_over("failed")

    def test_stands_still_while_the_body_comes(self) -> None:
        body_done: Deferred[None] = Deferred()
        sink = MemorySink()
        over = self.dispatch(sink, body_done=body_done)
        self.clock.advance(10 * TIMEOUT_S)
        self.assertNoResult(over)
        body_done.callback(None)
        self.clock.advance(TIMEOUT_S - 0.01)
        self.assertNoResult(over)
        self.clock.advance(0.01)
        self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
        self.assert_over("failed")

    def test_deadline_while_the_body_comes(self) -> None:
        """It was the caller that was too slow: ``timeout``, not ``owner_timeout``."""
        body_done: Deferred[None] = Deferred()
        sink = MemorySink()
        self.dispatch(sink, body_done=body_done, deadline_s=1.0)
        self.clock.advance(1.0)
        self.assert_failed(sink, ErrorCode.TIMEOUT)
        self.assert_over("refused")
        body_done.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deadline_after_the_body(self) -> None:
        """The caller's limit runs from dispatch, whenever the body was whole."""
        body_done: Deferred[None] = Deferred()
        sink = MemorySink()
        self.dispatch(sink, body_done=body_done, deadline_s=3.0)
        self.clock.advance(2.5)
        body_done.callback(None)
        self.clock.advance(0.5)
        self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
        self.assert_over("failed")

    def test_body_already_whole(self) -> None:
        sink = MemorySink()
        self.dispatch(sink, body_done=succeed(None))
        self.clock.advance(TIMEOUT_S)
        self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)

    def test_answer_before_the_body_was_whole(self) -> None:
        """An owner may answer early; the body's end starts no timer for a call that is over."""
        body_done: Deferred[None] = Deferred()
        sink = MemorySink()
        self.dispatch(sink, body_done=body_done)
        self.handler.answer.callback(Reply(head=HEAD))
        self.assert_over("ok")
        body_done.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_body_result_passes(self) -> None:
        """The dispatcher listens to body_done; whoever owns it sees its result unchanged."""
        body_done: Deferred[str] = Deferred()
        self.dispatch(MemorySink(), body_done=body_done)
        body_done.callback("whole")
        self.assertEqual(self.successResultOf(body_done), "whole")

    def test_a_handler_that_names_its_own_error(self) -> None:
        """An adapter may turn the cancellation into an error of its own; the deadline is what counts."""

        async def handler(call: Call) -> Reply:
            try:
                await Deferred()
            except CancelledError:
                raise NodeError(ErrorCode.OWNER_UNAVAILABLE, "aborted") from None
            raise AssertionError

        self.operation = make_operation(handler)
        sink = MemorySink()
        self.dispatch(sink)
        self.clock.advance(TIMEOUT_S)
        self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)

    def test_a_handler_is_interrupted_once(self) -> None:
        """While it lets its owner go no other timer cancels that."""
        aborting: Deferred[None] = Deferred()

        async def handler(call: Call) -> Reply:
            try:
                await Deferred()
            finally:
                await aborting
            raise AssertionError

        self.operation = make_operation(handler)
        sink = MemorySink()
        over = self.dispatch(sink, deadline_s=1.0)
        self.clock.advance(1.0)
        self.clock.advance(TIMEOUT_S)
        self.assertNoResult(over)
        aborting.callback(None)
        self.assertIsNone(self.successResultOf(over))
        self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
        self.assert_over("failed")

    def test_a_handler_that_answers_too_late(self) -> None:
        """An answer made although the time is over is not relayed, and its connection is freed."""
        for body in (self.body, None):
            self.setUp()
            answer = Reply(head=HEAD, body=body)

            async def handler(call: Call, answer: Reply = answer) -> Reply:
                try:
                    await Deferred()
                except CancelledError:
                    return answer
                raise AssertionError

            self.operation = make_operation(handler)
            sink = MemorySink()
            self.dispatch(sink)
            self.clock.advance(TIMEOUT_S)
            self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
            self.assertFalse(sink.started)
            self.assert_over("failed")
            if body is not None:
                self.assertEqual(body.aborted, 1)


class CancelTests(DispatcherCase):
    """The caller has gone: at whatever point, the owner is let go and the sink is not touched."""

    def test_waiting_for_the_owner(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assertEqual(self.handler.cancelled, 1)
        self.assert_untouched(sink)
        self.assert_over("cancelled")

    def test_waiting_for_the_relay(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.handler.answer.callback(Reply(head=HEAD, body=self.body))
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assertTrue(self.body.cancelled)
        self.assertIsNone(sink.outcome)
        self.assert_over("cancelled")

    def test_waiting_for_the_transport(self) -> None:
        """The answer was made; only the sink's own buffer was left."""
        sink = MemorySink(hold_finish=True)
        over = self.dispatch(sink)
        self.handler.answer.callback(Reply(head=HEAD))
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assertEqual(sink.outcome, "finished")
        self.assert_over("cancelled")

    def test_while_the_body_comes(self) -> None:
        body_done: Deferred[None] = Deferred()
        sink = MemorySink()
        over = self.dispatch(sink, body_done=body_done, deadline_s=1.0)
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assert_untouched(sink)
        self.assert_over("cancelled")
        body_done.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_over_already(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.handler.answer.callback(Reply(head=HEAD))
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assert_over("ok")

    def test_twice(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        over.cancel()
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assert_over("cancelled")

    def test_slot_until_the_owner_was_let_go(self) -> None:
        """The slot of a cancelled call is free when its owner call is over, not before."""
        aborting: Deferred[None] = Deferred()

        async def handler(call: Call) -> Reply:
            try:
                await Deferred()
            finally:
                await aborting
            raise AssertionError

        self.operation = make_operation(handler)
        sink = MemorySink()
        over = self.dispatch(sink)
        over.cancel()
        self.assertNoResult(over)
        self.assertEqual((self.gate.in_use, self.dispatcher.active), (1, 1))
        aborting.callback(None)
        self.assertIsNone(self.successResultOf(over))
        self.assert_untouched(sink)
        self.assert_over("cancelled")

    def test_a_handler_that_names_its_own_error(self) -> None:
        async def handler(call: Call) -> Reply:
            try:
                await Deferred()
            except CancelledError:
                raise NodeError(ErrorCode.OWNER_UNAVAILABLE, "aborted") from None
            raise AssertionError

        self.operation = make_operation(handler)
        sink = MemorySink()
        over = self.dispatch(sink)
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assert_untouched(sink)
        self.assert_over("cancelled")

    def test_a_handler_that_answers_anyway(self) -> None:
        body = self.body

        async def handler(call: Call) -> Reply:
            try:
                await Deferred()
            except CancelledError:
                return Reply(head=HEAD, body=body)
            raise AssertionError

        self.operation = make_operation(handler)
        sink = MemorySink()
        over = self.dispatch(sink)
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assert_untouched(sink)
        self.assertEqual(body.aborted, 1)
        self.assert_over("cancelled")

    def test_a_defect_on_the_way_out(self) -> None:
        """What goes wrong while cancelling is logged, and there is nobody to tell."""

        async def handler(call: Call) -> Reply:
            try:
                await Deferred()
            finally:
                raise ZeroDivisionError

        self.operation = make_operation(handler)
        sink = MemorySink()
        over = self.dispatch(sink)
        over.cancel()
        self.assertIsNone(self.successResultOf(over))
        self.assert_untouched(sink)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_over("cancelled")

    def test_from_within(self) -> None:
        """The sink's own write may be what finds the caller gone, while the call is running."""
        overs: list[Deferred[None]] = []

        class HangingUpSink(MemorySink):
            def start(self, head: ResponseHead) -> None:
                self.go()
                overs[0].cancel()

        sink = HangingUpSink()
        overs.append(self.dispatch(sink))
        self.handler.answer.callback(Reply(head=HEAD))
        self.assertIsNone(self.successResultOf(overs[0]))
        self.assert_untouched(sink)
        self.assertEqual((self.gate.in_use, self.dispatcher.active), (0, 0))


class IdleTests(DispatcherCase):
    """when_idle(): what a drain waits for."""

    def test_nothing_to_wait_for(self) -> None:
        self.assertIsNone(self.successResultOf(self.dispatcher.when_idle()))

    def test_after_the_last_call(self) -> None:
        overs = [
            self.dispatch(MemorySink(), operation=make_operation(StubHandler())) for _ in range(self.LIMIT)
        ]
        idle = [self.dispatcher.when_idle(), self.dispatcher.when_idle()]
        overs[0].cancel()
        self.assertNoResult(idle[0])
        overs[1].cancel()
        for waiter in idle:
            self.assertIsNone(self.successResultOf(waiter))

    def test_cancel(self) -> None:
        """A waiter that gave up is forgotten; the others are told."""
        over = self.dispatch(MemorySink())
        given_up, idle = self.dispatcher.when_idle(), self.dispatcher.when_idle()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        over.cancel()
        self.assertIsNone(self.successResultOf(idle))

    def test_a_waiter_that_cancels_another(self) -> None:
        over = self.dispatch(MemorySink())
        first, second = self.dispatcher.when_idle(), self.dispatcher.when_idle()
        first.addCallback(lambda _: second.cancel())
        over.cancel()
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, CancelledError)

    def test_a_waiter_that_brings_a_call(self) -> None:
        """Those behind it go on waiting: the dispatcher is not idle any more."""
        over = self.dispatch(MemorySink())
        first, second = self.dispatcher.when_idle(), self.dispatcher.when_idle()
        handler = StubHandler()
        operation = make_operation(handler)
        first.addCallback(lambda _: self.dispatch(MemorySink(), operation=operation) and None)
        over.cancel()
        self.successResultOf(first)
        self.assertNoResult(second)
        handler.answer.callback(Reply(head=HEAD))
        self.assertIsNone(self.successResultOf(second))
