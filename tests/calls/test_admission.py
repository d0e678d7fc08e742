"""Who is let in, at once or in turn, and how who is not is refused: by which bound, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.lease import full, unavailable
from micronode.calls.call import Call, Ingress, Reply
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import Operation
from micronode.calls.serving import Serving
from micronode.calls.table import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.measure import Level
from micronode.concurrency.shedlog import ShedLog
from micronode.errors import ErrorCode, NodeError
from micronode.facets.hosted import FacetSettings, Served
from micronode.interfaces import IPolicy
from micronode.observability.metrics import REJECT_REASONS, Metrics
from tests.calls.test_dispatcher import HEAD, make_operation, say_yes
from tests.calls.test_serving import WaitingHandler
from tests.support.sinks import MemorySink

TIMEOUT_S = 5.0


class SpyLog(ShedLog):
    """Keeps what it is told."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.told: list[tuple[str, str]] = []

    def refused(self, reason: str, facet: str) -> None:
        self.told.append((reason, facet))


class AdmissionCase(SynchronousTestCase):
    """Serves ``one`` and ``two``, each with a handler whose calls wait until the test answers them."""

    LIMIT, QUEUE, MAX_CALLS, RPS = 1, 2, 10, 0

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics(facets=["one", "two"], owners=[], states=[], build={"version": "0"})
        self.shed = SpyLog(self.clock)
        self.dispatcher = Dispatcher(
            OperationTable(()), gates={}, timeouts={}, clock=self.clock, metrics=self.metrics, shed=self.shed
        )
        self.handlers = {name: WaitingHandler() for name in ("one", "two")}
        self.operations = {
            name: make_operation(handler, f"{name}.{name}", name) for name, handler in self.handlers.items()
        }
        self.serve()

    def serve(self, *, policy: IPolicy | None = None, **settings: int) -> None:
        limit, queue = settings.get("limit", self.LIMIT), settings.get("queue", self.QUEUE)
        served: Mapping[str, Served] = {
            name: Served(FacetSettings(limit=limit, queue=queue, timeout=TIMEOUT_S), (operation,))
            for name, operation in self.operations.items()
        }
        self.dispatcher.serve(
            Serving.of(
                served,
                self.dispatcher.serving,
                policy,
                max_calls=settings.get("max_calls", self.MAX_CALLS),
                rps=settings.get("rps", self.RPS),
            )
        )

    def dispatch(self, facet: str = "one", **fields: Any) -> tuple[MemorySink, Deferred[None]]:
        sink = MemorySink()
        given = {"args": {}, "ingress": Ingress.HTTP, "request_id": "r-1", "origin": "192.0.2.1"}
        operation: Operation = self.operations[facet]
        over = self.dispatcher.dispatch(Call(operation=operation, **given | fields), sink)
        # Left to the garbage collector, those that wait would let in one another in any order.
        self.addCleanup(over.cancel)
        return sink, over

    def answer(self, number: int, facet: str = "one") -> None:
        self.handlers[facet].waits[number].callback(Reply(head=HEAD))

    def begun(self, facet: str = "one") -> int:
        return len(self.handlers[facet].waits)

    def assert_refused(self, sink: MemorySink, code: ErrorCode, reason: str) -> None:
        """Assert that *sink* was, and that it is the last one that was."""
        assert sink.error is not None, "it was not refused"
        self.assertIs(sink.error.code, code)
        assert sink.error.retry_after_ms is not None
        self.assertGreater(sink.error.retry_after_ms, 0)
        self.assertFalse(sink.started)
        self.assertEqual(self.shed.told[-1], (reason, self.shed.told[-1][1]))

    def rejected(self) -> dict[str, float]:
        found = {
            reason: self.metrics.registry.get_sample_value("rejected_total", {"reason": reason}) or 0
            for reason in REJECT_REASONS
        }
        return {reason: count for reason, count in found.items() if count}

    def result(self, result: str, facet: str = "one") -> float:
        labels = {"facet": facet, "result": result}
        return self.metrics.registry.get_sample_value("ron_facet_requests_total", labels) or 0

    def gate(self, facet: str = "one") -> Gate:
        return self.dispatcher.serving.bounds[facet].gate

    def assert_idle(self) -> None:
        """Assert that nothing is left of any call."""
        gates = (self.dispatcher.serving.calls, self.gate("one"), self.gate("two"))
        self.assertEqual([(gate.in_use, gate.waiting) for gate in gates], [(0, 0)] * 3)
        self.assertEqual((self.dispatcher.active, self.clock.getDelayedCalls()), (0, []))


