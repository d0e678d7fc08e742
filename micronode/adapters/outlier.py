"""Whether one endpoint of several has to sit out: it keeps failing while others are there to take its calls.

What is counted, in a row, and that the time grows with each ejection, is as Envoy's documentation has it
("Outlier detection", consecutive 5xx and base ejection time). It is for endpoints that are called too
rarely for a share of failures to mean something, which is the breaker's business
(:mod:`micronode.adapters.breaker`). Unlike a breaker it never takes the last one: that is asked of
whoever knows the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from micronode.adapters.pause import Pause

#: Failures in a row; Envoy's default.
FAILURES: Final = 5
#: Seconds of the first ejection, and the most of one. Envoy's 30 s are for fleets; an endpoint that restarts
#: is back within some seconds, and the health check says so only of what it asks.
EJECTED_S: Final = 5.0
LONGEST_EJECTED_S: Final = 60.0


class Outlier:
    """See the module's docstring.

    :param seconds: tells the time.
    """

    __slots__ = ("_failures", "_pause")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._failures = 0
        self._pause = Pause(seconds, EJECTED_S, LONGEST_EJECTED_S)

    @property
    def ejected(self) -> bool:
        """Whether it sits out."""
        return self._pause.left_s > 0

    @property
    def left_s(self) -> float:
        """Seconds that it sits out yet."""
        return self._pause.left_s

    @property
    def due(self) -> bool:
        """Whether it has failed often enough, and does not sit out already."""
        return self._failures >= FAILURES and not self.ejected

    def judge(self, well: bool) -> None:
        """A call of it ended."""
        self._failures = 0 if well else self._failures + 1

    def eject(self) -> float:
        """Let it sit out, and return for how many seconds. When it is back, its first failure is enough."""
        self._failures = FAILURES - 1
        return self._pause.begin()

    def readmit(self) -> None:
        """Let it sit out no longer: it is the last one."""
        self._pause.end()
