"""Does something to each of many, one after the other, spread over a time: so that they do not all come back.

Callers that are sent away at the same moment connect anew at the same moment, to a node that has its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.concurrency.timer import EPSILON_S

#: Seconds between two steps at least; more than one is taken in a step where there are that many.
STEP_S: Final = 0.01


class Spread:
    """Takes all there are by the end of a time, evenly, each a little sooner or later.

    Whoever joins meanwhile is taken, too: what is left is shared out over the time that is left.

    :param left: how many there are still to be taken.
    :param take: takes so many of them.
    :param chance: 0 to 1: where between half and one and a half of its time a step is taken.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        left: Callable[[], int],
        take: Callable[[int], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._left = left
        self._take = take
        self._chance = chance
        self._until_s = 0.0
        self._count = 0
        self._call: IDelayedCall | None = None

    def begin(self, seconds: float) -> None:
        """Take all of them within *seconds*; what is there when they have passed is left to :meth:`end`."""
        self._until_s = self._clock.seconds() + seconds
        self._next()

    def end(self) -> None:
        """Take all that are left, and stop."""
        self.close()
        left = self._left()
        if left:
            self._take(left)

    def close(self) -> None:
        """Stop, and leave nothing in the reactor."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _next(self) -> None:
        rest_s = self._until_s - self._clock.seconds()
        if rest_s <= EPSILON_S:
            return
        left = self._left()
        # One more than there are: the last is taken before the end, not at it.
        step_s = rest_s / (left + 1)
        self._count = max(1, round(STEP_S / step_s)) if left else 0
        wait_s = max(step_s * self._count, STEP_S) * (0.5 + self._chance())
        if not left:
            # Somebody may come.
            wait_s = min(rest_s, 10 * STEP_S)
        self._call = self._clock.callLater(wait_s, self._step)

    def _step(self) -> None:
        self._call = None
        count = min(self._count, self._left())
        if count:
            self._take(count)
        self._next()