class QueueTests(AdmissionCase):
    """Calls that wait for their turn."""

    def test_served_in_order(self) -> None:
        sinks = [self.dispatch() for _ in range(3)]
        self.assertEqual((self.begun(), self.dispatcher.active, self.gate().waiting), (1, 1, 2))
        for number, (sink, over) in enumerate(sinks):
            self.assertEqual(self.begun(), number + 1)
            self.assertNoResult(over)
            self.answer(number)
            self.successResultOf(over)
            self.assertEqual(sink.outcome, "finished")
        self.assertEqual((self.result("ok"), self.rejected()), (3, {}))
        self.assert_idle()

    def test_bounded(self) -> None:
        for _ in range(3):
            self.dispatch()
        sink, over = self.dispatch()
        self.successResultOf(over)
        self.assert_refused(sink, ErrorCode.BUSY, "busy")
        self.assertEqual(self.rejected(), {"busy": 1})

    def test_no_longer_than_half_of_the_facet_s_time(self) -> None:
        """Nothing was done for it: it is busy, not late."""
        self.dispatch()
        self.clock.advance(1.0)
        sink, over = self.dispatch()
        self.dispatcher.serving.bounds["one"].gate.limit = 0
        self.clock.advance(TIMEOUT_S / 2 - 0.1)
        self.assertNoResult(over)
        self.clock.advance(0.1)
        self.successResultOf(over)
        self.assert_refused(sink, ErrorCode.BUSY, "busy")
        self.assertEqual((self.begun(), self.gate().waiting), (1, 0))
        self.assertEqual((self.rejected(), self.result("refused")), ({"busy": 1}, 1))
        self.clock.advance(TIMEOUT_S)
        self.assert_idle()

    def test_no_longer_than_half_of_the_caller_s(self) -> None:
        for deadline_s in (0.5, 0.0):
            self.dispatch()
            sink, over = self.dispatch(deadline_s=deadline_s)
            self.clock.advance(deadline_s / 2)
            self.successResultOf(over)
            self.assert_refused(sink, ErrorCode.BUSY, "busy")

    def test_no_turn_is_in_vain(self) -> None:
        """Behind an owner that stands still: who gets a turn has half of its time, and the others none."""
        sinks = []
        for _ in range(300):
            sinks.append(self.dispatch()[0])
            self.clock.advance(0.05)
        self.clock.pump([0.05] * 200)
        given_s = [call.deadline_s for call in self.handlers["one"].calls]
        self.assertGreaterEqual(len(given_s), 4)
        self.assertTrue(all(each is None or each >= TIMEOUT_S / 2 for each in given_s), given_s)
        codes = [sink.error.code for sink in sinks if sink.error is not None]
        self.assertEqual(len(codes), len(sinks))
        self.assertEqual(codes.count(ErrorCode.OWNER_TIMEOUT), self.begun())
        self.assertEqual(codes.count(ErrorCode.BUSY), len(sinks) - self.begun())
        self.assert_idle()

    def test_no_turn_is_in_vain_of_a_node_that_stood_still(self) -> None:
        """It wakes up when all times are over: the turn comes before the timer."""
        self.dispatch()
        self.clock.advance(TIMEOUT_S - 1.0)
        sink, over = self.dispatch()
        self.clock.advance(TIMEOUT_S)
        self.successResultOf(over)
        self.assert_refused(sink, ErrorCode.BUSY, "busy")
        self.assertEqual(self.begun(), 1)
        self.assert_idle()

    def test_what_it_waits_is_taken_from_its_time(self) -> None:
        """The facet's timeout runs from dispatch."""
        self.dispatch()
        sink, over = self.dispatch()
        self.clock.advance(2.0)
        self.answer(0)
        self.assertEqual([call.deadline_s for call in self.handlers["one"].calls], [None, TIMEOUT_S - 2.0])
        self.clock.advance(2.9)
        self.assertNoResult(over)
        self.clock.advance(0.1)
        self.successResultOf(over)
        assert sink.error is not None
        self.assertIs(sink.error.code, ErrorCode.OWNER_TIMEOUT)
        self.assert_idle()

    def test_what_it_waits_is_taken_from_the_caller_s(self) -> None:
        """Of a call with a body that comes in pieces, too: the caller's time runs from dispatch."""
        for more in ({}, {"body_done": Deferred()}):
            self.dispatch()
            self.dispatch(deadline_s=3.0, **more)
            self.clock.advance(1.0)
            self.answer(-1)
            self.assertEqual(self.handlers["one"].calls[-1].deadline_s, 2.0)
            self.clock.advance(TIMEOUT_S)
        self.assert_idle()

    def test_a_body_that_comes_in_pieces(self) -> None:
        """It is not passed on while the call waits; then its own deadlines run, and the facet's after it."""
        self.dispatch()
        body_done: Deferred[None] = Deferred()
        sink, over = self.dispatch(body_done=body_done)
        self.clock.advance(2.0)
        self.answer(0)
        self.assertIsNone(self.handlers["one"].calls[-1].deadline_s)
        self.clock.advance(60.0)
        self.assertNoResult(over)
        body_done.callback(None)
        self.clock.advance(TIMEOUT_S)
        self.successResultOf(over)
        self.assertIs(getattr(sink.error, "code", None), ErrorCode.OWNER_TIMEOUT)
        self.assert_idle()

    def test_a_body_is_no_reason_to_wait_for_ever(self) -> None:
        self.dispatch()
        self.gate().limit = 0
        sink, over = self.dispatch(body_done=Deferred())
        self.clock.advance(TIMEOUT_S / 2)
        self.successResultOf(over)
        self.assert_refused(sink, ErrorCode.BUSY, "busy")
        self.assertEqual(self.begun(), 1)

    def test_a_body_that_fails_meanwhile(self) -> None:
        """Its end is the stream's business; the timeout is begun once by it."""
        self.dispatch()
        body_done: Deferred[None] = Deferred()
        _, over = self.dispatch(body_done=body_done)
        self.clock.advance(1.0)
        body_done.callback(None)
        self.answer(0)
        self.clock.advance(TIMEOUT_S - 0.1)
        self.assertNoResult(over)
        self.clock.advance(0.1)
        self.successResultOf(over)
        self.assert_idle()

    def test_the_caller_leaves(self) -> None:
        self.dispatch()
        sink, over = self.dispatch()
        stays, _ = self.dispatch()
        over.cancel()
        self.successResultOf(over)
        self.assertEqual((sink.outcome, sink.head, self.result("cancelled")), (None, None, 1))
        self.answer(0)
        self.assertEqual(self.begun(), 2)
        self.answer(1)
        self.assertEqual(stays.outcome, "finished")
        self.assertEqual(self.rejected(), {})
        self.assert_idle()

    def test_the_caller_leaves_when_its_turn_has_come(self) -> None:
        self.dispatch()
        _, over = self.dispatch()
        self.answer(0)
        over.cancel()
        self.successResultOf(over)
        self.assert_idle()

    def test_a_call_that_is_thrown_away(self) -> None:
        """Its coroutine is closed by nobody but the garbage collector: no permit is passed to it."""
        self.dispatch()
        _, over = self.dispatch()
        thrown: Any = over
        thrown._work.close()
        thrown._awaited = None
        self.assertEqual(self.gate().waiting, 0)
        self.answer(0)
        self.assertEqual(self.gate().in_use, 0)

    def test_drain(self) -> None:
        """Nothing was done for those that wait: they are told to ask elsewhere, and the rest goes on."""
        first, _ = self.dispatch()
        waits, over = self.dispatch()
        self.dispatcher.drain()
        self.successResultOf(over)
        self.assert_refused(waits, ErrorCode.DRAINING, "draining")
        late, _ = self.dispatch()
        self.assertIsNotNone(late.error)
        self.answer(0)
        self.assertEqual((first.outcome, self.begun()), ("finished", 1))
        self.successResultOf(self.dispatcher.when_idle())
        self.assert_idle()

    def test_a_larger_limit(self) -> None:
        for _ in range(3):
            self.dispatch()
        self.serve(limit=2)
        self.assertEqual((self.begun(), self.gate().waiting), (2, 1))

    def test_a_smaller_queue(self) -> None:
        """Who waits goes on waiting."""
        for _ in range(3):
            self.dispatch()
        self.serve(queue=0)
        sink, _ = self.dispatch()
        self.assert_refused(sink, ErrorCode.BUSY, "busy")
        for number in range(3):
            self.answer(number)
        self.assertEqual(self.result("ok"), 3)
        self.assert_idle()

    def test_many_that_are_answered_at_once(self) -> None:
        """The end of one lets in the next, and that is no deep stack."""
        self.operations["two"] = make_operation(say_yes, "two.two", "two")
        self.serve(queue=3_000, max_calls=1)
        self.dispatch("one")
        sinks = [self.dispatch("two")[0] for _ in range(3_000)]
        self.answer(0)
        self.assertEqual({sink.outcome for sink in sinks}, {"finished"})
        self.assert_idle()


