"""How long a call of an owner may take, up to the head of its answer, and who says so."""

from __future__ import annotations

from math import inf
from typing import Final

from twisted.internet.interfaces import IReactorTime

#: Of the time that an attempt has where nothing was before it, the share without which its end says nothing
#: of the owner: a caller may give less, and an attempt, a queue, or another owner before it may have used it.
#: Not all of it, since a few milliseconds always have.
FAIR: Final = 0.9
#: Seconds by which the facet's timeout may end a call before its owner's would, for what came before it.
EARLIER_S: Final = 0.5


class TimeLeft:
    """The time of one call, over all of its attempts; it runs from when it is made.

    :param timeout_s: seconds of one attempt.
    :param deadline_s: of all of them, of the time before each, and of waiting for a permit; None: as of one.
    :param caller_s: what the caller gives; None: whatever it takes.
    :param wait_s: what the owner was asked to let pass, beside what an attempt has.
    :ivar waits: whether it was.
    :ivar given_s: all that there is, as :attr:`of_call` was in the beginning.
    """

    __slots__ = ("_caller_until", "_clock", "_deadline_s", "_timeout_s", "_until", "given_s", "waits")

    def __init__(
        self,
        clock: IReactorTime,
        timeout_s: float,
        deadline_s: float | None,
        caller_s: float | None,
        wait_s: float = 0.0,
    ) -> None:
        self.waits = wait_s > 0
        self._clock = clock
        self._timeout_s = timeout_s + wait_s
        self._deadline_s = self._timeout_s if deadline_s is None else deadline_s
        now = clock.seconds()
        self.given_s = self._deadline_s if caller_s is None else min(self._deadline_s, caller_s)
        self._until = now + self._deadline_s
        self._caller_until = inf if caller_s is None else now + caller_s

    def is_short(self, seconds: float) -> bool:
        """Whether so many are less than an owner may fairly be blamed for: see :data:`FAIR`."""
        return seconds < FAIR * min(self._timeout_s, self._deadline_s)

    def is_over(self, seconds: float) -> bool:
        """Whether a call that is given up after an attempt of so many was given up for want of time.

        Most likely by the facet's timeout. Whoever asked the owner to let time pass may leave at any moment.
        """
        return not self.waits and not self.is_short(seconds) and self.of_call <= EARLIER_S

    def restart(self) -> None:
        """Begin anew: the request's body was passed on whole. The caller's time goes on."""
        self._until = self._clock.seconds() + self._deadline_s

    @property
    def of_call(self) -> float:
        """Seconds that are left in all; negative where the time is over."""
        return min(self._until, self._caller_until) - self._clock.seconds()

    @property
    def of_attempt(self) -> float:
        """Seconds that an attempt has which begins now; not negative."""
        left_s = min(self._until, self._caller_until) - self._clock.seconds()
        return max(0.0, min(self._timeout_s, left_s))
