"""How often a thing may happen: at most so many times in so many seconds, whenever one begins to count."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime


class Rate:
    """Remembers the last *most* times that something was allowed, and nothing else.

    :param most: how many times in *period_s* seconds.
    """

    __slots__ = ("_clock", "_period_s", "_times")

    def __init__(self, clock: IReactorTime, most: int, period_s: float) -> None:
        self._clock = clock
        self._period_s = period_s
        self._times: deque[float] = deque(maxlen=most)

    def allows(self) -> bool:
        """Tell whether it may happen now; if so, it counts."""
        times, now = self._times, self._clock.seconds()
        if len(times) == times.maxlen and now - times[0] < self._period_s:
            return False
        times.append(now)
        return True
