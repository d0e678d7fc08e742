"""Callers who ask again and again, each after its answer, and so many of them that the node has no time left.

*Why they grow in number.* How late a reactor is depends on how much waits for it at a time, and that on how
many ask; how many it takes depends on the machine. So more of them come until it is late enough, and what is
enough is held against how late it is when nobody asks, which is more where others use the machine, too.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import Final

from tests.chaos.load import Load
from tests.chaos.tally import Tally
from tests.chaos.watch import Watch

#: What ``overload.lag`` is set to where beats are wanted, and nothing is to be shed.
NEVER: Final = "60s"
#: How many times the threshold the node has to be late, so that it sheds all, not writes alone, and does so
#: again where it is well for a moment, since refusals are cheaper than calls.
ENOUGH: Final = 3.0
#: A threshold is so many times what a node is late by that nobody asks.
_TIMES: Final = 2.0
#: Seconds for those who came last to connect, and then of beats that are looked at.
_SETTLE_S: Final = 0.4
_LOOK_S: Final = 0.6


async def threshold_s(watch: Watch, seconds: float, least_s: float, most_s: float) -> float:
    """Return what the reactor of a node may be late by that nobody asks now: twice the worst of *seconds*.

    :param least_s: what it is at least, on a quiet machine; *most_s*: at most, on any.
    """
    since_s = watch.seconds
    await asyncio.sleep(seconds)
    await watch.fresh()
    return min(most_s, max(least_s, _TIMES * max(watch.lags_s(since_s), default=0.0)))


class Crowd:
    """Callers of a node, until they :meth:`leave`.

    :ivar size: how many there are.
    """

    def __init__(self, load: Load, watch: Watch, kinds: Mapping[tuple[str, str], int], tally: Tally) -> None:
        """:param kinds: door and call -> how many there are at first.
        :param tally: where calls count, until :meth:`count_in` says otherwise.
        """
        self.size = 0
        self._load = load
        self._watch = watch
        self._kinds = kinds
        self._tally = tally
        self._since_s = time.perf_counter()
        self._over = False
        self._callers: list[asyncio.Task[None]] = []

    async def until_late(self, lag_s: float, most: int) -> float:
        """Let as many callers again come, again and again, until the node is late by *lag_s*.

        :param most: callers that there are in the end, at most.
        :return: how late it was by the median of the last looks, in seconds.
        """
        while True:
            self._join()
            await asyncio.sleep(_SETTLE_S)
            since_s = self._watch.seconds
            await asyncio.sleep(_LOOK_S)
            await self._watch.fresh()
            late_s = statistics.median(self._watch.lags_s(since_s) or [0.0])
            if late_s >= lag_s or 2 * self.size > most:
                return late_s

    def count_in(self, tally: Tally) -> None:
        """Count the calls that end from now on in *tally*."""
        now = time.perf_counter()
        self._tally.seconds += now - self._since_s
        self._tally, self._since_s = tally, now

    async def leave(self) -> None:
        """Ask no more, and return when all calls have ended."""
        self._over = True
        await asyncio.gather(*self._callers)
        self._tally.seconds += time.perf_counter() - self._since_s

    def _join(self) -> None:
        for _ in range(max(1, self.size // sum(self._kinds.values()))):
            for (door, call), count in self._kinds.items():
                self._callers += [asyncio.ensure_future(self._ask(door, call)) for _ in range(count)]
        self.size = len(self._callers)

    async def _ask(self, door: str, call: str) -> None:
        while not self._over:
            ended, took_s = await self._load.call(door, call)
            self._tally.add(door, call, ended, took_s)
            # A call that is not made at all, for want of a connection, takes no time.
            await asyncio.sleep(0)
