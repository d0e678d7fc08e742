"""How a call is refused that nothing was done for: which bound it was, in words, and when to come back."""

from __future__ import annotations

from math import ceil
from random import Random
from typing import Final

from micronode.calls.call import Call
from micronode.calls.operations import Operation
from micronode.concurrency.backpressure import Gate, retry_after_s
from micronode.concurrency.measure import Level
from micronode.errors import ErrorCode, NodeError

#: About when callers of a node that stops are told to come back.
DRAINING_RETRY_S: Final = 5.0


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


def buckets_of(call: Call, rps: int) -> tuple[tuple[str, float], ...]:
    """Return whose calls *call* is one of: keys, each with how many calls a second it may make.

    The token's, where one was verified, else where the connection comes from: never what a caller says of
    itself. What a token says of its own rate belongs here, too.

    :param rps: what every caller may do.
    """
    return ((call.token_id or call.origin or "unknown", rps),)


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
