"""What every IPolicyOwner promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IPolicyOwner
from micronode.security.decisions import Decision
from tests.support.policy import WRITE, call_of


class PolicyOwnerContract:
    """Subclasses make the implementation and play the owner.

    ``make_owner()`` returns a new IPolicyOwner; ``say(decision)`` answers the question that waits,
    ``refuse()`` lets the owner be down, ``idle()`` tells whether nothing is left of any question.
    """

    def test_interface(self) -> None:
        verifyObject(IPolicyOwner, self.case.make_owner())

    @property
    def case(self) -> Any:
        return self

    def test_decisions(self) -> None:
        owner = self.case.make_owner()
        for decision in (
            Decision(allow=True, rule="default", ttl_s=5.0),
            Decision(allow=False, rule="r", reason="no", max_bytes=7, ttl_s=0.0),
        ):
            decided = owner.decide(call_of(WRITE))
            self.case.assertNoResult(decided)
            self.case.say(decision)
            self.case.assertEqual(self.case.successResultOf(decided), decision)
        self.case.assertTrue(self.case.idle())

    def test_an_owner_that_is_down(self) -> None:
        decided = self.case.make_owner().decide(call_of())
        self.case.refuse()
        error = self.case.failureResultOf(decided, NodeError).value
        self.case.assertIs(error.code, ErrorCode.OWNER_UNAVAILABLE)
        self.case.assertEqual(error.source, "policy")
        self.case.assertTrue(self.case.idle())

    def test_whoever_asks_may_leave(self) -> None:
        decided = self.case.make_owner().decide(call_of())
        decided.cancel()
        self.case.failureResultOf(decided, CancelledError)
        self.case.assertTrue(self.case.idle())
