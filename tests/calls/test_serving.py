"""What is served may change under load; permits do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import Call, Ingress, Reply
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import Operation
from micronode.calls.serving import Serving
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode
from micronode.facets.hosted import FacetSettings, Served
from micronode.observability.metrics import Metrics
from tests.calls.test_dispatcher import HEAD, make_operation
from tests.support.sinks import MemorySink


class WaitingHandler:
    """Each call waits for a Deferred of its own, in :attr:`waits`; :attr:`calls` has them as they came."""

    def __init__(self) -> None:
        self.waits: list[Deferred[Reply]] = []
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        self.waits.append(Deferred())
        return await self.waits[-1]


class ServingCase(SynchronousTestCase):
    """A dispatcher that serves ``echo``, then what the test says."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics(facets=["echo"], owners=[], states=[], build={"version": "0"})
        self.dispatcher = Dispatcher(
            OperationTable(()), gates={}, timeouts={}, clock=self.clock, metrics=self.metrics
        )
        self.handler = WaitingHandler()
        self.operation = make_operation(self.handler)

    def serve(self, limit: int = 2, *, timeout: float = 5.0, subscriptions: int = 3) -> None:
        settings = FacetSettings(limit=limit, timeout=timeout, subscriptions=subscriptions)
        self.take({"echo": Served(settings, (self.operation,))})

    def take(self, served: Mapping[str, Served]) -> None:
        self.dispatcher.serve(Serving.of(served, self.dispatcher.serving))

    def dispatch(self, operation: Operation | None = None) -> MemorySink:
        sink = MemorySink()
        call = Call(operation=operation or self.operation, args={}, ingress=Ingress.HTTP, request_id="r-1")
        self.dispatcher.dispatch(call, sink)
        return sink

    def codes(self, *sinks: MemorySink) -> list[Any]:
        return [sink.error.code if sink.error is not None else None for sink in sinks]

    def answer(self, number: int) -> None:
        """Let one of the calls that were handled end well."""
        self.handler.waits[number].callback(Reply(head=HEAD))


class ResizeTests(ServingCase):
    """Gates under load."""

    def test_grown(self) -> None:
        self.serve(1)
        first, refused = self.dispatch(), self.dispatch()
        self.serve(2)
        second, third = self.dispatch(), self.dispatch()
        self.assertEqual(
            self.codes(first, refused, second, third), [None, ErrorCode.BUSY, None, ErrorCode.BUSY]
        )

    def test_shrunk_it_refuses_until_it_is_below(self) -> None:
        self.serve(3)
        for _ in range(3):
            self.dispatch()
        self.serve(2)
        self.assertEqual(self.codes(self.dispatch()), [ErrorCode.BUSY])
        self.answer(0)
        self.assertEqual(self.codes(self.dispatch()), [ErrorCode.BUSY], "two of two are out")
        self.answer(1)
        self.assertEqual(self.codes(self.dispatch(), self.dispatch()), [None, ErrorCode.BUSY])

    def test_switched_off_and_on_again_it_has_the_same_gate(self) -> None:
        """Calls of before count on: there are never two generations that let in twice as many."""
        self.serve(2)
        before = [self.dispatch(), self.dispatch()]
        gate = self.dispatcher.serving.bounds["echo"].gate
        self.take({})
        self.serve(2)
        self.assertIs(self.dispatcher.serving.bounds["echo"].gate, gate)
        self.assertEqual(self.codes(self.dispatch()), [ErrorCode.BUSY])
        self.answer(0)
        self.answer(1)
        self.assertEqual([sink.outcome for sink in before], ["finished", "finished"])
        self.assertEqual(gate.in_use, 0)

    def test_switched_off_while_a_call_runs(self) -> None:
        self.serve(2)
        sink = self.dispatch()
        self.take({})
        self.assertEqual(list(self.dispatcher.table), [])
        self.assertEqual(self.dispatcher.active, 1)
        self.answer(0)
        self.assertEqual(sink.outcome, "finished")
        self.assertEqual(self.dispatcher.active, 0)

    def test_a_call_whose_head_was_read_before_is_served_yet(self) -> None:
        self.serve(1)
        self.take({})
        sink = self.dispatch()
        self.assertEqual(len(self.handler.waits), 1)
        self.answer(0)
        self.assertEqual(sink.outcome, "finished")

    def test_nothing_changes_before_it_is_served(self) -> None:
        self.serve(2)
        before = self.dispatcher.serving
        settings = FacetSettings(limit=1, timeout=1.0, subscriptions=1)
        Serving.of({"echo": Served(settings, (self.operation,))}, before)
        bound = self.dispatcher.serving.bounds["echo"]
        self.assertEqual((bound.gate.limit, bound.slots.limit, bound.timeout_s), (2, 3, 5.0))

    def test_slots_are_resized_too(self) -> None:
        self.serve(subscriptions=3)
        slots = self.dispatcher.serving.bounds["echo"].slots
        self.serve(subscriptions=7)
        self.assertIs(self.dispatcher.serving.bounds["echo"].slots, slots)
        self.assertEqual(slots.limit, 7)


class OtherTests(ServingCase):
    """Timeouts and tables."""

    def test_a_call_keeps_its_timeout(self) -> None:
        self.serve(timeout=5.0)
        before = self.dispatch()
        self.serve(timeout=1.0)
        after = self.dispatch()
        self.clock.advance(1.0)
        self.assertEqual(self.codes(before, after), [None, ErrorCode.OWNER_TIMEOUT])
        self.clock.advance(4.0)
        self.assertEqual(self.codes(before), [ErrorCode.OWNER_TIMEOUT])

    def test_a_table_that_cannot_be(self) -> None:
        self.serve()
        served = Served(FacetSettings(), (self.operation, self.operation))
        self.assertRaises(ValueError, Serving.of, {"echo": served}, self.dispatcher.serving)

    def test_bounds(self) -> None:
        settings = FacetSettings(limit=1, timeout=0.5, subscriptions=2)
        self.take({"echo": Served(settings, (self.operation,))})
        bound = self.dispatcher.serving.bounds["echo"]
        self.assertEqual((bound.gate.limit, bound.slots.limit, bound.timeout_s), (1, 2, 0.5))
