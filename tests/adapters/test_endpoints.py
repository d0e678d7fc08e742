"""micronode.adapters.endpoints: which one a call goes to, and who may be left without calls."""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.breaker import OPEN_S
from micronode.adapters.endpoints import (
    LONGEST_REST_S,
    Endpoint,
    Health,
    Standing,
    choose,
    keep_one,
    rest_before_s,
)
from micronode.adapters.outlier import EJECTED_S, FAILURES


class EndpointsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.random = Random(1)
        # Nothing here asks the agent.
        self.all = [Endpoint(None, self.clock.seconds) for _ in range(3)]  # type: ignore[arg-type]
        self.one, self.two, self.three = self.all

    def call(self, endpoint: Endpoint, well: bool | None) -> float | None:
        entered = endpoint.enter()
        endpoint.leave()
        return endpoint.judge(entered, well, self.all)

    def failures(self, endpoint: Endpoint, times: int = FAILURES) -> float | None:
        """Let calls of *endpoint* fail, too far apart for its breaker."""
        ejected_s = None
        for _ in range(times):
            self.clock.advance(0.2)
            ejected_s = self.call(endpoint, False)
        return ejected_s

    def break_off(self, endpoint: Endpoint) -> None:
        """Open its breaker, whatever else it is."""
        for _ in range(10):
            endpoint.breaker.judge(endpoint.breaker.enter(), False)

    def chosen(self, count: int = 200, avoid: tuple[Endpoint, ...] = ()) -> set[Endpoint | None]:
        return {choose(self.all, self.random, avoid) for _ in range(count)}


class ChoiceTests(EndpointsCase):
    def test_any_of_those_that_are_idle(self) -> None:
        counts = Counter(choose(self.all, self.random) for _ in range(3000))
        for endpoint in self.all:
            self.assertGreater(counts[endpoint], 800)

    def test_never_the_one_with_most_calls(self) -> None:
        for endpoint, calls in zip(self.all, (5, 3, 4), strict=True):
            endpoint.in_flight = calls
        self.assertEqual(self.chosen(), {self.two, self.three})

    def test_of_two_the_one_with_fewer(self) -> None:
        self.all = [self.one, self.two]
        self.one.in_flight = 1
        self.assertEqual(self.chosen(), {self.two})

    def test_a_single_one(self) -> None:
        self.all = [self.one]
        self.one.health = Health.DOWN
        self.one.outlier.eject()
        self.one.rest(10.0)
        self.assertEqual(self.chosen(1, (self.one,)), {self.one})
        self.break_off(self.one)
        self.assertEqual(self.chosen(1), {None})
        self.clock.advance(OPEN_S)
        self.assertEqual(self.chosen(1), {self.one})

    def test_by_standing(self) -> None:
        self.one.health = Health.DOWN
        self.two.outlier.eject()
        self.three.in_flight = 100
        self.assertEqual(
            [each.standing for each in self.all], [Standing.DOWN, Standing.EJECTED, Standing.GOOD]
        )
        self.assertEqual(self.chosen(), {self.three})
        self.break_off(self.three)
        self.assertEqual(self.chosen(), {self.two})
        self.break_off(self.two)
        self.assertEqual(self.chosen(), {self.one}, "what looks dead is better than nothing")
        self.break_off(self.one)
        self.assertEqual(self.chosen(), {None})

    def test_unknown_is_as_good_as_up(self) -> None:
        self.one.health = Health.UP
        self.three.health = Health.DOWN
        self.assertEqual(self.chosen(), {self.one, self.two})

    def test_where_the_call_has_not_been(self) -> None:
        self.assertEqual(self.chosen(avoid=(self.one, self.two)), {self.three})
        self.assertEqual(self.chosen(avoid=tuple(self.all)), set(self.all))
        self.three.health = Health.DOWN
        self.assertEqual(self.chosen(avoid=(self.one, self.two)), {self.one, self.two})

    def test_where_a_rest_was_asked_for(self) -> None:
        self.one.rest(1.0)
        self.two.rest(2.0)
        self.assertEqual(self.chosen(), {self.three})
        self.assertEqual(rest_before_s(self.all), 0.0)
        self.three.health = Health.DOWN
        self.assertEqual(self.chosen(), {self.one, self.two})
        self.assertEqual(rest_before_s(self.all), 1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.chosen(), {self.one})
        self.assertEqual(rest_before_s(self.all), 0.0)
        self.assertEqual(rest_before_s([]), 0.0)

    def test_rest_is_bounded_and_never_shortened(self) -> None:
        self.one.rest(1e9)
        self.assertEqual(self.one.rest_s, LONGEST_REST_S)
        self.one.rest(1.0)
        self.assertEqual(self.one.rest_s, LONGEST_REST_S)


