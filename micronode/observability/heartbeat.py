"""Whether the reactor runs its timers on time: the lag that every call feels."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

from micronode.observability.repeating import Crashed, Repeater, untold
from micronode.observability.series import Gauge

#: Seconds between two beats.
INTERVAL_S: Final = 1.0
#: A loop this late stalls callers visibly.
LAGGING_S: Final = 1.0


class Heartbeat(Repeater):
    """Beats once a second while it runs, and measures how late each beat is.

    :ivar lag_s: how late the last beat was, in seconds.
    """

    def __init__(self, clock: IReactorTime, gauge: Gauge, crashed: Crashed = untold) -> None:
        super().__init__("heartbeat", INTERVAL_S, self._beat, clock, crashed)
        self.lag_s = 0.0
        self._clock = clock
        self._gauge = gauge
        self._due_s = 0.0

    @property
    def on_time(self) -> bool:
        """Whether the last beat came within :data:`LAGGING_S` of its time."""
        return self.lag_s < LAGGING_S

    def startService(self) -> None:
        self._due_s = self._clock.seconds()
        super().startService()

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.lag_s = max(0.0, now - self._due_s)
        self._gauge.set(self.lag_s)
        self._due_s = now + INTERVAL_S