class NoQueueTests(AdmissionCase):
    """With no queue, which is usual, nothing of it is in the way."""

    QUEUE = 0

    def test_refused_at_once(self) -> None:
        self.dispatch()
        pending = len(self.clock.getDelayedCalls())
        sink, over = self.dispatch()
        self.successResultOf(over)
        self.assert_refused(sink, ErrorCode.BUSY, "busy")
        self.assertEqual(len(self.clock.getDelayedCalls()), pending)
        self.assertEqual(self.shed.told, [("busy", "one")])

    def test_retry_after_follows_what_calls_take(self) -> None:
        for _ in range(3):
            self.dispatch(body_done=Deferred())
            self.clock.advance(20.0)
            self.answer(-1)
        self.dispatch()
        sink, _ = self.dispatch()
        assert sink.error is not None
        assert sink.error.retry_after_ms is not None
        self.assertTrue(14_000 <= sink.error.retry_after_ms <= 26_000, sink.error.retry_after_ms)


class TurnAwayTests(AdmissionCase):
    """A door that asks before it has made a call: what it hears is what the call would be told."""

    LIMIT, QUEUE, MAX_CALLS = 1, 0, 2

    def turn_away(self, facet: str = "one", origin: str = "192.0.2.1") -> NodeError | None:
        return self.dispatcher.turn_away(self.operations[facet], origin)

    def assert_same(self, reason: str, facet: str = "one", **fields: str) -> None:
        """Assert that both ways of asking refuse, for *reason*, and count the same."""
        before = self.rejected().get(reason, 0), self.result("refused", facet)
        error = self.turn_away(facet, **fields)
        sink, over = self.dispatch(facet, **fields)
        self.successResultOf(over)
        self.assert_refused(sink, sink.error.code, reason)  # type: ignore[union-attr]
        assert error is not None
        self.assertEqual((error.code, error.message), (sink.error.code, sink.error.message))  # type: ignore[union-attr]
        self.assertIsNotNone(error.retry_after_ms)
        self.assertEqual(self.shed.told[-2:], [(reason, facet)] * 2)
        after = self.rejected()[reason], self.result("refused", facet)
        self.assertEqual(after, (before[0] + 2, before[1] + 2))

    def test_there_is_room(self) -> None:
        self.assertIsNone(self.turn_away())
        self.assertEqual((self.rejected(), self.shed.told), ({}, []))
        self.assert_idle()

    def test_a_full_facet(self) -> None:
        self.dispatch()
        self.assert_same("busy")
        self.assertIsNone(self.turn_away("two"))
        self.assertEqual(self.gate().in_use, 1, "it takes no permit")

    def test_a_full_node(self) -> None:
        self.serve(max_calls=1)
        self.dispatch("two")
        self.assert_same("busy_node")

    def test_not_who_may_wait(self) -> None:
        self.serve(queue=1)
        self.dispatch()
        self.assertIsNone(self.turn_away())
        self.dispatch()
        self.assert_same("busy")

    def test_not_where_the_rate_alone_forbids(self) -> None:
        """The call itself takes the token."""
        self.serve(rps=1)
        self.assertIsNone(self.turn_away())
        sink, _ = self.dispatch()
        self.assertIsNone(sink.error)

    def test_rate_before_gate(self) -> None:
        self.serve(rps=1)
        self.dispatch()
        self.assert_same("rate_limited")

    def test_a_node_that_stops(self) -> None:
        self.dispatch("two")
        self.dispatcher.drain()
        self.assert_same("draining")
        self.assert_same("busy", "two")

    def test_a_node_that_is_sick(self) -> None:
        self.dispatcher.shed(Level.WRITES, lambda: 2.0)
        self.assertIsNone(self.turn_away())
        self.dispatcher.shed(Level.ALL, lambda: 2.0)
        self.assert_same("not_ready")
        self.serve(queue=1)
        self.dispatch("two")
        self.dispatcher.shed(Level.NONE, lambda: 2.0)
        self.assertIsNone(self.turn_away())


