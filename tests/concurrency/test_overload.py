"""Overload: when writes are refused, when everything is, when the node is unready, and when it is over."""

from __future__ import annotations

import attrs
from twisted.application.service import IService
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.concurrency.measure import Level
from micronode.concurrency.overload import (
    BEAT_S,
    CALM_S,
    DWELL_S,
    LASTING_S,
    MAX_RETRY_S,
    MIN_RETRY_S,
    Overload,
)

LAG_S = 0.1
RSS = 1000


@attrs.frozen
class StubThresholds:
    lag: float = LAG_S
    rss: int = RSS
    unready_after: float = 10.0


class OverloadCase(SynchronousTestCase):
    """Has a watch that runs, whose loop is *late_s* late and whose process has *rss* bytes."""

    chance = 0.5

    def setUp(self) -> None:
        self.clock = Clock()
        self.rss = 0
        self.changes: list[tuple[str, str, str]] = []
        self.turns: list[bool] = []
        self.beats: list[float] = []
        self.overload = Overload(
            self.clock,
            changed=lambda level, before, reason: self.changes.append((before.label, level.label, reason)),
            turned=self.turns.append,
            beat=self.beats.append,
            rss=lambda: self.rss,
            chance=lambda: self.chance,
        )
        self.overload.watch(StubThresholds())
        self.overload.startService()
        self.addCleanup(self.overload.stopService)

    def beat(self, late_s: float = 0.0, times: int = 1) -> Level:
        """Let the watch beat, each time so late; return what is refused then."""
        self.clock.pump([BEAT_S + late_s] * times)
        return self.overload.level

    def beat_for(self, seconds: float, late_s: float = 0.0) -> Level:
        end_s = self.clock.seconds() + seconds - 1e-6
        while self.clock.seconds() < end_s:
            self.beat(late_s)
        return self.overload.level


class LevelTests(OverloadCase):
    def test_is_a_service(self) -> None:
        self.assertTrue(verifyObject(IService, self.overload))

    def test_one_late_beat_is_nothing(self) -> None:
        self.assertEqual(self.beat(10.0), Level.NONE)
        self.assertEqual(self.beat(times=10), Level.NONE)
        self.assertEqual(self.changes, [])

    def test_lag_below_the_threshold(self) -> None:
        self.assertEqual(self.beat(LAG_S * 0.99, times=100), Level.NONE)

    def test_writes_first(self) -> None:
        self.assertEqual(self.beat(LAG_S * 1.01, times=2), Level.WRITES)
        self.assertEqual(self.changes, [("none", "writes", "lag")])
        self.assertEqual(self.overload.reason, "lag")

    def test_everything_at_twice_the_threshold(self) -> None:
        self.assertEqual(self.beat(LAG_S * 1.99, times=2), Level.WRITES)
        self.assertEqual(self.beat(LAG_S * 2.01, times=2), Level.ALL)

    def test_everything_at_once_where_it_is_that_bad(self) -> None:
        self.assertEqual(self.beat(LAG_S * 3, times=2), Level.ALL)
        self.assertEqual(self.changes, [("none", "all", "lag")])

    def test_everything_when_it_lasts(self) -> None:
        self.beat(LAG_S * 1.5, times=2)
        self.assertEqual(self.beat_for(LASTING_S - 0.3, LAG_S * 1.5), Level.WRITES)
        self.assertEqual(self.beat_for(0.5, LAG_S * 1.5), Level.ALL)

    def test_not_when_it_has_become_less(self) -> None:
        """Neither well nor over the threshold: what is shed does its work, and goes on."""
        self.beat(LAG_S * 1.5, times=2)
        self.assertEqual(self.beat_for(10 * LASTING_S, LAG_S * 0.9), Level.WRITES)

    def test_steps_back_one_by_one(self) -> None:
        self.beat(LAG_S * 3, times=3)
        self.beat(times=2)  # until the median has noticed
        self.assertEqual(self.beat_for(DWELL_S), Level.WRITES)
        self.assertEqual(self.beat_for(DWELL_S - BEAT_S), Level.WRITES)
        self.assertEqual(self.beat(), Level.NONE)
        self.assertEqual([change[:2] for change in self.changes[1:]], [("all", "writes"), ("writes", "none")])
        self.assertEqual(self.overload.reason, "")

    def test_a_late_beat_on_the_way_back_is_nothing_either(self) -> None:
        self.beat(LAG_S * 3, times=3)
        self.beat(times=3)
        self.beat(LAG_S * 5)
        self.assertEqual(self.beat(times=9), Level.NONE)

    def test_memory(self) -> None:
        self.rss = RSS
        self.assertEqual(self.beat(times=2), Level.WRITES)
        self.assertEqual(self.changes, [("none", "writes", "rss")])
        self.rss = round(RSS * 1.1)
        self.assertEqual(self.beat(times=2), Level.ALL)
        self.rss = round(RSS * 0.96)
        self.assertEqual(self.beat(times=50), Level.ALL)
        self.rss = round(RSS * 0.94)
        self.assertEqual(self.beat(times=10), Level.NONE)

    def test_the_worse_one_counts(self) -> None:
        self.rss = RSS
        self.beat(LAG_S * 3, times=2)
        self.assertEqual(self.changes, [("none", "all", "lag")])
        self.assertEqual(self.beat(times=50), Level.ALL, "memory is no better")

    def test_beats_are_told(self) -> None:
        self.beat(0.25)
        self.beat()
        self.assertEqual([round(lag_s, 6) for lag_s in self.beats], [0.25, 0.0])
        self.assertEqual(self.overload.measures, {"lag": (self.beats[-1], LAG_S), "rss": (0, RSS)})

    def test_a_clock_that_is_set_back(self) -> None:
        self.clock.rightNow -= 100
        self.clock.advance(100 + BEAT_S + 0.001)
        self.assertEqual(self.overload.level, Level.NONE)
        self.assertLess(max(self.beats), 0.01)


