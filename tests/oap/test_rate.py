"""So many times in so many seconds."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.rate import Rate


class RateTests(SynchronousTestCase):
    def test_any_period_has_so_many(self) -> None:
        clock = Clock()
        rate = Rate(clock, 2, 1.0)
        self.assertEqual([rate.allows() for _ in range(3)], [True, True, False])
        clock.advance(0.5)
        self.assertFalse(rate.allows())
        clock.advance(0.5)
        self.assertEqual([rate.allows() for _ in range(3)], [True, True, False])
