"""Whether the node itself is sick: its event loop is late, or its process too large.

A full gate is no sickness: it refuses what is too much and serves the rest as fast as ever. A loop that is
late makes everybody wait, admitted or not, so less must be begun. Writes are refused first: they cost more,
and whoever writes can try again elsewhere; then everything, while probes and what is under way go on.

=========  ==============================================  =======================================
level      it is entered                                   and left for the one before
=========  ==============================================  =======================================
``writes``  at the threshold                               after :data:`DWELL_S` below
                                                           :data:`CLEAR_LAG` (:data:`CLEAR_RSS`) of it
``all``    at :data:`ALL_LAG` (:data:`ALL_RSS`) times it,  the same
           or when ``writes`` has lasted
           :data:`LASTING_S`
=========  ==============================================  =======================================

What is judged is the median of three beats (:mod:`micronode.concurrency.measure`), so that neither one late
beat nor one on time changes anything. Overload that lasted ``overload.unready_after`` makes the node unready,
so that a balancer sends its callers elsewhere: times a factor that each process draws, or a fleet would fall
together. It is over when nothing is shed and every beat of the last :data:`CALM_S` was well; a pause shorter
than that is part of it, since shedding itself brings such pauses.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from micronode.concurrency.measure import Level, Measure, process_rss

_log = Logger()

#: Seconds between two beats.
BEAT_S: Final = 0.1
#: How many times its threshold a measure has to be for everything to be shed.
ALL_LAG: Final = 2.0
ALL_RSS: Final = 1.1
#: Below which share of its threshold it is well again.
CLEAR_LAG: Final = 0.7
CLEAR_RSS: Final = 0.95
#: Seconds that it has to be well for a step back.
DWELL_S: Final = 0.3
#: Seconds of shedding writes, in vain, after which everything is shed.
LASTING_S: Final = 3.0
#: Seconds in which every beat has to be well for overload to be over.
CALM_S: Final = 1.2
#: By how much of itself ``unready_after`` differs from process to process, either way.
JITTER: Final = 0.2
#: Seconds for which the refused are told to stay away, from and to.
MIN_RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 3.0


class Thresholds(Protocol):
    """What is read of the configuration's ``overload``."""

    @property
    def lag(self) -> float:
        """Seconds by which the loop is late; 0: not watched."""

    @property
    def rss(self) -> int:
        """Bytes of the process; 0: not watched."""

    @property
    def unready_after(self) -> float:
        """Seconds of overload that make the node unready."""


class Overload(Service):
    """Measures while it runs, if there is anything to be watched, and tells of what changes.

    :param clock: makes it beat, and tells how late.
    :param changed: called with the level and the one before, and which measure it was for (``lag``, ``rss``).
    :param turned: called with whether the node is fit to be ready, when that changes.
    :param beat: called with the lag of each beat, in seconds.
    :param rss: returns the memory of the process, in bytes.
    :param chance: 0 to 1: by what each process differs, and each refused caller.
    :ivar level: what is refused now.
    :ivar fit: False while overload has lasted too long for the node to be ready.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        changed: Callable[[Level, Level, str], None] = lambda level, before, reason: None,
        turned: Callable[[bool], None] = lambda fit: None,
        beat: Callable[[float], None] = lambda lag_s: None,
        rss: Callable[[], int] = process_rss,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.level = Level.NONE
        self.fit = True
        self.reason = ""
        self._clock = clock
        self._changed = changed
        self._turned = turned
        self._beat = beat
        self._rss = rss
        self._chance = chance
        self._factor = 1 - JITTER + 2 * JITTER * chance()
        self._lag = Measure("lag", ALL_LAG, CLEAR_LAG)
        self._size = Measure("rss", ALL_RSS, CLEAR_RSS)
        self._unready_after_s = 0.0
        self._call: IDelayedCall | None = None
        self._due_s = 0.0
        #: Since when there is overload, with its pauses; since when this level; since when all is well by the
        #: median, and since when by every beat.
        self._since_s: float | None = None
        self._level_since_s = 0.0
        self._well_since_s: float | None = None
        self._calm_since_s: float | None = None

    # What it is told

    def watch(self, thresholds: Thresholds) -> None:
        """Judge by *thresholds* from now on."""
        self._lag.watch(thresholds.lag)
        self._size.watch(thresholds.rss)
        self._unready_after_s = thresholds.unready_after
        if self.running:
            self._begin_or_end()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._begin_or_end()

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._stop()

    # What it tells

    @property
    def watching(self) -> bool:
        """Whether there is a threshold."""
        return bool(self._lag.threshold or self._size.threshold)

    @property
    def unready_after_s(self) -> float:
        """How long overload may last before the node is unready, in this process."""
        return self._unready_after_s * self._factor

    @property
    def measures(self) -> dict[str, tuple[float, float]]:
        """What is judged, and its threshold, by name: seconds of lag, bytes of RSS."""
        return {each.name: (each.judged, each.threshold) for each in (self._lag, self._size)}

    def retry_after_s(self) -> float:
        """Return for how long a caller that is refused is to stay away: each for another time."""
        return MIN_RETRY_S + (MAX_RETRY_S - MIN_RETRY_S) * self._chance()

    # Beats

    def _begin_or_end(self) -> None:
        if not self.watching:
            self._stop()
            self._step(Level.NONE, "")
            self._judge_readiness(over=True)
        elif self._call is None:
            self._lag.clear()
            self._size.clear()
            self._schedule()

    def _stop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _schedule(self) -> None:
        self._due_s = self._clock.seconds() + BEAT_S
        self._call = self._clock.callLater(BEAT_S, self._run)

    def _run(self) -> None:
        # First, so that a defect in what is told does not end the watching.
        late_s = max(0.0, self._clock.seconds() - self._due_s)
        self._schedule()
        try:
            self._beat(late_s)
            self.measured(late_s, self._rss() if self._size.threshold else 0)
        except Exception:
            _log.failure("overload_watch")

    def measured(self, lag_s: float, rss: int) -> None:
        """Judge a measurement."""
        now = self._clock.seconds()
        self._lag.add(lag_s)
        self._size.add(rss)
        worst = max((self._lag, self._size), key=lambda each: (each.level, each.share))
        if worst.level > self.level:
            self._step(worst.level, worst.name)
        elif self.level is Level.WRITES and worst.level and now - self._level_since_s >= LASTING_S:
            self._step(Level.ALL, worst.name)
        if not (self._lag.well and self._size.well):
            self._well_since_s = None
        elif self._well_since_s is None:
            self._well_since_s = now
        elif self.level and now - self._well_since_s >= DWELL_S:
            self._well_since_s = now
            self._step(Level(self.level - 1), self.reason)
        if not (self._lag.calm and self._size.calm):
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now
        calm = self._calm_since_s is not None and now - self._calm_since_s >= CALM_S
        self._judge_readiness(over=calm and not self.level)

    def _step(self, level: Level, reason: str) -> None:
        before = self.level
        if level is before:
            return
        now = self._clock.seconds()
        self.level, self._level_since_s = level, now
        self.reason = reason if level else ""
        if self._since_s is None:
            self._since_s = now
        self._changed(level, before, reason)

    def _judge_readiness(self, *, over: bool) -> None:
        if self._since_s is None:
            return
        now = self._clock.seconds()
        if over:
            self._since_s = None
        fit = self._since_s is None or (self.fit and now - self._since_s < self.unready_after_s)
        if fit is not self.fit:
            self.fit = fit
            self._turned(fit)
