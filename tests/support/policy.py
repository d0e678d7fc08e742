"""Policy owners in memory, and calls for them to judge."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from micronode.calls.call import Call, Ingress, Reply
from micronode.calls.operations import Access, BodyRule, Operation
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IPolicyOwner
from micronode.security.decisions import Decision, Question, question_of

ALLOW = Decision(allow=True, rule="default", reason="", ttl_s=5.0)
DENY = Decision(allow=False, rule="no writes", reason="it is Sunday", ttl_s=5.0)
#: What the owner's client says of one that is down, too slow, or answers nonsense.
DOWN = NodeError(
    ErrorCode.OWNER_UNAVAILABLE, "owner policy cannot be reached", retry_after_s=1.0, source="policy"
)
SLOW = NodeError(ErrorCode.OWNER_TIMEOUT, "owner policy did not answer in time", source="policy")
WRONG = NodeError(ErrorCode.BAD_GATEWAY, "owner policy answered no decision", source="policy")


async def _nothing(call: Call) -> Reply:
    raise AssertionError("nobody runs it")


def operation(
    op: str = "read", *, access: Access = Access.READ, method: str = "GET", facet: str = "graph"
) -> Operation:
    """Return an operation that nobody runs."""
    return Operation(
        name=f"{facet}.{op}",
        facet=facet,
        method=method,
        path=f"/app/{facet}/{op}",
        profile=0x0501,
        op=op,
        access=access,
        handler=_nothing,
        body=BodyRule.STREAMED if access is Access.WRITE else BodyRule.NONE,
    )


READ = operation()
WRITE = operation("write", access=Access.WRITE, method="POST")


def call_of(asked: Operation = READ, **fields: Any) -> Call:
    """Return a call of *asked*."""
    given: dict[str, Any] = {"operation": asked, "args": {}, "ingress": Ingress.OAP, "request_id": "r-1"}
    return Call(**{**given, **fields})


@implementer(IPolicyOwner)
class MemoryPolicyOwner:
    """Answers each question with :attr:`says`, a Decision or a NodeError, at once or when the test says so.

    :ivar asked: every question.
    :ivar waits: whether answers wait for :meth:`answer`.
    :ivar cancelled: questions that nobody wanted answered any more.
    """

    def __init__(self, says: Decision | NodeError = ALLOW) -> None:
        self.says = says
        self.asked: list[Question] = []
        self.waits = False
        self.waiting: list[tuple[Question, Deferred[Decision]]] = []
        self.cancelled = 0

    def decide(self, call: Call) -> Deferred[Decision]:
        """See IPolicyOwner."""
        question = question_of(call)
        self.asked.append(question)
        if not self.waits:
            return self._said()
        answered: Deferred[Decision] = Deferred(self._cancel)
        self.waiting.append((question, answered))
        return answered

    def answer(self, says: Decision | Exception | None = None) -> None:
        """Answer the question that has waited longest, with *says* if it is given."""
        _, answered = self.waiting.pop(0)
        said = self.says if says is None else says
        answered.errback(said) if isinstance(said, Exception) else answered.callback(said)

    def _said(self) -> Deferred[Decision]:
        return fail(self.says) if isinstance(self.says, NodeError) else succeed(self.says)

    def _cancel(self, answered: Deferred[Decision]) -> None:
        self.cancelled += 1
        self.waiting = [each for each in self.waiting if each[1] is not answered]


@implementer(IPolicyOwner)
class TimedPolicyOwner:
    """A policy owner whose rule changes, and that may be down, too slow or lying.

    :ivar rule: what it would say of each question.
    :ivar state: ``up``, ``down``, ``slow`` or ``lying``.
    :ivar said: what it has said: (when, question, decision).
    """

    #: As long as a decision may take; and what one takes that is not too slow.
    PATIENCE_S = 0.25
    TAKES_S = 0.01

    def __init__(self, clock: IReactorTime) -> None:
        self.rule: dict[Question, Decision] = {}
        self.state = "up"
        self.said: list[tuple[float, Question, Decision]] = []
        self.asking = 0
        self._clock = clock

    def decide(self, call: Call) -> Deferred[Decision]:
        """See IPolicyOwner."""
        if self.state == "down":
            return fail(DOWN)
        question = question_of(call)
        slow = self.state == "slow"
        lying = self.state == "lying"
        self.asking += 1

        def cancel(_: Deferred[Decision]) -> None:
            timer.cancel()
            self.asking -= 1

        def answer() -> None:
            self.asking -= 1
            if slow or lying:
                answered.errback(SLOW if slow else WRONG)
                return
            decision = self.rule.get(question, ALLOW)
            self.said.append((self._clock.seconds(), question, decision))
            answered.callback(decision)

        answered: Deferred[Decision] = Deferred(cancel)
        timer = self._clock.callLater(self.PATIENCE_S if slow else self.TAKES_S, answer)
        return answered
