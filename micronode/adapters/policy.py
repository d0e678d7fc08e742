"""The policy owner: one question, ``POST /v1/decide``, one small answer, and little time for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from micronode.adapters.behalf import terms
from micronode.adapters.owner import OwnerClient
from micronode.adapters.retries import read_retry_after
from micronode.calls.call import NO_TENANT, Call
from micronode.config.schema import Owner
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerClient, IOwnerReply, IPolicyOwner
from micronode.security.decider import Decider
from micronode.security.decisions import MAX_DECISION_BYTES, Decision, question_of, read_decision
from micronode.security.policy import Policy

#: Seconds for a decision, further tries and the answer's body included: every call that needs one waits.
DECIDE_S: Final = 0.25
_TYPE: Final = (b"content-type", b"application/json")


@implementer(IPolicyOwner)
class PolicyClient:
    """See :class:`~micronode.interfaces.IPolicyOwner`.

    Whatever is no decision comes out as a NodeError that says what was wrong with it: its client's, or
    ``bad_gateway``.
    """

    def __init__(self, owner: IOwnerClient, clock: IReactorTime) -> None:
        self._owner = owner
        self._clock = clock

    def decide(self, call: Call) -> Deferred[Decision]:
        """Ask whether *call* may be done."""
        return Deferred.fromCoroutine(self._decide(call))

    async def _decide(self, call: Call) -> Decision:
        until = self._clock.seconds() + DECIDE_S
        # Of the caller's own terms only who asks: the answer is for others, too.
        headers = [_TYPE, *terms(call, None)["headers"]]
        reply = await self._owner.call(
            b"POST", b"/v1/decide", headers=headers, body=_ask(call), idempotent=True, deadline_s=DECIDE_S
        )
        if reply.status != 200:
            raise self._refusal(reply)
        decisions: list[Decision] = []
        within_s = max(0.0, until - self._clock.seconds())
        await reply.read(MAX_DECISION_BYTES, within_s=within_s, check=self._reader(reply, decisions))
        return decisions[0]

    def _reader(self, reply: IOwnerReply, decisions: list[Decision]) -> Callable[[bytes], None]:
        """Return what reads the body of *reply* into *decisions*."""
        encoding = (reply.header("content-encoding") or "identity").strip().lower()

        def read(data: bytes) -> None:
            try:
                if encoding != "identity":
                    raise ValueError("it is in an encoding nobody asked for")
                decisions.append(read_decision(data))
            except ValueError as error:
                raise self._bad(f"answered no decision: {error}") from None

        return read

    def _refusal(self, reply: IOwnerReply) -> NodeError:
        """Return what a *reply* that is none means; its body is thrown away."""
        rest_s = read_retry_after(reply.header("retry-after"))
        reply.discard()
        error = self._bad(f"answered with status {reply.status}")
        error.retry_after_s = rest_s or None
        return error

    def _bad(self, what: str) -> NodeError:
        name = self._owner.name
        return NodeError(ErrorCode.BAD_GATEWAY, f"owner {name} {what}", source=name)


def make_policy(
    owner: Owner, clients: Mapping[str, OwnerClient], clock: IReactorTime, before: Policy | None
) -> Policy | None:
    """Return what judges calls; None: there is no policy owner.

    :param owner: as it is configured.
    :param clients: of the owners there are, by name.
    :param before: what judged them until now; what was decided is known as long as the owner's URLs stay.
    """
    if "policy" not in clients:
        return None
    if before is not None and before.urls == owner.url:
        return Policy(before.decider, owner.fail, owner.url)
    decider = Decider(PolicyClient(clients["policy"], clock), clock.seconds)
    return Policy(decider, owner.fail, owner.url)


def _ask(call: Call) -> bytes:
    """Return the question about *call* as JSON."""
    tenant, token_id, facet, op, method = question_of(call)
    question = {
        "tenant": None if tenant == NO_TENANT else tenant.hex(),
        "token_id": token_id,
        "facet": facet,
        "op": op,
        "method": method,
    }
    return json.dumps(question, separators=(",", ":")).encode("ascii")
