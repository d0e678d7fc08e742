"""Tests for :mod:`micronode.concurrency.alarms`."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.alarms import Alarm, Alarms


class AlarmsTests(SynchronousTestCase):
    """Many of any length, and one delayed call."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.alarms = Alarms(self.clock)
        self.rung: list[tuple[str, float]] = []

    def ring(self, name: str) -> Callable[[], None]:
        return lambda: self.rung.append((name, self.clock.seconds()))

    def set(self, name: str, seconds: float) -> Alarm:
        return self.alarms.set(seconds, self.ring(name))

    def run_out(self) -> list[tuple[str, float]]:
        """Let a long time pass in steps that are exact, and return what has rung."""
        for _ in range(1_000):
            self.clock.advance(0.125)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return self.rung

    def test_each_has_its_time(self) -> None:
        self.set("late", 5.0)
        self.set("early", 1.0)
        self.set("same", 5.0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.run_out(), [("early", 1.0), ("late", 5.0), ("same", 5.0)])

    def test_one_that_is_stopped(self) -> None:
        one, two = self.set("one", 1.0), self.set("two", 2.0)
        one.stop()
        one.stop()
        self.assertFalse(one.is_set)
        self.assertEqual(self.run_out(), [("two", 2.0)])
        two.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_left_in_the_reactor(self) -> None:
        alarms = [self.set(str(seconds), float(seconds)) for seconds in range(1, 5)]
        for alarm in alarms:
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            alarm.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.set("again", 1.0)
        self.assertEqual(self.run_out(), [("again", 1.0)])

    def test_moved_later_and_earlier(self) -> None:
        later, earlier = self.set("later", 1.0), self.set("earlier", 5.0)
        self.clock.advance(0.5)
        later.move(2.0)
        earlier.move(0.25)
        self.assertEqual(self.run_out(), [("earlier", 0.75), ("later", 2.5)])

    def test_moved_there_and_back(self) -> None:
        """Where it lay before, it is not looked at again."""
        alarm = self.set("it", 4.0)
        alarm.move(1.0)
        alarm.move(4.0)
        alarm.move(2.0, self.ring("that"))
        self.assertEqual(self.run_out(), [("that", 2.0)])

    def test_one_that_rang_early_leaves_nothing(self) -> None:
        alarm = self.set("it", 5.0)
        alarm.move(1.0)
        self.clock.advance(1.0)
        self.assertEqual((self.rung, self.clock.getDelayedCalls()), ([("it", 1.0)], []))

    def test_one_that_is_moved_to_now_while_another_rings(self) -> None:
        other = self.set("other", 5.0)
        self.alarms.set(1.0, lambda: other.move(0.0))
        self.clock.advance(1.0)
        self.assertEqual((self.rung, self.clock.getDelayedCalls()), ([("other", 1.0)], []))

    def test_one_that_rang_cannot_be_moved(self) -> None:
        alarm = self.set("it", 1.0)
        self.run_out()
        alarm.move(1.0)
        alarm.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.run_out(), [("it", 1.0)])

    def test_what_rings_may_set_and_stop(self) -> None:
        other = self.set("other", 1.0)

        def ring() -> None:
            other.stop()
            self.set("again", 0.0)
            self.set("then", 1.0)

        self.alarms.set(0.5, ring)
        self.assertEqual(self.run_out(), [("again", 0.5), ("then", 1.5)])

    def test_a_defect_holds_nobody_up(self) -> None:
        def ring() -> None:
            raise ZeroDivisionError

        self.alarms.set(1.0, ring)
        self.set("behind", 1.0)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1.0)
        self.assertEqual([name for name, _ in self.run_out()], ["behind"])

    def test_the_stopped_do_not_pile_up(self) -> None:
        kept = self.set("kept", 3.0)
        for _ in range(10_000):
            self.set("gone", 60.0).stop()
        self.assertLess(len(self.alarms._heap), 600)
        self.assertTrue(kept.is_set)
        self.assertEqual(self.run_out(), [("kept", 3.0)])

    def test_any_order(self) -> None:
        """Whatever is set, moved and stopped, each that is left rings at its time."""
        chance = random.Random(7)
        alarms: dict[int, tuple[Alarm, float]] = {}
        expected: dict[str, float] = {}
        for number in range(3_000):
            seconds = chance.randrange(1, 400) / 8
            alarms[number] = self.set(str(number), seconds), self.clock.seconds() + seconds
            picked = chance.choice(list(alarms))
            alarm, _ = alarms[picked]
            if chance.random() < 0.5:
                alarm.stop()
                del alarms[picked]
            else:
                seconds = chance.randrange(1, 400) / 8
                alarm.move(seconds)
                alarms[picked] = alarm, self.clock.seconds() + seconds
            if number % 10 == 0:
                self.clock.advance(0.125)
                for key in [key for key, (_, at_s) in alarms.items() if at_s <= self.clock.seconds()]:
                    expected[str(key)] = alarms.pop(key)[1]
        expected |= {str(key): at_s for key, (_, at_s) in alarms.items()}
        rung = self.run_out()
        self.assertEqual(dict(rung), expected)
        self.assertEqual(len(rung), len(expected))
