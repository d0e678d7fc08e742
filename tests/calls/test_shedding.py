"""What the dispatcher refuses while the node is sick: writes, then everything, behind the gate."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from micronode.calls.call import Call, Reply
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import Access, Operation
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.measure import Level
from micronode.errors import ErrorCode
from tests.calls.test_dispatcher import DispatcherCase, StubHandler, make_operation
from tests.support.sinks import MemorySink


class WaitingHandler(StubHandler):
    """Lets each call wait for an answer of its own, which does not come."""

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        reply: Reply = await Deferred()
        return reply


class SheddingTests(DispatcherCase):
    def setUp(self) -> None:
        super().setUp()
        self.handler = WaitingHandler()
        self.operation = make_operation(self.handler)
        self.dispatcher = self.make_dispatcher(self.operation)

    def make_dispatcher(self, *operations: Operation, **more: Any) -> Dispatcher:
        (read,) = operations
        self.write = attrs.evolve(read, name="echo.store", op="store", path="/w", access=Access.WRITE)
        return super().make_dispatcher(read, self.write, **more)

    def shed(self, level: Level) -> None:
        self.dispatcher.shed(level, lambda: 2.5)

    def asked(self, operation: Operation) -> MemorySink:
        sink = MemorySink()
        # One that nobody ends would be closed by the garbage collector, and give its place to the next.
        self.addCleanup(self.dispatch(sink, operation=operation).cancel)
        return sink

    def test_writes(self) -> None:
        self.shed(Level.WRITES)
        read, write = self.asked(self.operation), self.asked(self.write)
        error = self.assert_failed(write, ErrorCode.NOT_READY)
        self.assertEqual(error.retry_after_ms, 2500)
        self.assert_untouched(read)
        self.assertEqual((self.gate.in_use, len(self.handler.calls)), (1, 1))
        self.assertEqual(self.counted("rejected_total", reason="not_ready"), 1)

    def test_everything(self) -> None:
        self.shed(Level.ALL)
        for operation in (self.operation, self.write):
            self.assert_failed(self.asked(operation), ErrorCode.NOT_READY)
        self.assertEqual((self.gate.in_use, self.handler.calls), (0, []))

    def test_what_was_admitted_goes_on(self) -> None:
        sink = self.asked(self.write)
        self.shed(Level.ALL)
        self.assert_untouched(sink)
        self.assertEqual(self.gate.in_use, 1)

    def test_well_again(self) -> None:
        self.shed(Level.ALL)
        self.shed(Level.NONE)
        for operation in (self.operation, self.write):
            self.assert_untouched(self.asked(operation))

    def test_a_full_gate_is_told_first(self) -> None:
        for _ in range(self.LIMIT):
            self.asked(self.operation)
        self.shed(Level.ALL)
        self.assert_failed(self.asked(self.operation), ErrorCode.BUSY)

    def test_nobody_waits_for_a_turn_to_be_refused(self) -> None:
        self.gate = Gate(self.LIMIT, queue=5)
        self.dispatcher = self.make_dispatcher(self.operation)
        for _ in range(self.LIMIT):
            self.asked(self.operation)
        self.shed(Level.WRITES)
        self.assert_failed(self.asked(self.write), ErrorCode.BUSY)
        self.assert_untouched(self.asked(self.operation))

    def test_a_drain_is_told_first(self) -> None:
        self.shed(Level.ALL)
        self.dispatcher.drain()
        self.assert_failed(self.asked(self.operation), ErrorCode.DRAINING)
