"""Whether the reactor runs its timers on time: the lag that every call feels."""

from __future__ import annotations

from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from micronode.observability.series import Gauge

#: Seconds between two beats.
INTERVAL_S: Final = 1.0
#: A loop this late stalls callers visibly.
LAGGING_S: Final = 1.0


class Heartbeat(Service):
    """Beats once a second while it runs, and measures how late each beat is.

    :ivar lag_s: how late the last beat was, in seconds.
    """

    def __init__(self, clock: IReactorTime, gauge: Gauge) -> None:
        self.lag_s = 0.0
        self._clock = clock
        self._gauge = gauge
        self._due_s = 0.0
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock

    @property
    def on_time(self) -> bool:
        """Whether the last beat came within :data:`LAGGING_S` of its time."""
        return self.lag_s < LAGGING_S

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._due_s = self._clock.seconds()
        self._loop.start(INTERVAL_S)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.lag_s = max(0.0, now - self._due_s)
        self._gauge.set(self.lag_s)
        self._due_s = now + INTERVAL_S