class EjectionTests(EndpointsCase):
    def test_ejected_and_back(self) -> None:
        self.assertIsNone(self.failures(self.one, FAILURES - 1))
        self.assertEqual(self.failures(self.one, 1), EJECTED_S)
        self.assertEqual(self.chosen(), {self.two, self.three})
        self.clock.advance(EJECTED_S)
        self.assertEqual(self.chosen(), set(self.all))
        self.assertEqual(self.failures(self.one, 1), EJECTED_S * 2)

    def test_never_the_last_good_one(self) -> None:
        self.two.health = Health.DOWN
        self.assertIsNotNone(self.failures(self.one))
        self.assertIsNone(self.failures(self.three, 20))
        self.assertEqual(self.chosen(), {self.three})
        # Another one is well again, and the next failure is one too many.
        self.two.health = Health.UP
        self.assertIsNotNone(self.failures(self.three, 1))

    def test_never_one_of_which_the_other_is_broken_off(self) -> None:
        self.all = [self.one, self.two]
        self.break_off(self.two)
        self.assertIsNone(self.failures(self.one, 4))
        self.assertIsNone(self.failures(self.one, 1))

    def test_a_single_one(self) -> None:
        self.all = [self.one]
        self.assertIsNone(self.failures(self.one, 20))

    def test_one_that_is_there_no_longer(self) -> None:
        """A call may hold it after a reload took it away; that harms nobody."""
        self.all = [self.two, self.three]
        self.assertIsNotNone(self.failures(self.one))
        self.assertEqual(self.chosen(), {self.two, self.three})

    def test_what_says_nothing(self) -> None:
        for _ in range(50):
            self.assertIsNone(self.call(self.one, None))
        self.failures(self.one, FAILURES - 1)
        self.call(self.one, None)
        self.assertIsNotNone(self.failures(self.one, 1))

    def test_the_first_judgement_counts(self) -> None:
        entered = self.one.enter()
        self.one.judge(entered, True, self.all)
        for _ in range(20):
            self.assertIsNone(self.one.judge(entered, False, self.all))

    def test_one_is_kept_when_the_others_go(self) -> None:
        self.failures(self.one)
        self.failures(self.two)
        keep_one(self.all)
        self.assertEqual([each.outlier.ejected for each in self.all], [True, True, False])
        keep_one([self.one, self.two])
        self.assertEqual([each.outlier.ejected for each in self.all], [False, True, False])
        keep_one([])


class WellTests(EndpointsCase):
    def test_is_well(self) -> None:
        self.assertFalse(self.one.is_well, "nobody knows yet")
        self.one.health = Health.UP
        self.assertTrue(self.one.is_well)
        self.failures(self.one)
        self.assertFalse(self.one.is_well)
        self.two.health = Health.UP
        self.break_off(self.two)
        self.assertFalse(self.two.is_well)

    def test_in_flight(self) -> None:
        first, second = self.one.enter(), self.one.enter()
        self.assertEqual(self.one.in_flight, 2)
        self.one.leave()
        self.one.judge(first, True, self.all)
        self.assertEqual(self.one.in_flight, 1)
        self.one.leave()
        self.one.judge(second, True, self.all)
        self.assertEqual(self.one.in_flight, 0)
