"""A slope, and how sure it is."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.slope import slope


class SlopeTests(SynchronousTestCase):
    def test_a_line(self) -> None:
        """It has the slope it has, for sure."""
        found = slope([0, 1, 2, 3], [5, 7, 9, 11])
        self.assertAlmostEqual(found.each, 2)
        self.assertAlmostEqual(found.within, 0)

    def test_how_sure_it_is(self) -> None:
        """The true slope is within what is said for 95 of 100 noisy lines, of few samples and of many."""
        made = random.Random(1)
        for count in (7, 40):
            hits = 0
            for _ in range(2_000):
                found = slope(range(count), [3 * x + made.gauss(0, 5) for x in range(count)])
                hits += abs(found.each - 3) <= found.within
            self.assertApproximates(hits / 2_000, 0.95, 0.02)
