"""What is repeated outlives its defects, on a clock."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.observability.repeating import Repeater


class RepeaterTests(SynchronousTestCase):
    """Repeater, every two seconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.acts = 0
        self.error: Exception | None = None
        self.waits: Deferred[None] | None = None
        self.crashed: list[tuple[str, str]] = []
        self.repeater = Repeater("part", 2.0, self.act, self.clock, lambda *crash: self.crashed.append(crash))

    def act(self) -> Deferred[None] | None:
        self.acts += 1
        if self.error is not None:
            raise self.error
        return self.waits

    def test_at_once_and_again(self) -> None:
        self.repeater.startService()
        self.clock.pump([2.0, 2.0])
        self.assertEqual((self.acts, self.crashed), (3, []))

    def test_a_defect_is_told_and_survived(self) -> None:
        self.error = ZeroDivisionError("by nought")
        with capturedLogs() as events:
            self.repeater.startService()
        self.assertEqual(self.crashed, [("part", "ZeroDivisionError: by nought")])
        self.assertEqual(
            [(event["log_format"], event["part"]) for event in events], [("service_crashed", "part")]
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.error = None
        self.clock.advance(2.0)
        self.clock.advance(2.0)
        self.assertEqual((self.acts, len(self.crashed)), (3, 1))

    def test_a_defect_that_comes_later(self) -> None:
        self.waits = Deferred()
        self.repeater.startService()
        self.clock.advance(5.0)
        self.assertEqual(self.acts, 1, "never twice at a time")
        waits, self.waits = self.waits, None
        waits.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(2.0)
        self.assertEqual((self.acts, len(self.crashed)), (2, 1))

    def test_who_is_told_may_have_a_defect_too(self) -> None:
        def crashed(name: str, reason: str) -> None:
            raise KeyError(name)

        self.error = ZeroDivisionError()
        repeater = Repeater("part", 2.0, self.act, self.clock, crashed)
        repeater.startService()
        self.clock.advance(2.0)
        self.assertEqual(self.acts, 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_nobody_need_be_told(self) -> None:
        self.error = ZeroDivisionError()
        repeater = Repeater("part", 2.0, self.act, self.clock)
        repeater.startService()
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        repeater.stopService()

    def test_a_stop_takes_back_what_is_under_way(self) -> None:
        cancelled: list[object] = []
        self.waits = Deferred(cancelled.append)
        self.repeater.startService()
        self.repeater.stopService()
        self.assertEqual((len(cancelled), self.crashed), (1, []))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cancellation_that_nobody_asked_for_is_a_defect(self) -> None:
        self.error = CancelledError()
        self.repeater.startService()
        self.assertEqual((len(self.flushLoggedErrors(CancelledError)), len(self.crashed)), (1, 1))

    def test_started_again(self) -> None:
        self.repeater.startService()
        self.repeater.stopService()
        self.repeater.stopService()
        self.repeater.startService()
        self.clock.advance(2.0)
        self.assertEqual(self.acts, 3)
