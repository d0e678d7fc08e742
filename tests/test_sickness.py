"""What follows from overload in a node."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.bus import EventBus, HealthChanged
from micronode.concurrency.measure import Level
from micronode.concurrency.overload import BEAT_S
from micronode.config.schema import Overload as Thresholds
from micronode.sickness import make_overload
from tests.support.measures import make_metrics, sample


class SpyDispatcher:
    """Keeps what it is told to shed."""

    def __init__(self) -> None:
        self.shedding: list[Level] = []

    def shed(self, level: Level, stay_away_s: Any) -> None:
        self.shedding.append(level)
        assert 1 <= stay_away_s() <= 3


class SicknessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = make_metrics()
        self.bus = EventBus()
        self.told = self.bus.subscribe()
        self.dispatcher = SpyDispatcher()
        self.overload = make_overload(
            self.clock,
            dispatcher=self.dispatcher,  # type: ignore[arg-type]
            metrics=self.metrics,
            bus=self.bus,
            ready=lambda: self.overload.fit,
        )
        self.overload.watch(Thresholds(lag=0.1, unready_after=1.0))
        self.overload.startService()
        self.addCleanup(self.overload.stopService)

    def heard(self) -> list[HealthChanged]:
        return list(self.told._events)  # type: ignore[arg-type]

    def test_sick_and_well_again(self) -> None:
        with capturedLogs() as logs:
            self.clock.pump([BEAT_S + 0.15] * 8)
            self.assertEqual(sample(self.metrics, "ready_state"), 0)
            self.assertAlmostEqual(sample(self.metrics, "reactor_lag_seconds"), 0.15)
            self.clock.pump([BEAT_S] * 20)
        self.assertEqual(sample(self.metrics, "ready_state"), 1)
        self.assertEqual(self.dispatcher.shedding, [Level.WRITES, Level.NONE])
        self.assertEqual(
            [(each.name, each.previous, each.state) for each in self.heard()],
            [
                ("overload", "none", "writes"),
                ("readiness", "ready", "unready"),
                ("overload", "writes", "none"),
                ("readiness", "unready", "ready"),
            ],
        )
        self.assertEqual(
            [(event["log_format"], event["log_level"]) for event in logs],
            [
                ("overload", LogLevel.warn),
                ("readiness", LogLevel.warn),
                ("overload", LogLevel.info),
                ("readiness", LogLevel.info),
            ],
        )
        first = logs[0]
        self.assertEqual((first["shedding"], first["before"], first["reason"]), ("writes", "none", "lag"))
        self.assertAlmostEqual(first["lag_ms"], 150.0)
        self.assertEqual([logs[1]["ready"], logs[3]["ready"]], [False, True])