class NodeTests(AdmissionCase):
    """The node's own gate."""

    LIMIT, QUEUE, MAX_CALLS = 2, 0, 3

    def test_together_or_not_at_all(self) -> None:
        for facet in ("one", "one", "two"):
            self.dispatch(facet)
        sink, _ = self.dispatch("two")
        self.assert_refused(sink, ErrorCode.BUSY, "busy_node")
        self.assertIn("the node is serving 3 calls", str(sink.error))
        self.assertEqual((self.gate("two").in_use, self.dispatcher.serving.calls.in_use), (1, 3))
        sink, _ = self.dispatch("one")
        self.assert_refused(sink, ErrorCode.BUSY, "busy")
        self.assertEqual(self.rejected(), {"busy": 1, "busy_node": 1})

    def test_who_waits_is_served_when_another_facet_s_call_ends(self) -> None:
        self.serve(queue=5)
        for facet in ("one", "one", "two"):
            self.dispatch(facet)
        self.dispatch("two")
        self.assertEqual(self.begun("two"), 1)
        self.answer(0, "one")
        self.assertEqual(self.begun("two"), 2)

    def test_a_smaller_bound(self) -> None:
        for facet in ("one", "one", "two"):
            self.dispatch(facet)
        self.serve(max_calls=1)
        for number, facet in ((0, "one"), (1, "one")):
            self.answer(number, facet)
            self.assertIsNotNone(self.dispatch()[0].error)
        self.answer(0, "two")
        self.assertIsNone(self.dispatch()[0].error)


