"""Buckets: a second's worth at once, then at their rate; remembered in bounds, and reset by nobody."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.rates import Rates


class RatesCase(SynchronousTestCase):
    """Has some buckets, and a clock that goes where it is told."""

    MOST = 1_000

    def setUp(self) -> None:
        self.now = 1_700_000_000.0
        self.rates = Rates(lambda: self.now, self.MOST)

    def taken(self, key: str, rate: float = 5, tries: int = 100) -> int:
        """Return how many of *tries* tokens there were."""
        return sum(self.rates.take((key, rate)) == 0 for _ in range(tries))


class BucketTests(RatesCase):
    """One bucket."""

    def test_a_second_s_worth_at_once(self) -> None:
        for rate in (1, 2, 3, 7, 100):
            self.assertEqual(self.taken(f"a{rate}", rate), rate)

    def test_then_at_its_rate(self) -> None:
        self.taken("a")
        for _ in range(20):
            self.now += 0.2
            self.assertEqual(self.taken("a"), 1)

    def test_never_more_than_a_second_s_worth(self) -> None:
        self.taken("a")
        self.now += 3_600
        self.assertEqual(self.taken("a"), 5)

    def test_when_there_will_be_one(self) -> None:
        self.taken("a")
        wait_s = self.rates.take(("a", 5))
        self.assertAlmostEqual(wait_s, 0.2, places=5)
        self.now += wait_s / 2
        self.assertAlmostEqual(self.rates.take(("a", 5)), wait_s / 2, places=5)
        self.now += wait_s / 2
        self.assertEqual(self.rates.take(("a", 5)), 0)

    def test_in_the_long_run(self) -> None:
        """Whoever tries all the time gets its rate, whatever a second it begins in."""
        got = 0
        for _ in range(1_000):
            self.now += 0.013
            got += self.taken("a", tries=2)
        self.assertTrue(5 * 13 <= got <= 5 * 13 + 5, got)

    def test_a_refusal_costs_nothing(self) -> None:
        self.taken("a", tries=1_000)
        self.now += 1.0
        self.assertEqual(self.taken("a"), 5)

    def test_others_are_not_touched(self) -> None:
        self.taken("a")
        self.assertEqual(self.taken("b"), 5)

    def test_another_rate(self) -> None:
        """A reload may change it at any time; a bucket that is half full stays so."""
        self.taken("a", 10, tries=5)
        self.assertEqual(self.taken("a", 100), 50)

    def test_the_clock_is_set_back(self) -> None:
        self.taken("a")
        self.now -= 3_600
        self.assertEqual(self.taken("a"), 5, "it would be refused for an hour")

    def test_several_or_none(self) -> None:
        self.taken("slow", 1)
        self.assertAlmostEqual(self.rates.take(("a", 5), ("slow", 1)), 1.0, places=5)
        self.assertEqual(self.taken("a"), 5, "nothing was taken of the other one")
        self.now += 1.0
        self.assertEqual(self.rates.take(("a", 5), ("slow", 1)), 0)
        self.assertEqual((self.taken("a"), self.taken("slow", 1)), (4, 0))


class BoundTests(RatesCase):
    """The table."""

    MOST = 10

    def test_full_buckets_are_forgotten(self) -> None:
        for number in range(10):
            self.taken(f"{number}", tries=1)
        self.assertEqual(len(self.rates), 10)
        self.now += 2.0
        self.taken("a", tries=1)
        self.assertEqual(len(self.rates), 1)

    def test_no_bucket_is_forgotten_that_is_not_full(self) -> None:
        """Nor by time: at the end of every second the tables change places."""
        for step in range(100):
            self.now += 0.037
            self.taken("a")
            self.assertLess(self.taken("a"), 1, step)

    def test_many_callers(self) -> None:
        """They neither make the table larger nor reset anybody's bucket; newcomers share one."""
        self.taken("victim")
        for number in range(10_000):
            self.rates.take((f"attacker {number}", 5))
        self.assertEqual(len(self.rates), 10)
        self.assertEqual(self.taken("victim"), 0)
        self.assertEqual(self.taken("newcomer"), 0)
        self.now += 0.2
        self.assertEqual((self.taken("victim"), self.taken("newcomer")), (1, 1))
        self.assertEqual(self.taken("another newcomer"), 0)

    def test_room_again(self) -> None:
        for number in range(1_000):
            self.rates.take((f"attacker {number}", 5))
        self.now += 2.0
        self.assertEqual((self.taken("a"), self.taken("b")), (5, 5))

    def test_who_has_a_bucket_keeps_it(self) -> None:
        """However many come for however long."""
        got = 0
        for step in range(500):
            self.now += 0.02
            got += self.rates.take(("regular", 5)) == 0
            for number in range(20):
                self.rates.take((f"{step} {number}", 5))
        self.assertTrue(50 <= got <= 55, got)
        self.assertLessEqual(len(self.rates), 10)

    def test_clear(self) -> None:
        self.taken("a")
        self.rates.clear()
        self.assertEqual((len(self.rates), self.taken("a")), (0, 5))
