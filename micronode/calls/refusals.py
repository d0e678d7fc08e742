"""Which calls are refused before anything is done for them, in which words, until when; and their count."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from random import Random
from typing import Final

from micronode.calls.operations import Access, Operation
from micronode.concurrency.backpressure import Gate, retry_after_s
from micronode.concurrency.measure import Level
from micronode.concurrency.shedlog import ShedLog
from micronode.errors import ErrorCode, NodeError
from micronode.observability.metrics import Metrics

#: About when callers of a node that stops are told to come back.
DRAINING_RETRY_S: Final = 5.0


class Refusals:
    """What a node refuses whatever room there is, and how each call is refused that is.

    :ivar draining: whether it stops, and refuses every call.
    """

    def __init__(self, metrics: Metrics, shed: ShedLog | None, random: Random) -> None:
        """:param shed: tells of refusals in the log; None: nothing does.
        :param random: spreads when refused callers come back.
        """
        self.draining = False
        self._metrics = metrics
        self._log = shed
        self._random = random
        self._shedding = Level.NONE
        self._stay_away_s: Callable[[], float] = lambda: 1.0

    def shed(self, level: Level, stay_away_s: Callable[[], float]) -> None:
        """Refuse what *level* says from now on, with ``not_ready``.

        :param stay_away_s: for how many seconds a refused caller is to stay away; asked for each.
        """
        self._shedding = level
        self._stay_away_s = stay_away_s

    def cover(self, operation: Operation) -> bool:
        """Whether a call to *operation* is refused whatever room there is."""
        level = self._shedding
        if level is Level.NONE:
            return self.draining
        return self.draining or level is Level.ALL or operation.access is Access.WRITE

    def of(self, operation: Operation, full: Gate | None) -> tuple[NodeError, str]:
        """Return the error of a call to *operation* that is refused, and what its bound is counted as.

        :param full: the gate that has no permit for it; None: there was one, and a node that stops or is sick
            refuses it.
        """
        if full is not None:
            return busy(operation, full, self._random)
        error = draining() if self.draining else overloaded(self._shedding, self._stay_away_s())
        return error, error.code.value

    def note(self, reason: str, facet: str) -> None:
        """Count that a call to *facet* met the bound *reason*."""
        self._metrics.rejected(reason).inc()
        if self._log is not None:
            self._log.refused(reason, facet)

    def refused(self, reason: str, facet: str) -> None:
        """Count that a call to *facet* was refused for it, too."""
        self.note(reason, facet)
        self._metrics.facet_requests(facet, "refused").inc()


def busy(operation: Operation, gate: Gate, random: Random) -> tuple[NodeError, str]:
    """Return the error of a call to *operation* for which *gate* has no permit, and the bound's name.

    The name is what ``rejected_total`` counts it as.
    """
    full = gate.full
    if full is not gate:
        message, reason = f"the node is serving {full.limit} calls, its limit", "busy_node"
    elif operation.subscribes:
        message = f"facet {operation.facet} is serving {gate.limit} subscriptions, its limit"
        reason = "busy_subscriptions"
    else:
        message, reason = f"facet {operation.facet} is serving {gate.limit} calls, its limit", "busy"
    return NodeError(ErrorCode.BUSY, message, retry_after_s=retry_after_s(full, random)), reason


def buckets_of(token_id: str | None, origin: str, rps: int) -> tuple[tuple[str, float], ...]:
    """Return whose calls one with *token_id*, from *origin*, is: keys, each with calls a second it may make.

    The token's, where one was verified, else where the connection comes from: never what a caller says of
    itself. What a token says of its own rate belongs here, too.

    :param rps: what every caller may do.
    """
    return ((token_id or origin or "unknown", rps),)


def rate_limited(rps: int, wait_s: float) -> NodeError:
    """Return the error of a call that is one too many for *rps*.

    :param wait_s: when there will be a token for it.
    """
    # In whole milliseconds, as it is told: who comes a moment too early is refused again.
    retry_after_s = ceil(wait_s * 1000) / 1000
    message = f"more than {rps} calls a second, the limit of a caller"
    return NodeError(ErrorCode.RATE_LIMITED, message, retry_after_s=retry_after_s)


def draining() -> NodeError:
    """Return the error of a call to a node that is going away."""
    return NodeError(ErrorCode.DRAINING, "the node is stopping", retry_after_s=DRAINING_RETRY_S)


def overloaded(level: Level, retry_after_s: float) -> NodeError:
    """Return the error of a call that *level* says is not taken."""
    what = "calls" if level is Level.ALL else "writes"
    message = f"the node is overloaded, and takes no {what} for now"
    return NodeError(ErrorCode.NOT_READY, message, retry_after_s=retry_after_s)
