"""Policy at the dispatcher: behind gate and drain, before the facet; and nothing of it is left behind."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.calls.call import Call, Reply
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.serving import Serving
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IPolicy
from tests.calls.test_dispatcher import HEAD, TIMEOUT_S, DispatcherCase
from tests.calls.test_subscriptions import SubscriptionCase
from tests.contracts.policy import PolicyContract
from tests.support.sinks import MemoryEventSink, MemorySink

FORBIDDEN = NodeError(ErrorCode.FORBIDDEN, "policy rule 'x' forbids this", source="policy")


@implementer(IPolicy)
class StubPolicy:
    """Says of each call what the test says: goes on where *error* is None; later, where it *waits*."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.error: NodeError | None = None
        self.waits = False
        self.judged: list[Deferred[Call]] = []
        self.cancelled = 0
        self.changes: dict[str, Any] = {}

    def admit(self, call: Call) -> Call | Deferred[Call]:
        """See IPolicy."""
        self.calls.append(call)
        if self.waits:
            self.judged.append(Deferred(self._cancel))
            return self.judged[-1]
        if self.error is not None:
            raise self.error
        return attrs.evolve(call, **self.changes) if self.changes else call

    def _cancel(self, _: Deferred[Call]) -> None:
        self.cancelled += 1


class PolicyCase(DispatcherCase):
    def setUp(self) -> None:
        super().setUp()
        self.policy = StubPolicy()
        self.dispatcher = self.make_dispatcher(self.operation, policy=self.policy)


class JudgedTests(PolicyCase):
    def test_interface(self) -> None:
        verifyObject(IPolicy, self.policy)

    def test_nobody_is_asked_without_one(self) -> None:
        self.dispatcher = self.make_dispatcher(self.operation)
        self.dispatch(MemorySink())
        self.assertEqual((len(self.policy.calls), len(self.handler.calls)), (0, 1))

    def test_a_call_that_goes_on(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.assertEqual(self.handler.calls, self.policy.calls)
        self.handler.answer.callback(Reply(head=HEAD))
        self.successResultOf(over)
        self.assertEqual(len(self.policy.calls), 1)
        self.assert_over("ok")

    def test_the_facet_gets_what_the_policy_made_of_it(self) -> None:
        self.policy.changes = {"peer": "changed"}
        self.dispatch(MemorySink())
        self.assertEqual([call.peer for call in self.handler.calls], ["changed"])

    def test_a_call_that_does_not(self) -> None:
        self.policy.error = FORBIDDEN
        sink = MemorySink()
        self.successResultOf(self.dispatch(sink))
        self.assertIs(self.assert_failed(sink, ErrorCode.FORBIDDEN), FORBIDDEN)
        self.assertEqual(self.handler.calls, [])
        self.assert_over("refused")

    def test_gate_and_drain_come_first(self) -> None:
        self.dispatcher.drain()
        self.dispatch(MemorySink())
        self.gate.limit = 0
        self.dispatch(MemorySink())
        self.assertEqual(self.policy.calls, [])


class WaitingTests(PolicyCase):
    """While the policy finds out."""

    def setUp(self) -> None:
        super().setUp()
        self.policy.waits = True

    def test_the_permit_is_held(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.assertEqual((self.gate.in_use, self.handler.calls), (1, []))
        self.policy.judged[0].callback(self.policy.calls[0])
        self.assertEqual(len(self.handler.calls), 1)
        self.handler.answer.callback(Reply(head=HEAD))
        self.successResultOf(over)
        self.assert_over("ok")

    def test_refused(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.policy.judged[0].errback(FORBIDDEN)
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.FORBIDDEN)
        self.assertEqual(self.handler.calls, [])
        self.assert_over("refused")

    def test_the_caller_goes(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        over.cancel()
        self.successResultOf(over)
        self.assertEqual((self.policy.cancelled, self.handler.calls), (1, []))
        self.assert_untouched(sink)
        self.assert_over("cancelled")

    def test_deadlines(self) -> None:
        for fields, after_s in (({"deadline_s": 0.1}, 0.1), ({}, TIMEOUT_S)):
            self.setUp()
            sink = MemorySink()
            over = self.dispatch(sink, **fields)
            self.clock.advance(after_s)
            self.successResultOf(over)
            self.assert_failed(sink, ErrorCode.OWNER_TIMEOUT)
            self.assertEqual((self.policy.cancelled, self.handler.calls), (1, []))
            self.assert_over("failed")

    def test_the_node_drains(self) -> None:
        """A call that was admitted goes on."""
        self.dispatch(MemorySink())
        self.dispatcher.drain()
        self.policy.judged[0].callback(self.policy.calls[0])
        self.assertEqual(len(self.handler.calls), 1)

    def test_a_defect(self) -> None:
        sink = MemorySink()
        over = self.dispatch(sink)
        self.policy.judged[0].errback(ZeroDivisionError())
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_over("failed")


class SubscriptionTests(SubscriptionCase):
    """They are judged when they begin, like any call."""

    def setUp(self) -> None:
        super().setUp()
        self.policy = StubPolicy()
        self.dispatcher = Dispatcher(
            OperationTable((self.operation, self.subscribe)),
            gates={"echo": self.gate},
            slots={"echo": self.slots},
            timeouts={"echo": TIMEOUT_S},
            clock=self.clock,
            metrics=self.metrics,
            policy=self.policy,
        )

    def test_refused(self) -> None:
        self.policy.error = FORBIDDEN
        sink = MemoryEventSink()
        self.successResultOf(self.dispatch(sink, operation=self.subscribe))
        self.assert_failed(sink, ErrorCode.FORBIDDEN)
        self.assertEqual((self.topics.calls, self.slots.in_use), ([], 0))

    def test_the_node_drains_while_it_waits(self) -> None:
        self.policy.waits = True
        sink = MemoryEventSink()
        over = self.dispatch(sink, operation=self.subscribe)
        self.assertEqual(self.slots.in_use, 1)
        self.dispatcher.drain()
        self.successResultOf(over)
        self.assert_failed(sink, ErrorCode.DRAINING)
        self.assertEqual((self.policy.cancelled, self.slots.in_use, self.topics.calls), (1, 0, []))
        self.flushLoggedErrors(CancelledError)


class ReloadTests(PolicyCase):
    def serve(self, policy: IPolicy | None) -> None:
        before = self.dispatcher.serving
        self.dispatcher.serve(Serving(table=before.table, bounds=before.bounds, policy=policy))

    def test_it_counts_from_the_next_call_on(self) -> None:
        self.policy.waits = True
        self.dispatch(MemorySink())
        self.serve(None)
        self.dispatch(MemorySink())
        self.assertEqual((len(self.policy.calls), len(self.handler.calls)), (1, 1))
        self.policy.judged[0].errback(FORBIDDEN)
        self.assertEqual(len(self.handler.calls), 1, "it is judged by whom it asked")
        self.serve(self.policy)
        self.dispatch(MemorySink())
        self.assertEqual(len(self.policy.calls), 2)


class StubPolicyTests(PolicyContract, SynchronousTestCase):
    def make_policy(self) -> StubPolicy:
        self.policy = StubPolicy()
        return self.policy

    def say(self, allowed: bool | None) -> None:
        self.policy.waits = allowed is None
        self.policy.error = FORBIDDEN if allowed is False else None

    def idle(self) -> bool:
        return self.policy.cancelled == len(self.policy.judged)