class RateTests(AdmissionCase):
    """``limits.rps``."""

    LIMIT, MAX_CALLS, RPS = 100, 100, 3

    def admitted(self, **fields: Any) -> int:
        return sum(self.dispatch(**fields)[0].error is None for _ in range(10))

    def test_by_origin(self) -> None:
        self.assertEqual([self.admitted(origin=origin) for origin in ("a", "b", "a")], [3, 3, 0])

    def test_by_token_where_there_is_one(self) -> None:
        """One that was verified: what a caller says of itself keys nothing."""
        self.assertEqual(self.admitted(token_id="0" * 32), 3)
        self.assertEqual(self.admitted(token_id="0" * 32, origin="elsewhere"), 0)
        self.assertEqual(self.admitted(token_id="1" * 32), 3)
        self.assertEqual(self.admitted(capability="x", tenant=b"1" * 16), 3)
        self.assertEqual(self.admitted(capability="y", tenant=b"2" * 16), 0)

    def test_of_all_facets_together(self) -> None:
        self.assertEqual([self.admitted(facet=facet) for facet in ("one", "two")], [3, 0])

    def test_how_it_is_told(self) -> None:
        self.admitted()
        sink, over = self.dispatch()
        self.successResultOf(over)
        self.assert_refused(sink, ErrorCode.RATE_LIMITED, "rate_limited")
        self.assertEqual(sink.error.retry_after_ms, 334)  # type: ignore[union-attr]
        self.assertEqual(self.rejected(), {"rate_limited": 8})
        self.assertEqual(self.gate().in_use, 3)

    def test_before_the_gate(self) -> None:
        """Somebody's calls beyond his rate are no reason to refuse others."""
        self.serve(limit=3)
        self.admitted()
        self.assertEqual(self.rejected(), {"rate_limited": 7})
        sink, _ = self.dispatch(origin="another")
        self.assertIsNone(sink.error, "it waits")

    def test_reload(self) -> None:
        self.admitted()
        self.serve(rps=0, limit=100)
        self.assertEqual(self.admitted(), 10)
        self.serve(limit=100)
        self.assertEqual(self.admitted(), 3)


class BoundBehindTheGatesTests(AdmissionCase):
    """A call for which its owner has no permit is told as a refusal, whatever its gates had."""

    def test_it_is_counted_and_told(self) -> None:
        sink, over = self.dispatch()
        self.handlers["one"].waits[0].errback(full("index"))
        self.successResultOf(over)
        self.assert_refused(sink, ErrorCode.OWNER_UNAVAILABLE, "owner_full")
        self.assertEqual(self.shed.told, [("owner_full", "one")])
        self.assertEqual((self.rejected(), self.result("failed")), ({"owner_full": 1}, 1))
        self.assertEqual(self.gate().in_use, 0)

    def test_another_failure_of_the_owner_is_not(self) -> None:
        _, over = self.dispatch()
        self.handlers["one"].waits[0].errback(unavailable("index", "cannot be reached"))
        self.successResultOf(over)
        self.assertEqual((self.rejected(), self.shed.told), ({}, []))
