"""How often a thing may happen: at most so many times in so many seconds, whenever one begins to count."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime


class Rate:
    """Remembers the last *most* times that something was allowed, and nothing else.

    :param most: how many times in *period_s* seconds.
    """

    __slots__ = ("_most", "_period_s", "_seconds", "_times")

    def __init__(self, clock: IReactorTime, most: int, period_s: float) -> None:
        self._most = most
        self._period_s = period_s
        self._seconds = clock.seconds
        self._times: deque[float] = deque(maxlen=most)

    def allows(self) -> bool:
        """Tell whether it may happen now; if so, it counts."""
        times, now = self._times, self._seconds()
        if len(times) == self._most and now - times[0] < self._period_s:
            return False
        times.append(now)
        return True
