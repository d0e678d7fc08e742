"""micronode.adapters.retries: how often, after how long, and what a Retry-After says."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.budget import RESERVE, RetryBudget
from micronode.adapters.retries import FIRST_S, MOST, Retries, read_retry_after
from micronode.adapters.timeleft import TimeLeft


class RetriesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = RetryBudget(self.clock.seconds)

    def retries(self, *, seed: int = 1, left_s: float = 5.0) -> Retries:
        time_left = TimeLeft(self.clock, left_s, None, None)
        return Retries(self.budget, time_left, Random(seed), lambda: None)

    def test_so_many_and_no_more(self) -> None:
        retries = self.retries()
        delays = [retries.take(0.0) for _ in range(MOST + 2)]
        self.assertEqual([delay is not None for delay in delays], [True] * MOST + [False] * 2)

    def test_delays_grow_and_differ(self) -> None:
        seen = set()
        for seed in range(50):
            self.setUp()
            retries = self.retries(seed=seed)
            for made in range(MOST):
                delay = retries.take(0.0)
                assert delay is not None
                self.assertTrue(FIRST_S * 2**made <= delay <= 2 * FIRST_S * 2**made, delay)
                seen.add(delay)
        self.assertEqual(len(seen), 50 * MOST)

    def test_without_a_pause(self) -> None:
        self.assertEqual(self.retries().take(None), 0.0)

    def test_rest_is_kept(self) -> None:
        for seed in range(50):
            self.setUp()
            delay = self.retries(seed=seed).take(1.0)
            assert delay is not None
            self.assertTrue(1.0 <= delay <= 2.0)

    def test_none_that_would_be_too_late(self) -> None:
        for left_s, rest_s in ((0.0, None), (0.02, 0.0), (0.9, 1.0), (5.0, 5.0)):
            self.assertIsNone(self.retries(left_s=left_s).take(rest_s), (left_s, rest_s))
        # None of them was paid for.
        for _ in range(RESERVE):
            self.assertIsNotNone(self.retries().take(0.0))

    def test_none_beyond_the_budget(self) -> None:
        taken = [self.retries().take(0.0) for _ in range(RESERVE + 1)]
        self.assertEqual([delay is not None for delay in taken], [True] * RESERVE + [False])


class ReadRetryAfterTests(SynchronousTestCase):
    def test_values(self) -> None:
        for text, seconds in (
            (None, 0.0),
            ("0", 0.0),
            ("1", 1.0),
            (" 120 ", 120.0),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("\u0661", None),
            ("9" * 10, None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ):
            self.assertEqual(read_retry_after(text), seconds, text)
