"""micronode.adapters.budget: how many retries so many calls pay for."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.budget import RESERVE, WINDOW_S, RetryBudget


class RetryBudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = RetryBudget(self.clock.seconds)

    def calls(self, count: int) -> None:
        for _ in range(count):
            self.budget.call()

    def taken(self) -> int:
        """Take all there are, and return how many."""
        count = 0
        while self.budget.take():
            count += 1
            self.assertLess(count, 10_000)
        return count

    def test_share_of_the_calls_and_a_few(self) -> None:
        for calls, retries in ((0, 3), (1, 3), (4, 3), (5, 4), (9, 4), (10, 5), (100, 23), (1000, 203)):
            self.setUp()
            self.calls(calls)
            self.assertEqual(self.taken(), retries, calls)

    def test_calls_pay_as_they_come(self) -> None:
        self.taken()
        paid = []
        for _ in range(15):
            self.calls(1)
            paid.append(self.taken())
        self.assertEqual(paid, [0, 0, 0, 0, 1] * 3)

    def test_calls_and_retries_are_forgotten(self) -> None:
        self.calls(100)
        self.assertEqual(self.taken(), 20 + RESERVE)
        self.clock.advance(WINDOW_S / 2)
        self.assertEqual(self.taken(), 0)
        self.clock.advance(WINDOW_S / 2)
        self.assertEqual(self.taken(), RESERVE)

    def test_nothing_is_saved_up(self) -> None:
        for _ in range(100):
            self.calls(10)
            self.clock.advance(1.0)
        self.assertLessEqual(self.taken(), 20 + RESERVE)
