"""The endpoints of one owner: how each is, and which of them a call goes to.

*Why power of two choices.* Of two endpoints picked at random, the one with fewer calls under way gets the
call (M. Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing*, 2001). Taking turns sends a
slow endpoint as much as a fast one, and its calls pile up; always taking the least loaded lets every node of
a fleet run to the same one. With two endpoints it is the same as the least loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum, IntEnum
from random import Random
from typing import Final

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.breaker import Breaker, Pass
from micronode.adapters.outlier import Outlier

#: Seconds for which an endpoint's Retry-After is believed.
LONGEST_REST_S: Final = 30.0


class Health(Enum):
    """What the health check last heard."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Standing(IntEnum):
    """How good a choice an endpoint is, the best first. Only where there is none better, the next counts."""

    GOOD = 0
    #: It sits out, or its health check failed: what says so may be wrong, and it is better than nothing.
    EJECTED = 1
    DOWN = 2


class Endpoint:
    """One URL of an owner, and what is known of it. A reload keeps it as long as the URL stays.

    :param seconds: tells the time.
    :ivar in_flight: calls of it that are not over.
    :ivar health: what the health check last heard.
    """

    __slots__ = ("_rest_until", "_seconds", "agent", "breaker", "health", "in_flight", "outlier")

    def __init__(self, agent: OwnerAgent, seconds: Callable[[], float]) -> None:
        self.agent = agent
        self.breaker = Breaker(seconds)
        self.outlier = Outlier(seconds)
        self.health = Health.UNKNOWN
        self.in_flight = 0
        self._seconds = seconds
        self._rest_until = 0.0

    @property
    def standing(self) -> Standing:
        """How good a choice it is; whether its breaker lets a call through is another question."""
        if self.health is Health.DOWN:
            return Standing.DOWN
        return Standing.EJECTED if self.outlier.ejected else Standing.GOOD

    @property
    def is_well(self) -> bool:
        """Whether its health check succeeds, and so do its calls."""
        return self.health is Health.UP and self.serves

    @property
    def serves(self) -> bool:
        """Whether its calls succeed."""
        return not self.outlier.ejected and self.breaker.is_closed

    @property
    def rest_s(self) -> float:
        """Seconds for which it asked to be left alone."""
        now = self._seconds()
        # The clock may have been set back.
        self._rest_until = min(self._rest_until, now + LONGEST_REST_S)
        return max(0.0, self._rest_until - now)

    def rest(self, seconds: float) -> None:
        """Leave it alone for so long, if others can do its work: it asked for that."""
        until = self._seconds() + min(seconds, LONGEST_REST_S)
        self._rest_until = max(self._rest_until, until)

    def enter(self) -> Pass:
        """Begin a call of it, for which :meth:`judge` and :meth:`leave` are called once each."""
        entered = self.breaker.enter()
        self.in_flight += 1
        return entered

    def leave(self) -> None:
        """A call of it is over, its body included."""
        self.in_flight -= 1

    def judge(self, entered: Pass, well: bool | None, others: Iterable[Endpoint]) -> float | None:
        """Tell how a call of it went; the first judgement of a call counts.

        :param well: None where that says nothing of this endpoint.
        :param others: the endpoints there are, among which it may be: it sits out only if another is good.
        :return: the seconds for which it sits out from now on, where it does.
        """
        if entered.judged:
            return None
        self.breaker.judge(entered, well)
        if well is None:
            return None
        self.outlier.judge(well)
        if not well and self.outlier.due and any(each is not self and _takes_over(each) for each in others):
            return self.outlier.eject()
        return None


def choose(
    endpoints: Sequence[Endpoint], random: Random, avoid: Collection[Endpoint] = ()
) -> Endpoint | None:
    """Return the endpoint that a call goes to, or None where every breaker is open.

    :param avoid: endpoints that are taken only where no other is as good: the call has been there.
    """
    if len(endpoints) == 1:
        (only,) = endpoints
        return only if only.breaker.admits else None
    ranked = [
        ((each.standing, each.rest_s > 0, each in avoid), each) for each in endpoints if each.breaker.admits
    ]
    if not ranked:
        return None
    best = min(rank for rank, _ in ranked)
    equals = [each for rank, each in ranked if rank == best]
    if len(equals) == 1:
        return equals[0]
    first, second = random.sample(equals, 2)
    return second if second.in_flight < first.in_flight else first


def rest_before_s(endpoints: Sequence[Endpoint]) -> float:
    """Return the seconds for which the best of those *endpoints* that let calls through want rest."""
    ranked = [(each.standing, each.rest_s) for each in endpoints if each.breaker.admits]
    return min(ranked)[1] if ranked else 0.0


def keep_one(endpoints: Sequence[Endpoint]) -> None:
    """Let one of *endpoints* sit out no longer if all do: whoever could take over was taken away."""
    if endpoints and all(each.outlier.ejected for each in endpoints):
        min(endpoints, key=lambda each: each.outlier.left_s).outlier.readmit()


def _takes_over(endpoint: Endpoint) -> bool:
    return endpoint.standing is Standing.GOOD and endpoint.breaker.is_closed
