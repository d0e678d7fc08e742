"""Deadlines that are moved, held and stopped."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.timers import Deadline


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.deadline = Deadline(self.clock, 10.0, lambda: self.expired.append(self.clock.seconds()))

    def test_expires_once(self) -> None:
        self.deadline.start()
        self.assertTrue(self.deadline.running)
        self.clock.pump([1] * 30)
        self.assertEqual(self.expired, [10])
        self.assertFalse(self.deadline.running)

    def test_moving_it_sets_no_timer(self) -> None:
        self.deadline.start()
        for _ in range(100):
            self.clock.advance(0.09)
            self.deadline.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1] * 9)
        self.assertEqual(self.expired, [])
        self.clock.advance(1)
        self.assertEqual(len(self.expired), 1)

    def test_stopped_it_says_nothing_and_starts_anew(self) -> None:
        self.deadline.start()
        self.clock.advance(6)
        self.deadline.stop()
        self.clock.advance(6)
        self.assertEqual(self.expired, [])
        self.deadline.start()
        self.clock.pump([1] * 10)
        self.assertEqual(self.expired, [22])

    def test_held_it_stands_still(self) -> None:
        self.deadline.start()
        self.clock.advance(6)
        self.deadline.hold()
        self.assertTrue(self.deadline.running)
        self.clock.advance(100)
        self.deadline.release()
        self.clock.advance(3.9)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.expired), 1)

    def test_short_hold_does_not_make_it_late(self) -> None:
        self.deadline.start()
        self.clock.advance(9)
        self.deadline.start()
        self.clock.advance(2)
        # The timer has been set to the moment the second start means: 19.
        self.deadline.hold()
        self.deadline.release()
        self.clock.advance(8)
        self.assertEqual(self.expired, [19])

    def test_restarted_while_held(self) -> None:
        self.deadline.start()
        self.deadline.hold()
        self.deadline.start()
        self.deadline.release()
        self.clock.advance(10)
        self.assertEqual(self.expired, [10])

    def test_released_without_a_hold(self) -> None:
        self.deadline.release()
        self.deadline.hold()
        self.deadline.release()
        self.assertFalse(self.deadline.running)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_it_leaves_nothing(self) -> None:
        self.deadline.start()
        self.deadline.close()
        self.deadline.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.deadline.running)
