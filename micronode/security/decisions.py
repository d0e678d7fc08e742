"""What the policy owner has decided: the shape of it, how it is read, and how long it holds. Pure.

A decision is for a question: tenant, token, facet, op and method, and nothing else of a call. It holds for
its ``ttl_s``; for :data:`STALE_S` longer it is known what it was, for when nobody can be asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from micronode.calls.call import Call
from micronode.oap.wire.heads import HeadError, parse_object

#: Tenant, token id, facet, op, method.
Question: TypeAlias = tuple[bytes, str | None, str, str, str]

#: Bytes of a decision as JSON; the longest honest one is a few hundred.
MAX_DECISION_BYTES: Final = 16_384
#: Seconds that a decision may hold: a rule that was changed counts everywhere five minutes later.
MAX_TTL_S: Final = 300.0
#: Seconds beyond that in which it is still told, where the owner cannot be asked: a restart of it, not a
#: night without it.
STALE_S: Final = 60.0
#: Decisions that are kept, those used last: some 6 MB, or 22 MB where their texts are as long as may be.
MAX_DECISIONS: Final = 10_000
#: Characters of a rule's name and of a reason, each.
_MAX_TEXT: Final = 200


@attrs.frozen(kw_only=True)
class Decision:
    """What the owner says of a question. Its texts are printable, and short."""

    allow: bool
    rule: str
    reason: str = ""
    #: Of the request's body; None: whatever the node takes.
    max_bytes: int | None = None
    #: Seconds, 0 to :data:`MAX_TTL_S`.
    ttl_s: float = 0.0


def question_of(call: Call) -> Question:
    """Return what is asked about *call*, and what the answer is kept by."""
    operation = call.operation
    return call.tenant, call.token_id, operation.facet, operation.op, operation.method


def read_decision(data: bytes) -> Decision:
    """Read the JSON of an answer, strictly; members that it need not have are not looked at.

    :raises ValueError: it is no decision.
    """
    try:
        said = parse_object(data, max_bytes=MAX_DECISION_BYTES)
    except HeadError as error:
        raise ValueError(error.message) from None
    action, max_bytes, ttl_s = said.get("action"), said.get("max_bytes"), said.get("ttl_s")
    if action not in ("allow", "deny"):
        raise ValueError("its action is neither allow nor deny")
    # A bool is an int to Python. Numbers that no double holds are no JSON here.
    if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 0):
        raise ValueError("its max_bytes is no number of bytes")
    if type(ttl_s) is not int and type(ttl_s) is not float:
        raise ValueError("its ttl_s is no number of seconds")
    return Decision(
        allow=action == "allow",
        rule=_read_text(said, "rule"),
        reason=_read_text(said, "reason"),
        max_bytes=max_bytes,
        ttl_s=min(max(float(ttl_s), 0.0), MAX_TTL_S),
    )


def _read_text(said: dict[str, Any], name: str) -> str:
    text = said.get(name)
    if not isinstance(text, str):
        raise ValueError(f"its {name} is no text")
    # Cut first: it goes into messages and logs, and may be as long as the whole answer.
    return "".join(each if each.isprintable() else "?" for each in text[:_MAX_TEXT])


@attrs.frozen
class _Kept:
    decision: Decision
    #: By the clock, which may be set: one from the future is as good as none.
    since: float
    until: float


class Decisions:
    """The decisions that are known, by question; of too many, those that were not used for longest go.

    :param seconds: tells the time.
    """

    def __init__(self, seconds: Callable[[], float], most: int = MAX_DECISIONS) -> None:
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[Question, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, question: Question, decision: Decision) -> None:
        """Let *decision* hold for *question* from now on."""
        now = self._seconds()
        self._kept[question] = _Kept(decision, now, now + decision.ttl_s)
        self._kept.move_to_end(question)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def holding(self, question: Question) -> Decision | None:
        """Return the decision that holds for *question*, or None."""
        kept = self._kept.get(question)
        if kept is None or not kept.since <= self._seconds() < kept.until:
            return None
        self._kept.move_to_end(question)
        return kept.decision

    def last(self, question: Question) -> Decision | None:
        """Return the last decision for *question*, :data:`STALE_S` beyond its time at most, or None."""
        kept = self._kept.get(question)
        if kept is None:
            return None
        if not kept.since <= self._seconds() < kept.until + STALE_S:
            del self._kept[question]
            return None
        self._kept.move_to_end(question)
        return kept.decision
