"""Finds out what the policy owner says of a call: from what is known, or by asking it once.

*One question at a time for each.* Calls that need the same decision share one question; whoever leaves
takes nobody else's with him, and when all have left it is cancelled.

*When the owner is too slow.* A call that waits for a decision holds a permit of its facet. The breaker of
the owner's client counts questions, of which shared ones are few: a thousand calls that wait for one
question would fill every gate before ten had failed. So after :data:`PATIENCE` questions in a row that were
not answered in time only one call at a time waits, to find out; for all others the owner cannot be reached,
at once. The first answer ends that. (Asking in the background instead, so that nobody waits, would leave a
question behind that no caller is there for when the node stops.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from micronode.calls.call import Call
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IPolicyOwner
from micronode.security.decisions import Decision, Decisions, Question, question_of

_log = Logger()

#: Questions in a row without an answer in time before only one is asked at a time.
PATIENCE: Final = 3
#: Seconds for which an owner that did not answer counts as failing; calls that need it renew that.
FAILING_S: Final = 60.0
#: Seconds between two lines of the log about that: one wrong answer in two must not fill a disk.
_TELL_S: Final = 10.0


@attrs.frozen
class Trouble:
    """Why the owner could not be asked, the last time."""

    #: By the clock.
    at: float
    error: NodeError


@attrs.define(eq=False)
class _Inquiry:
    """A question that is being asked, and who waits for what comes of it."""

    waiting: list[Deferred[Decision | None]] = attrs.field(factory=list)
    asking: Deferred[Decision] | None = None


class Decider:
    """See the module's docstring.

    :param seconds: tells the time.
    :ivar trouble: what was wrong when the owner was asked last; None: it answered, or was never asked.
    """

    def __init__(
        self, owner: IPolicyOwner, seconds: Callable[[], float], decisions: Decisions | None = None
    ) -> None:
        self.trouble: Trouble | None = None
        self._owner = owner
        self._seconds = seconds
        self._decisions = Decisions(seconds) if decisions is None else decisions
        self._inquiries: dict[Question, _Inquiry] = {}
        self._slow = 0
        self._told_at: float | None = None
        #: Whether the log's last word is that it cannot be asked.
        self._owes_news = False

    @property
    def known(self) -> int:
        """How many decisions are kept."""
        return len(self._decisions)

    @property
    def asking(self) -> int:
        """How many questions are being asked."""
        return len(self._inquiries)

    @property
    def failing(self) -> bool:
        """Whether the owner could not be asked the last time, within the last minute."""
        trouble = self.trouble
        return trouble is not None and 0.0 <= self._seconds() - trouble.at < FAILING_S

    def ask(self, call: Call) -> Decision | Deferred[Decision | None] | None:
        """Return what is decided about *call*, at once where that is known.

        None: the owner cannot be reached, and what it last said is too old. The Deferred never fails but
        by a defect, and may be cancelled.
        """
        question = question_of(call)
        decision = self._decisions.holding(question)
        if decision is not None:
            return decision
        if self._slow >= PATIENCE and self._inquiries and self.failing:
            return self._decisions.last(question)
        inquiry = self._inquiries.get(question)
        if inquiry is not None:
            return self._wait(question, inquiry)
        inquiry = self._inquiries[question] = _Inquiry()
        waiting = self._wait(question, inquiry)
        asking = inquiry.asking = self._owner.decide(call)
        asking.addCallbacks(
            self._heard,
            self._failed,
            callbackArgs=(question, inquiry),
            errbackArgs=(question, inquiry),
        )
        return waiting

    def _wait(self, question: Question, inquiry: _Inquiry) -> Deferred[Decision | None]:
        def leave(waiting: Deferred[Decision | None]) -> None:
            if waiting not in inquiry.waiting:
                # It is just being told.
                return
            inquiry.waiting.remove(waiting)
            if not inquiry.waiting:
                self._end(question, inquiry)
                if inquiry.asking is not None:
                    inquiry.asking.cancel()

        waiting: Deferred[Decision | None] = Deferred(leave)
        inquiry.waiting.append(waiting)
        return waiting

    def _end(self, question: Question, inquiry: _Inquiry) -> None:
        # It may have been left, and the same be asked anew.
        if self._inquiries.get(question) is inquiry:
            del self._inquiries[question]

    def _heard(self, decision: Decision, question: Question, inquiry: _Inquiry) -> None:
        self._end(question, inquiry)
        self._decisions.keep(question, decision)
        self._slow = 0
        self.trouble = None
        if self._owes_news:
            self._owes_news = False
            _log.info("policy_answers_again", owner="policy")
        self._tell(inquiry, decision)

    def _failed(self, failure: Failure, question: Question, inquiry: _Inquiry) -> None:
        self._end(question, inquiry)
        error = failure.value
        if not isinstance(error, NodeError):
            # Everybody has left; or it is a defect, which each of them is told of.
            self._break(inquiry, failure)
            return
        now = self._seconds()
        self.trouble = Trouble(now, error)
        if error.code is ErrorCode.OWNER_TIMEOUT:
            self._slow += 1
        if self._told_at is None or not 0.0 <= now - self._told_at < _TELL_S:
            self._told_at = now
            self._owes_news = True
            _log.warn("policy_unreachable", owner="policy", reason=error.message)
        self._tell(inquiry, self._decisions.last(question))

    def _tell(self, inquiry: _Inquiry, decision: Decision | None) -> None:
        waiting, inquiry.waiting = inquiry.waiting, []
        for each in waiting:
            # What one call does may have made another leave.
            if not each.called:
                each.callback(decision)

    def _break(self, inquiry: _Inquiry, failure: Failure) -> None:
        waiting, inquiry.waiting = inquiry.waiting, []
        for each in waiting:
            if not each.called:
                each.errback(failure)
