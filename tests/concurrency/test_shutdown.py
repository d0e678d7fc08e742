"""The drain, phase by phase, on a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.shutdown import (
    ABORT_S,
    END_S,
    LAST_CALL_S,
    LOOK_S,
    MOVES,
    RELEASE_S,
    Drain,
    Given,
    Phase,
)

GRACE_S, DEADLINE_S = 10.0, 5.0
ORDER = [phase for phase in Phase if phase is not Phase.SERVING]


class SpyEffects:
    """Keeps what it was told to do, and when.

    :ivar pending: how much is left, for whichever phase asks.
    :ivar acts: what is done besides, by phase: its result is returned.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.done: list[tuple[str, float]] = []
        self.pending: dict[Phase, int] = {}
        self.seconds: dict[str, float] = {}
        self.acts: dict[str, Callable[[], Any]] = {}

    def _do(self, name: str) -> Any:
        self.done.append((name, round(self.clock.seconds(), 3)))
        act = self.acts.get(name)
        return act() if act is not None else None

    def grace(self, seconds: float) -> Any:
        self.seconds["grace"] = seconds
        return self._do("grace")

    def closing(self, seconds: float) -> Any:
        self.seconds["closing"] = seconds
        return self._do("closing")

    def finishing(self) -> Any:
        return self._do("finishing")

    def aborting(self) -> Any:
        return self._do("aborting")

    def releasing(self) -> Any:
        return self._do("releasing")

    def leaving(self) -> Any:
        return self._do("leaving")

    def stopped(self) -> Any:
        return self._do("stopped")

    def left(self, phase: Phase) -> int:
        return self.pending.get(phase, 0)


class DrainCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.effects = SpyEffects(self.clock)
        self.entered: list[Phase] = []
        self.drain = Drain(self.clock, self.effects, entered=self.entered.append)

    def begin(self, grace_s: float = GRACE_S, deadline_s: float = DEADLINE_S) -> Deferred[None]:
        stopped = self.drain.when_stopped()
        self.drain.begin(grace_s, deadline_s)
        return stopped

    def keep(self, *phases: Phase) -> None:
        """Let *phases* never come to an end by themselves."""
        self.effects.pending = dict.fromkeys(phases, 1)

    def run_for(self, seconds: float) -> None:
        # Sums of floats differ in their last digits.
        until = self.clock.seconds() + seconds + 1e-6
        while self.clock.seconds() < until - 1e-9:
            self.clock.advance(min(LOOK_S, until - self.clock.seconds()))

    def names(self) -> list[str]:
        return [name for name, _ in self.effects.done]


