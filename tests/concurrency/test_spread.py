"""Taking many, one after the other, over a time."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.spread import Spread


class SpreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.left = 0
        #: When each was taken.
        self.taken: list[float] = []

    def spread(self, chance: float | None = 0.5) -> Spread:
        def take(count: int) -> None:
            self.left -= count
            self.taken += [self.clock.seconds()] * count

        draw = random.Random(1).random if chance is None else lambda: chance
        return Spread(self.clock, left=lambda: self.left, take=take, chance=draw)

    def run_for(self, seconds: float, step_s: float = 0.005) -> None:
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)

    def test_takes_each_in_its_share_of_the_time(self) -> None:
        self.left = 4
        self.spread().begin(10)
        self.run_for(10.1)
        self.assertEqual([round(each) for each in self.taken], [2, 4, 6, 8])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_is_jittered(self) -> None:
        self.left = 20
        self.spread(None).begin(10)
        self.run_for(10.1)
        gaps = {round(after - before, 2) for before, after in zip(self.taken, self.taken[1:], strict=False)}
        self.assertGreater(len(gaps), 10)
        self.assertGreater(len(self.taken), 15)

    def test_many_are_taken_several_at_a_time(self) -> None:
        self.left = 5000
        self.spread().begin(1)
        self.run_for(1.1)
        self.assertGreater(len(self.taken), 4800)
        halves = sum(at <= 0.5 for at in self.taken)
        self.assertTrue(2000 < halves < 3000, halves)
        self.assertLess(len(set(self.taken)), 150, "as many steps, not as many timers as there are")

    def test_who_joins_is_taken_too(self) -> None:
        spread = self.spread()
        spread.begin(10)
        self.run_for(5)
        self.assertEqual(self.taken, [])
        self.left = 1
        self.run_for(5)
        self.assertEqual(len(self.taken), 1)

    def test_the_end_takes_the_rest_at_once(self) -> None:
        self.left = 3
        spread = self.spread()
        spread.begin(100)
        spread.end()
        self.assertEqual(self.taken, [0.0] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_time_is_left_to_the_end(self) -> None:
        self.left = 3
        spread = self.spread()
        spread.begin(0)
        self.assertEqual((self.taken, self.clock.getDelayedCalls()), ([], []))
        spread.end()
        self.assertEqual(len(self.taken), 3)
