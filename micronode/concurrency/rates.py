"""How often callers may ask: a bucket of tokens for each, in a bounded table.

A bucket holds one second's worth: a caller that may ask ``rps`` times a second may do so at once, and again
as the bucket fills. A bucket is one number, when it will be full again (GCRA, ITU-T I.371): a full one need
not be remembered at all.

*Why two tables.* Every bucket is full a second after it was last drawn from. So there is a table for this
second and one for the last; who asks is moved to the new one, and at the end of a second what is left in the
old one is full, and is forgotten as a whole: no sweep, no timer, and no order to keep. While both together
are as large as may be, callers that have no bucket share a single one. So somebody with many addresses can
make newcomers wait, but neither the table larger nor anybody's bucket full again. (Rejected: forgetting who
asked longest ago, which resets buckets for whoever has addresses enough.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Buckets that are remembered; about 2 MiB.
MAX_BUCKETS: Final = 16_384
#: Seconds to fill an empty bucket, whatever its rate.
FILL_S: Final = 1.0
#: Sums of floats differ in their last digits: a token that is due in less is there.
_EPSILON_S: Final = 1e-6
#: The bucket of all that find no room for one of their own.
_SHARED: Final = ""


class Rates:
    """The buckets, by key. A key says who asks, as far as that is verified: never what a caller says.

    :param seconds: tells the time; it may be set back.
    :param most: how many buckets are remembered, at least 1.
    """

    def __init__(self, seconds: Callable[[], float], most: int = MAX_BUCKETS) -> None:
        self._seconds = seconds
        self._most = most
        self._began_s = 0.0
        #: When each bucket is full, by key: those drawn from in this second, and those in the last one alone.
        self._now: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def __len__(self) -> int:
        """How many buckets are remembered, the shared one not among them."""
        return len(self._now) + len(self._last) - (_SHARED in self._now) - (_SHARED in self._last)

    def take(self, *buckets: tuple[str, float]) -> float:
        """Take a token of each of *buckets*, or none of any.

        :param buckets: a key, which is not empty, and how many tokens a second its bucket gets, at least 1.
        :return: 0 where they were taken, else the seconds until each has one.
        """
        now = self._seconds()
        self._turn(now)
        drawn, wait_s = {}, 0.0
        for key, rate in buckets:
            key, full_s = self._find(key, now)
            # Whatever is further away than an empty bucket takes to fill is from before the clock was set.
            if not now < full_s <= now + FILL_S + _EPSILON_S:
                full_s = now
            drawn[key] = full_s + 1 / rate
            wait_s = max(wait_s, drawn[key] - now - FILL_S)
        if wait_s > _EPSILON_S:
            return wait_s
        for key, full_s in drawn.items():
            self._last.pop(key, None)
            self._now[key] = full_s
        return 0.0

    def clear(self) -> None:
        """Forget all of them: they are full."""
        self._now.clear()
        self._last.clear()

    def _find(self, key: str, now: float) -> tuple[str, float]:
        """Return the key of the bucket of *key*, which may be the shared one, and when it is full."""
        full_s = self._now.get(key)
        if full_s is None:
            full_s = self._last.get(key)
        if full_s is not None:
            return key, full_s
        if len(self) < self._most:
            return key, now
        return _SHARED, self._now.get(_SHARED, self._last.get(_SHARED, now))

    def _turn(self, now: float) -> None:
        """Forget the buckets that were not drawn from for as long as filling takes."""
        since = now - self._began_s
        if 0 <= since < FILL_S:
            return
        self._last = self._now if FILL_S <= since < 2 * FILL_S else {}
        self._now = {}
        self._began_s = now
