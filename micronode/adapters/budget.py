"""How often calls of one owner may be tried again: a share of all calls, so that retries never make a storm.

A bound of tries a call is not enough: when an owner is slow because it is overloaded, every call fails, and
three tries each are three times the load that was too much. As a share of the calls, tries add at most that
share. The idea is told by Finagle's ``RetryBudget`` and in chapter 21 of Google's *Site Reliability
Engineering* ("Handling Overload"), whose budgets are 20 % and 10 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from micronode.adapters.window import Window

#: Of a hundred calls, how many may be tried again.
PERCENT: Final = 20
#: Tries that are free, so that an owner that is called once a minute gets any at all.
RESERVE: Final = 3
#: Seconds that calls count: long enough that a burst is paid for by the calls before it.
WINDOW_S: Final = 10.0


class RetryBudget:
    """See the module's docstring. Within :data:`WINDOW_S` at most RESERVE + PERCENT % of the calls.

    :param seconds: tells the time.
    """

    __slots__ = ("_seen",)

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seen = Window(seconds, WINDOW_S)

    def call(self) -> None:
        """Count a call; its further tries are none."""
        self._seen.add()

    def take(self) -> bool:
        """Whether one more try may be made; if so, it is counted."""
        seen = self._seen
        seen.look()
        if (seen.marked + 1 - RESERVE) * 100 > seen.all * PERCENT:
            return False
        seen.mark()
        return True