class ReadinessTests(OverloadCase):
    def test_unready_after_a_time(self) -> None:
        self.beat_for(9.9, LAG_S * 1.5)
        self.assertEqual((self.overload.fit, self.turns), (True, []))
        self.beat_for(0.8, LAG_S * 1.5)
        self.assertEqual((self.overload.fit, self.turns), (False, [False]))

    def test_ready_again_within_two_seconds(self) -> None:
        self.beat_for(15.0, LAG_S * 3)
        began_s = self.clock.seconds()
        while not self.overload.fit:
            self.beat()
        self.assertLess(self.clock.seconds() - began_s, 1.6)
        self.assertEqual((self.turns, self.overload.level), ([False, True], Level.NONE))

    def test_a_short_pause_is_part_of_it(self) -> None:
        """Shedding makes the loop well, and calls come back as soon as it does not shed."""
        for _ in range(12):
            self.beat(LAG_S * 1.5, times=3)
            while self.overload.level:
                self.beat()
            self.beat_for(0.3)
        self.assertFalse(self.overload.fit)

    def test_a_longer_one_is_not(self) -> None:
        for _ in range(20):
            self.beat(LAG_S * 1.5, times=3)
            while self.overload.level:
                self.beat()
            self.beat_for(CALM_S + BEAT_S)
        self.assertEqual(self.turns, [])

    def test_not_at_the_same_time_in_a_fleet(self) -> None:
        for chance, seconds in ((0.0, 8.0), (0.5, 10.0), (1.0, 12.0)):
            overload = Overload(Clock(), chance=lambda chance=chance: chance)  # type: ignore[misc]
            overload.watch(StubThresholds())
            self.assertAlmostEqual(overload.unready_after_s, seconds)


class RefusedTests(OverloadCase):
    def test_callers_come_back_at_different_times(self) -> None:
        times = []
        for self.chance in (0.0, 0.5, 1.0):
            times.append(self.overload.retry_after_s())
        self.assertEqual(times, [MIN_RETRY_S, (MIN_RETRY_S + MAX_RETRY_S) / 2, MAX_RETRY_S])


class WatchTests(OverloadCase):
    def test_nothing_to_watch_costs_nothing(self) -> None:
        self.overload.watch(StubThresholds(lag=0.0, rss=0))
        self.assertEqual((self.overload.watching, self.clock.getDelayedCalls()), (False, []))

    def test_what_is_watched_no_more_is_over(self) -> None:
        self.beat_for(15.0, LAG_S * 1.5)
        self.overload.watch(StubThresholds(lag=0.0, rss=0))
        self.assertEqual((self.overload.level, self.overload.fit), (Level.NONE, True))
        self.assertEqual(self.turns, [False, True])

    def test_another_threshold(self) -> None:
        self.beat(LAG_S * 1.5, times=3)
        self.overload.watch(StubThresholds(lag=1.0))
        self.assertEqual(self.beat(LAG_S * 1.5, times=4), Level.NONE)

    def test_memory_is_not_read_for_nothing(self) -> None:
        asked: list[int] = []
        overload = Overload(self.clock, rss=lambda: asked.append(1) or 0)  # type: ignore[func-returns-value]
        overload.watch(StubThresholds(rss=0))
        overload.startService()
        self.clock.pump([BEAT_S] * 3)
        overload.stopService()
        self.assertEqual(asked, [])

    def test_stopped_it_leaves_nothing(self) -> None:
        self.overload.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_before_it_runs(self) -> None:
        overload = Overload(clock := Clock())
        overload.watch(StubThresholds())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_it_outlives_a_defect_of_who_is_told(self) -> None:
        self.overload._beat = lambda lag_s: 1 / 0  # type: ignore[assignment]
        self.beat(times=2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.overload._beat = self.beats.append
        self.assertEqual(self.beat(LAG_S * 1.5, times=2), Level.WRITES)
