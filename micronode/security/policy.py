"""The policy: what becomes of a call that was admitted, by what its owner says, or if nobody says anything.

``docs/architecture.rst``, "Policy", has the table of what is answered when.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from micronode.calls.call import Call
from micronode.calls.operations import Access
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IPolicy, IReadinessCheck
from micronode.observability.probes import Check
from micronode.security.bounded import BoundedBody, too_large
from micronode.security.decider import Decider
from micronode.security.decisions import Decision

_log = Logger()
#: What ``source`` of its errors says.
SOURCE: Final = "policy"
#: Seconds; whatever its owner says of itself.
_LONGEST_RETRY_S: Final = 60.0


@implementer(IPolicy)
@attrs.frozen
class Policy:
    """See :class:`~micronode.interfaces.IPolicy`; a reload replaces it, and the decider goes on.

    :ivar fail: what goes on while there is no answer: ``closed`` (nothing), ``reads-open``, ``open``.
    :ivar urls: of its owner; with others, nothing of what was decided is known.
    """

    decider: Decider
    fail: str
    urls: tuple[str, ...] = ()

    def state(self, health: str) -> str:
        """Return how its owner is: it may say that it is well, and decide nothing.

        :param health: what its health check has found.
        """
        return "degraded" if health in ("ok", "starting") and self.decider.failing else health

    def admit(self, call: Call) -> Call | Deferred[Call]:
        """Judge *call*; see :class:`~micronode.interfaces.IPolicy`."""
        said = self.decider.ask(call)
        if isinstance(said, Deferred):
            return said.addCallback(self._judge, call)
        return self._judge(said, call)

    def _judge(self, said: Decision | None, call: Call) -> Call:
        if said is None:
            return self._unjudged(call)
        if not said.allow:
            raise self._forbidden(said, call)
        if said.max_bytes is None or call.body is None:
            return call
        if call.body.length is UNKNOWN_LENGTH:
            return attrs.evolve(call, body=BoundedBody(call.body, said.max_bytes, said.rule))
        if call.body.length > said.max_bytes:
            raise too_large(said.max_bytes, said.rule)
        return call

    def _unjudged(self, call: Call) -> Call:
        """Nobody says anything: let *call* go on, if it may.

        :raises NodeError: ``owner_unavailable``.
        """
        operation = call.operation
        if self.fail == "open" or (self.fail == "reads-open" and operation.access is Access.READ):
            _log.debug("policy_unjudged", route=operation.name, request_id=call.request_id)
            return call
        trouble = self.decider.trouble
        error = None if trouble is None else trouble.error
        rest_s = (None if error is None else error.retry_after_s) or 1.0
        raise NodeError(
            ErrorCode.OWNER_UNAVAILABLE,
            "the policy owner gives no answer, and without one this is not done",
            retry_after_s=min(rest_s, _LONGEST_RETRY_S),
            source=SOURCE,
            bound=None if error is None else error.bound,
        )

    def _forbidden(self, said: Decision, call: Call) -> NodeError:
        _log.debug("policy_denied", route=call.operation.name, request_id=call.request_id, reason=said.rule)
        why = f": {said.reason}" if said.reason else ""
        return NodeError(ErrorCode.FORBIDDEN, f"policy rule {said.rule!r} forbids this{why}", source=SOURCE)


def check_of(health: IReadinessCheck, policy: Policy | None) -> IReadinessCheck:
    """Return what ``/readyz`` looks at instead of *health*, that of an owner; of others' it is that."""
    if policy is None or health.name != SOURCE:
        return health
    return Check(health.name, lambda: policy.state(health.state()))
