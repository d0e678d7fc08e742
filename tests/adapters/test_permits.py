"""micronode.adapters.permits: who gets one, in which order, and who has waited too long."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.permits import NoPermitError, Permits


class PermitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.permits = Permits(self.clock, 2, 2)

    def full(self) -> None:
        self.assertTrue(self.permits.try_acquire())
        self.assertTrue(self.permits.try_acquire())

    def test_without_a_queue(self) -> None:
        self.permits.resize(2)
        self.full()
        self.assertFalse(self.permits.try_acquire())
        self.failureResultOf(self.permits.wait_for(1.0), NoPermitError)
        self.permits.release()
        self.assertTrue(self.permits.try_acquire())
        self.assertEqual(self.permits.in_use, 2)

    def test_without_time(self) -> None:
        self.full()
        for wait_s in (0.0, -1.0):
            self.failureResultOf(self.permits.wait_for(wait_s), NoPermitError)
        self.assertEqual((self.permits.waiting, self.clock.getDelayedCalls()), (0, []))

    def test_first_come_first_served(self) -> None:
        self.full()
        first, second = self.permits.wait_for(1.0), self.permits.wait_for(1.0)
        self.failureResultOf(self.permits.wait_for(1.0), NoPermitError)
        self.permits.release()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.assertEqual((self.permits.in_use, self.permits.waiting), (2, 1))
        self.permits.release()
        self.successResultOf(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_steps_in_between(self) -> None:
        self.full()
        waiting = self.permits.wait_for(1.0)
        self.permits.resize(2, 2)
        self.assertFalse(self.permits.try_acquire())
        self.permits.release()
        self.assertFalse(self.permits.try_acquire())
        self.successResultOf(waiting)

    def test_time_is_over(self) -> None:
        self.full()
        short, long = self.permits.wait_for(1.0), self.permits.wait_for(2.0)
        self.clock.advance(1.0)
        self.failureResultOf(short, NoPermitError)
        self.permits.release()
        self.successResultOf(long)
        self.clock.advance(5.0)
        self.assertEqual(self.permits.in_use, 2)

    def test_cancelled(self) -> None:
        self.full()
        gone, stays = self.permits.wait_for(1.0), self.permits.wait_for(1.0)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertEqual(self.permits.waiting, 1)
        self.permits.release()
        self.successResultOf(stays)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_resized(self) -> None:
        self.full()
        waiting = [self.permits.wait_for(1.0), self.permits.wait_for(1.0)]
        self.permits.resize(1, 2)
        self.permits.release()
        for each in waiting:
            self.assertNoResult(each)
        self.permits.resize(3, 2)
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual((self.permits.in_use, self.permits.waiting), (3, 0))

    def test_one_who_gives_it_back_at_once(self) -> None:
        """The next gets it, once."""
        self.permits.resize(1, 2)
        self.assertTrue(self.permits.try_acquire())
        waiting: list[Deferred[None]] = [
            self.permits.wait_for(1.0).addCallback(lambda _: self.permits.release())
        ]
        waiting.append(self.permits.wait_for(1.0))
        self.permits.release()
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(self.permits.in_use, 1)

    def test_released_twice(self) -> None:
        self.assertRaises(RuntimeError, self.permits.release)

    def test_many_that_end_at_once(self) -> None:
        """As calls do while a breaker is open: however many wait, the stack stays as it is."""
        self.permits = Permits(self.clock, 1, 5000)
        self.assertTrue(self.permits.try_acquire())
        waiting = [self.permits.wait_for(1.0) for _ in range(5000)]
        for each in waiting:
            each.addCallback(lambda _: self.permits.release())
        self.permits.release()
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual((self.permits.in_use, self.permits.waiting), (0, 0))
