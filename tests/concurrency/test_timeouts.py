"""Tests for :mod:`micronode.concurrency.timeouts`."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.timeouts import Timeouts


class TimeoutsTests(SynchronousTestCase):
    """Many that are as long, and one delayed call."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.timeouts = Timeouts(self.clock, 5.0)
        self.fired: list[tuple[str, float]] = []

    def add(self, name: str) -> Callable[[], None]:
        def late() -> None:
            self.fired.append((name, self.clock.seconds()))

        self.timeouts.add(late)
        return late

    def test_each_has_its_time_exactly(self) -> None:
        self.add("one")
        self.clock.advance(0.25)
        self.add("two")
        self.clock.advance(0.125)
        self.add("three")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for step in (4.5, 0.125, 0.25, 0.125, 100):
            self.clock.advance(step)
        self.assertEqual(self.fired, [("one", 5.0), ("two", 5.25), ("three", 5.375)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_is_removed_is_not_called(self) -> None:
        one = self.add("one")
        self.clock.advance(1)
        two = self.add("two")
        self.timeouts.remove(one)
        self.clock.advance(4)
        self.assertEqual(self.fired, [])
        self.timeouts.remove(two)
        self.timeouts.remove(two)
        self.clock.advance(100)
        self.assertEqual(self.fired, [])

    def test_the_next_is_not_late_for_one_that_was_removed(self) -> None:
        one = self.add("one")
        self.clock.advance(1)
        self.add("two")
        self.timeouts.remove(one)
        self.clock.advance(5)
        self.assertEqual(self.fired, [("two", 6.0)])

    def test_a_clock_that_is_set_back_holds_nobody_up(self) -> None:
        self.clock.advance(10_000)
        self.add("one")
        self.clock.rightNow -= 3_600
        self.add("two")
        self.add("three")
        self.clock.advance(4)
        self.assertEqual(self.fired, [])
        self.clock.advance(1)
        self.assertEqual(self.fired, [(each, 6_405.0) for each in ("one", "two", "three")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leaves_nothing_in_the_reactor(self) -> None:
        for each in [self.add("one"), self.add("two")]:
            self.timeouts.remove(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.add("three")
        self.clock.advance(5)
        self.assertEqual((self.fired, self.clock.getDelayedCalls()), ([("three", 5.0)], []))

    def test_all_that_are_late_are_called(self) -> None:
        for name in ("one", "two", "three"):
            self.add(name)
        self.clock.advance(60)
        self.assertEqual(self.fired, [("one", 60.0), ("two", 60.0), ("three", 60.0)])

    def test_one_that_is_late_may_add_and_remove(self) -> None:
        def late() -> None:
            self.fired.append(("one", self.clock.seconds()))
            self.timeouts.remove(two)
            self.add("three")

        self.timeouts.add(late)
        two = self.add("two")
        self.clock.advance(5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(5)
        self.assertEqual(self.fired, [("one", 5.0), ("three", 10.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_defect_of_one_does_not_keep_the_others(self) -> None:
        def defect() -> None:
            raise ValueError("a defect")

        self.timeouts.add(defect)
        self.add("two")
        self.assertRaises(ValueError, self.clock.advance, 5)
        self.clock.advance(0)
        self.assertEqual([name for name, _ in self.fired], ["two"])
