"""Tests for :mod:`micronode.concurrency.timer`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.timer import LazyTimer


class LazyTimerTests(SynchronousTestCase):
    """Deadlines that move."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fired: list[float] = []
        self.timer = LazyTimer(self.clock, lambda: self.fired.append(self.clock.seconds()))

    def test_fires_once_at_the_deadline(self) -> None:
        self.timer.expect(5.0)
        self.clock.advance(4.5)
        self.assertEqual(self.fired, [])
        self.clock.advance(0.5)
        self.clock.advance(100)
        self.assertEqual(self.fired, [5.0])

    def test_later_deadline_reuses_the_call(self) -> None:
        self.timer.expect(5.0)
        (call,) = self.clock.getDelayedCalls()
        self.timer.expect(75.0)
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.clock.advance(5.0)
        self.assertEqual(self.fired, [])
        self.clock.advance(70.0)
        self.assertEqual(self.fired, [75.0])

    def test_earlier_deadline_counts(self) -> None:
        self.timer.expect(75.0)
        self.timer.expect(5.0)
        self.clock.advance(5.0)
        self.assertEqual(self.fired, [5.0])

    def test_no_deadline(self) -> None:
        self.timer.expect(5.0)
        self.timer.expect(None)
        self.clock.advance(100)
        self.assertEqual(self.fired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deadline_in_the_past_fires_at_once(self) -> None:
        self.clock.advance(10)
        self.timer.expect(5.0)
        self.clock.advance(0)
        self.assertEqual(self.fired, [10.0])

    def test_close_leaves_nothing(self) -> None:
        self.timer.expect(5.0)
        self.timer.close()
        self.timer.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