class TimesTests(DrainCase):
    def test_nothing_happens_before_it_begins(self) -> None:
        self.drain.look()
        self.assertEqual((self.drain.phase, self.effects.done), (Phase.SERVING, []))
        self.assertEqual((self.clock.getDelayedCalls(), self.drain.left_s), ([], 0.0))

    def test_each_phase_lasts_as_long_as_it_may(self) -> None:
        self.keep(*Phase)
        stopped = self.begin()
        self.run_for(GRACE_S + DEADLINE_S + END_S - 0.01)
        self.assertNoResult(stopped)
        self.run_for(0.01)
        self.successResultOf(stopped)
        aborting = GRACE_S + DEADLINE_S
        self.assertEqual(
            [(name, round(at, 1)) for name, at in self.effects.done],
            [
                ("grace", 0.0),
                ("closing", GRACE_S),
                ("finishing", GRACE_S + LAST_CALL_S),
                ("aborting", aborting),
                ("releasing", round(aborting + ABORT_S, 1)),
                ("leaving", round(aborting + ABORT_S + RELEASE_S, 1)),
                ("stopped", round(aborting + END_S, 1)),
            ],
        )
        self.assertEqual(self.entered, ORDER)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_after_the_deadline_is_less_than_a_second(self) -> None:
        self.assertLess(END_S, 1.0)

    def test_the_grace_lasts_though_nobody_is_there(self) -> None:
        """It is for those who may yet come."""
        stopped = self.begin()
        self.run_for(GRACE_S - 0.001)
        self.assertEqual(self.drain.phase, Phase.GRACE)
        self.run_for(0.001)
        self.successResultOf(stopped)
        self.assertEqual(self.effects.done[-1], ("stopped", GRACE_S))

    def test_ends_as_soon_as_nothing_is_left(self) -> None:
        self.keep(Phase.CLOSING, Phase.FINISHING)
        stopped = self.begin()
        self.run_for(GRACE_S + LAST_CALL_S + 1)
        self.assertEqual(self.drain.phase, Phase.FINISHING)
        self.keep()
        self.run_for(LOOK_S)
        self.successResultOf(stopped)
        self.assertNotIn("aborting", self.names(), "there was nobody to be told")

    def test_who_knows_of_an_end_tells(self) -> None:
        self.keep(Phase.CLOSING)
        stopped = self.begin(0)
        self.keep()
        self.drain.look()
        self.successResultOf(stopped)

    def test_no_grace_and_no_deadline(self) -> None:
        self.keep(*Phase)
        stopped = self.begin(0, 0)
        self.assertEqual(self.drain.phase, Phase.ABORTING)
        self.assertEqual(self.effects.seconds, {"grace": 0, "closing": 0})
        self.run_for(END_S)
        self.successResultOf(stopped)

    def test_nothing_at_all_is_over_at_once(self) -> None:
        self.successResultOf(self.begin(0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_short_deadline_shortens_the_last_call(self) -> None:
        self.keep(*Phase)
        self.begin(0, LAST_CALL_S / 2)
        self.assertEqual(self.effects.seconds["closing"], LAST_CALL_S / 2)
        self.run_for(LAST_CALL_S / 2)
        self.assertEqual(self.drain.phase, Phase.ABORTING)

    def test_tells_what_a_phase_may_last_yet(self) -> None:
        self.begin()
        self.clock.advance(4)
        self.assertEqual(self.drain.left_s, 6.0)


class InputTests(DrainCase):
    def test_begins_once(self) -> None:
        first = self.begin()
        self.clock.advance(5)
        second = self.begin(100, 100)
        self.run_for(5)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.names().count("grace"), 1)
        self.successResultOf(self.drain.when_stopped())

    def test_who_asks_again_shortens_nothing(self) -> None:
        """A second stop of a node that drains already knows of no time to give."""
        self.keep(*Phase)
        self.begin()
        self.drain.begin(0.0, 0.0)
        self.assertEqual(self.drain.left_s, GRACE_S)
        self.run_for(GRACE_S + LAST_CALL_S)
        self.drain.begin(0.0, 0.0)
        self.assertEqual(self.drain.phase, Phase.FINISHING)
        self.assertAlmostEqual(self.drain.left_s, DEADLINE_S - LAST_CALL_S, places=3)

    def test_who_hears_of_the_end_finds_nothing_in_the_reactor(self) -> None:
        left: list[object] = []
        self.begin().addCallback(lambda _: left.extend(self.clock.getDelayedCalls()))
        self.drain.hurry()
        self.assertEqual((self.drain.phase, left), (Phase.STOPPED, []))

    def test_who_gives_up_waiting_stops_nothing(self) -> None:
        first, second = self.begin(), self.drain.when_stopped()
        first.cancel()
        self.failureResultOf(first)
        self.run_for(GRACE_S)
        self.successResultOf(second)

    def test_haste_skips_what_calls_are_waited_for(self) -> None:
        for wait_s in (0.0, GRACE_S + LAST_CALL_S / 2, GRACE_S + LAST_CALL_S + 1):
            self.setUp()
            self.keep(*Phase)
            stopped = self.begin()
            self.run_for(wait_s)
            self.drain.hurry()
            self.assertEqual(self.drain.phase, Phase.ABORTING, wait_s)
            self.assertEqual(self.entered, ORDER[:4], "no phase is left out")
            self.drain.hurry()
            self.assertEqual(self.drain.phase, Phase.ABORTING, "callers are told, whatever the haste")
            self.run_for(END_S)
            self.successResultOf(stopped)

    def test_haste_is_remembered(self) -> None:
        self.keep(*Phase)
        self.drain.hurry()
        self.assertEqual((self.drain.phase, self.drain.hurried), (Phase.SERVING, True))
        self.begin()
        self.assertEqual(self.drain.phase, Phase.ABORTING)
        self.assertEqual(self.effects.seconds, {"grace": 0, "closing": 0})

    def test_every_input_in_every_phase_is_harmless(self) -> None:
        for given in ("begin", "hurry", "look"):
            for phase in Phase:
                self.setUp()
                self.keep(*Phase)
                self.begin_until(phase)
                before = len(self.entered)
                getattr(self.drain, given)(*((1, 1) if given == "begin" else ()))
                self.assertGreaterEqual(len(self.entered), before)
                self.drain.begin(0, 0)
                self.run_for(GRACE_S + DEADLINE_S + END_S)
                self.assertEqual((self.drain.phase, self.entered), (Phase.STOPPED, ORDER), (given, phase))
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def begin_until(self, phase: Phase) -> None:
        if phase is not Phase.SERVING:
            self.begin()
            while self.drain.phase is not phase:
                self.run_for(LOOK_S)


class EffectTests(DrainCase):
    def test_one_that_takes_time_is_waited_for(self) -> None:
        waits: dict[str, Deferred[None]] = {}
        for name in ("closing", "releasing", "leaving"):
            waits[name] = Deferred()
            self.effects.acts[name] = lambda name=name: waits[name]
        stopped = self.begin(0)
        for name in waits:
            self.assertEqual(self.drain.phase.value, name)
            waits[name].callback(None)
        self.successResultOf(stopped)

    def test_one_that_never_ends_is_not(self) -> None:
        for name in ("grace", "closing", "finishing", "aborting", "releasing", "leaving", "stopped"):
            self.effects.acts[name] = Deferred
        self.keep(*Phase)
        stopped = self.begin()
        self.run_for(GRACE_S + DEADLINE_S + END_S)
        self.successResultOf(stopped)

    def test_one_that_ends_too_late_ends_nothing_else(self) -> None:
        closing: Deferred[None] = Deferred()
        self.effects.acts["closing"] = lambda: closing
        self.keep(Phase.FINISHING)
        self.begin(0)
        self.run_for(LAST_CALL_S)
        self.assertEqual(self.drain.phase, Phase.FINISHING)
        closing.callback(None)
        self.assertEqual(self.drain.phase, Phase.FINISHING)

    def test_what_fails_is_logged_and_keeps_nothing(self) -> None:
        def fail() -> None:
            raise RuntimeError("a defect")

        for name in ("grace", "closing", "finishing", "releasing", "leaving", "stopped"):
            self.effects.acts[name] = fail
        with capturedLogs() as events:
            self.successResultOf(self.begin(0))
        self.assertEqual([event["phase"] for event in events], [each for each in self.names()])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 6)

    def test_a_count_that_fails_leaves_it_to_the_time(self) -> None:
        def left(phase: Phase) -> int:
            raise RuntimeError("a defect")

        self.effects.left = left  # type: ignore[method-assign]
        stopped = self.begin(0)
        self.run_for(DEADLINE_S + END_S)
        self.successResultOf(stopped)
        self.assertTrue(self.flushLoggedErrors(RuntimeError))

    def test_they_may_call_back_in(self) -> None:
        """A subscriber of the bus asks for haste while it is told that the drain begins."""
        for name in ("grace", "closing", "finishing"):
            self.setUp()
            self.keep(*Phase)
            self.effects.acts[name] = self.drain.hurry
            stopped = self.begin()
            self.run_for(GRACE_S + LAST_CALL_S + END_S)
            self.assertEqual((self.drain.phase, self.entered), (Phase.STOPPED, ORDER), name)
            self.successResultOf(stopped)

    def test_one_that_stops_from_within_hears_of_the_end(self) -> None:
        heard: list[Deferred[None]] = []
        self.effects.acts["stopped"] = lambda: heard.append(self.begin(1, 1))
        self.successResultOf(self.begin(0))
        self.successResultOf(heard[0])


class TableTests(SynchronousTestCase):
    def test_every_phase_but_the_last_can_end_and_only_forwards(self) -> None:
        order = list(Phase)
        for (before, _), after in MOVES.items():
            self.assertGreater(order.index(after), order.index(before))
        self.assertEqual({before for before, _ in MOVES}, set(Phase) - {Phase.STOPPED})

    def test_every_phase_but_the_first_ends_by_itself(self) -> None:
        timed = {before for before, given in MOVES if given is Given.TIME_PASSED}
        self.assertEqual(timed, set(Phase) - {Phase.SERVING, Phase.STOPPED})
