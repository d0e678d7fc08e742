"""The heartbeat: how late the reactor runs its timers."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.observability.heartbeat import INTERVAL_S, LAGGING_S, Heartbeat
from micronode.observability.series import Gauge


class HeartbeatTests(SynchronousTestCase):
    """Heartbeat."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.gauge = Gauge()
        self.beats = Heartbeat(self.clock, self.gauge)

    def shown(self) -> float:
        return self.gauge.value

    def test_on_time(self) -> None:
        self.beats.startService()
        self.clock.pump([INTERVAL_S] * 3)
        self.assertEqual((self.beats.lag_s, self.beats.on_time, self.shown()), (0.0, True, 0.0))

    def test_late(self) -> None:
        """The lag is the time by which a beat missed its moment, and it passes."""
        self.beats.startService()
        self.clock.advance(INTERVAL_S + 0.25)
        self.assertEqual((self.beats.lag_s, self.shown(), self.beats.on_time), (0.25, 0.25, True))
        self.clock.advance(INTERVAL_S + LAGGING_S + 1)
        self.assertFalse(self.beats.on_time)
        for _ in range(4):
            self.clock.advance(INTERVAL_S)
        self.assertTrue(self.beats.on_time)

    def test_before_the_start(self) -> None:
        self.assertTrue(self.beats.on_time)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        self.beats.startService()
        self.beats.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.beats.stopService()
