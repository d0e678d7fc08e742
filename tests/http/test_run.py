"""Tests for :mod:`micronode.http.run`: whatever a handler does, its request is answered once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import Call, ResponseHead
from micronode.errors import ErrorCode, NodeError
from tests.http.support import Connection, Plane, StubDispatcher, get


class DefectTests(SynchronousTestCase):
    """Handlers that break their promises."""

    def run_with(self, dispatch: Any) -> Connection:
        dispatcher = StubDispatcher()
        dispatcher.dispatch = dispatch  # type: ignore[method-assign]
        return Plane(dispatcher).connect().send(get())

    def assert_internal(self, connection: Connection) -> None:
        answer = connection.answer()
        self.assertEqual((answer.status, answer.json["code"]), (500, "internal"))
        self.assertNotIn("secret", answer.body.decode())
        self.assertFalse(connection.closing)

    def test_raises(self) -> None:
        def dispatch(call: Call, sink: Any) -> Any:
            raise ZeroDivisionError("secret")

        self.assert_internal(self.run_with(dispatch))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_fails(self) -> None:
        self.assert_internal(self.run_with(lambda call, sink: fail(ZeroDivisionError("secret"))))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_ends_without_an_answer(self) -> None:
        self.assert_internal(self.run_with(lambda call, sink: succeed(None)))

    def test_judging_the_head_raises(self) -> None:
        plane = Plane()

        def admit(request: Any) -> None:
            raise ZeroDivisionError("secret")

        self.patch(plane.site.routes, "admit", admit)
        self.assert_internal(plane.connect().send(get()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_returns_nothing(self) -> None:
        self.assert_internal(self.run_with(lambda call, sink: None))

    def test_ends_in_the_middle_of_the_answer(self) -> None:
        def dispatch(call: Call, sink: Any) -> Deferred[None]:
            sink.start(ResponseHead(length=10))
            return succeed(None)

        self.assertTrue(self.run_with(dispatch).aborted)

    def test_fails_in_the_middle_of_the_answer(self) -> None:
        """The call is over before the connection is lost that it cuts."""

        def dispatch(call: Call, sink: Any) -> Deferred[None]:
            sink.start(ResponseHead(length=10))
            sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "it stalled"))
            return succeed(None)

        connection = self.run_with(dispatch)
        self.assertTrue(connection.aborted)
        connection.lose()
        self.assertEqual([line["reason"] for line in connection.plane.log], ["owner_timeout"])

    def test_fails_after_a_whole_answer(self) -> None:
        def dispatch(call: Call, sink: Any) -> Deferred[None]:
            sink.start(ResponseHead(length=0))
            sink.finish()
            return fail(ZeroDivisionError())

        self.assertEqual(self.run_with(dispatch).answer().status, 200)


class CancelTests(SynchronousTestCase):
    """Callers that go."""

    def test_caller_gone_cancels_the_call(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(get())
        connection.lose()
        self.assertEqual(dispatcher.cancelled, dispatcher.calls)
        self.assertEqual((plane.log[0]["status"], plane.log[0]["reason"]), (499, "cancelled"))
        self.assertEqual(plane.clock.getDelayedCalls(), [])

    def test_failure_of_a_cancelled_call_is_nobodys_business(self) -> None:
        dispatcher = StubDispatcher()
        dispatcher.dispatch = lambda call, sink: Deferred()  # type: ignore[method-assign]
        connection = Plane(dispatcher).connect().send(get())
        connection.lose()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_caller_gone_while_the_handler_is_called(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect()
        stock = dispatcher.dispatch

        def dispatch(call: Call, sink: Any) -> Deferred[None]:
            connection.lose()
            return stock(call, sink)

        dispatcher.dispatch = dispatch  # type: ignore[method-assign]
        connection.send(get())
        self.assertEqual(dispatcher.cancelled, dispatcher.calls)
        self.assertEqual(len(dispatcher.calls), 1)

    def test_answered_call_is_not_cancelled(self) -> None:
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect().send(get())
        sink = dispatcher.sinks[0]
        sink.start(ResponseHead(length=0))
        sink.finish()
        connection.lose()
        self.assertEqual(dispatcher.cancelled, [])
