"""micronode.adapters.breaker: histories of calls, and what is let through after them."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.breaker import LONGEST_OPEN_S, OPEN_S, PROBE_S, Breaker, BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class BreakerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker(self.clock.seconds)

    def calls(self, history: str, *, every_s: float = 0.0) -> None:
        """Make calls that end well (``+``), badly (``-``) or by their caller (``.``); stop when it opens."""
        for each in history:
            if not self.breaker.admits:
                return
            self.breaker.judge(self.breaker.enter(), {"+": True, "-": False, ".": None}[each])
            self.clock.advance(every_s)

    def open(self) -> None:
        self.calls("-" * 10)
        self.assertIs(self.breaker.state, OPEN)

    def test_histories(self) -> None:
        for history, every_s, state in (
            ("", 0.0, CLOSED),
            ("-" * 9, 0.0, CLOSED),
            ("-" * 10, 0.0, OPEN),
            ("-" * 10, 0.09, OPEN),
            # Ten failures, but not within a second.
            ("-" * 30, 0.12, CLOSED),
            ("+" * 5 + "-" * 5, 0.0, OPEN),
            ("+" * 6 + "-" * 5, 0.0, CLOSED),
            ("-+" * 5, 0.0, CLOSED),
            ("+-" * 5, 0.0, OPEN),
            ("+" * 1000 + "-" * 999, 0.0, CLOSED),
            ("+" * 1000 + "-" * 1000, 0.0, OPEN),
            # The failures came when the good ones were long over.
            ("+" * 100 + "-" * 4, 0.09, CLOSED),
            ("+" * 100 + "-" * 8, 0.09, OPEN),
            # Callers that left say nothing.
            ("-" * 9 + "." * 100, 0.0, CLOSED),
            ("." * 100 + "-" * 9, 0.0, CLOSED),
        ):
            self.setUp()
            self.calls(history, every_s=every_s)
            self.assertIs(self.breaker.state, state, (history[:20], len(history), every_s))

    def test_open(self) -> None:
        self.open()
        self.assertFalse(self.breaker.admits)
        self.assertFalse(self.breaker.is_closed)
        self.assertEqual(self.breaker.wait_s, OPEN_S)
        self.assertRaises(RuntimeError, self.breaker.enter)
        self.clock.advance(OPEN_S - 0.01)
        self.assertFalse(self.breaker.admits)

    def test_half_open_lets_one_through(self) -> None:
        self.open()
        self.clock.advance(OPEN_S)
        self.assertIs(self.breaker.state, HALF_OPEN)
        self.assertTrue(self.breaker.admits)
        self.assertEqual(self.breaker.wait_s, 0.0)
        self.breaker.enter()
        self.assertFalse(self.breaker.admits)
        self.assertRaises(RuntimeError, self.breaker.enter)
        self.clock.advance(PROBE_S - 0.01)
        self.assertFalse(self.breaker.admits)

    def test_a_probe_that_takes_long_does_not_keep_the_others_out(self) -> None:
        """An upload may take for ever. Whichever is judged first decides, and the others are of before."""
        for well, state in ((True, CLOSED), (False, OPEN)):
            for first in (0, 1, 2):
                self.setUp()
                self.open()
                self.clock.advance(OPEN_S)
                probes = []
                for _ in range(3):
                    probes.append(self.breaker.enter())
                    self.assertFalse(self.breaker.admits)
                    self.clock.advance(PROBE_S)
                self.breaker.judge(probes[first], well)
                self.assertIs(self.breaker.state, state)
                for probe in probes:
                    self.breaker.answered(probe)
                    self.breaker.judge(probe, not well)
                self.assertIs(self.breaker.state, state)

    def test_a_clock_that_goes_back(self) -> None:
        self.clock.advance(10_000.0)
        self.open()
        self.clock.rightNow = 100.0
        self.assertFalse(self.breaker.admits)
        self.clock.advance(OPEN_S)
        self.breaker.enter()
        self.clock.rightNow = 50.0
        self.assertFalse(self.breaker.admits)
        self.clock.advance(OPEN_S)
        self.assertFalse(self.breaker.admits)
        self.clock.advance(PROBE_S)
        self.assertTrue(self.breaker.admits)

    def test_a_probe_that_ends_well_closes(self) -> None:
        self.open()
        self.clock.advance(OPEN_S)
        self.calls("+")
        self.assertIs(self.breaker.state, CLOSED)
        # Nothing of before counts.
        self.calls("-" * 9)
        self.assertIs(self.breaker.state, CLOSED)

    def test_a_probe_that_is_answered_closes_at_once(self) -> None:
        """Its body may take for ever; and when it then breaks off, that counts as any failure."""
        self.open()
        self.clock.advance(OPEN_S)
        probe = self.breaker.enter()
        self.breaker.answered(probe)
        self.assertIs(self.breaker.state, CLOSED)
        self.calls("-" * 9)
        self.breaker.judge(probe, False)
        self.assertIs(self.breaker.state, OPEN)

    def test_an_answer_to_no_probe(self) -> None:
        entered = self.breaker.enter()
        self.open()
        self.breaker.answered(entered)
        self.assertIs(self.breaker.state, OPEN)

    def test_pauses_grow(self) -> None:
        self.open()
        waits = []
        for _ in range(8):
            waits.append(self.breaker.wait_s)
            self.clock.advance(self.breaker.wait_s)
            self.calls("-")
            self.assertIs(self.breaker.state, OPEN)
        self.assertEqual(waits, [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_OPEN_S, LONGEST_OPEN_S, LONGEST_OPEN_S])

    def test_pauses_grow_where_it_closes_in_between(self) -> None:
        self.open()
        self.clock.advance(1.0)
        self.calls("+")
        self.open()
        self.assertEqual(self.breaker.wait_s, 2.0)
        self.clock.advance(2.0)
        self.calls("+")
        self.clock.advance(2.1)
        self.open()
        self.assertEqual(self.breaker.wait_s, 1.0)

    def test_a_probe_that_says_nothing_makes_room_for_the_next(self) -> None:
        self.open()
        self.clock.advance(OPEN_S)
        self.calls("...")
        self.assertIs(self.breaker.state, HALF_OPEN)
        self.calls("+")
        self.assertIs(self.breaker.state, CLOSED)

    def test_the_first_judgement_counts(self) -> None:
        entered = self.breaker.enter()
        self.breaker.judge(entered, None)
        for _ in range(20):
            self.breaker.judge(entered, False)
        self.assertIs(self.breaker.state, CLOSED)
        self.open()
        self.clock.advance(OPEN_S)
        probe = self.breaker.enter()
        self.breaker.judge(probe, True)
        self.breaker.judge(probe, False)
        self.assertIs(self.breaker.state, CLOSED)

    def test_calls_of_before_say_nothing_of_now(self) -> None:
        old = [self.breaker.enter() for _ in range(30)]
        self.open()
        for each in old[:10]:
            self.breaker.judge(each, True)
        self.assertIs(self.breaker.state, OPEN)
        self.clock.advance(OPEN_S)
        for each in old[10:20]:
            self.breaker.judge(each, False)
        self.assertIs(self.breaker.state, HALF_OPEN)
        self.calls("+")
        for each in old[20:]:
            self.breaker.judge(each, False)
        self.assertIs(self.breaker.state, CLOSED)
