"""What every IPolicy promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from zope.interface.verify import verifyObject

from micronode.calls.call import Call
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IPolicy
from tests.support.policy import WRITE, call_of


class PolicyContract:
    """Subclasses have ``make_policy()`` and ``say(allowed)``, which makes that its word on every call.

    Where *allowed* is None it finds out later, and ``idle()`` tells whether it does not any more.
    """

    @property
    def case(self) -> Any:
        return self

    def judge(self, call: Call, allowed: bool) -> Any:
        """Return the call that goes on, or the error of one that does not: told at once, or by a Deferred."""
        policy = self.case.make_policy()
        verifyObject(IPolicy, policy)
        self.case.say(allowed)
        results: list[Any] = []
        try:
            judged = policy.admit(call)
        except NodeError as error:
            return error
        if not isinstance(judged, Deferred):
            return judged
        judged.addCallbacks(results.append, lambda failure: results.append(failure.value))
        (result,) = results
        return result

    def test_a_call_that_goes_on(self) -> None:
        call = call_of(WRITE)
        self.case.assertEqual(self.judge(call, allowed=True), call)

    def test_a_call_that_does_not(self) -> None:
        error = self.judge(call_of(WRITE), allowed=False)
        self.case.assertIsInstance(error, NodeError)
        self.case.assertIs(error.code, ErrorCode.FORBIDDEN)

    def test_whoever_waits_may_leave(self) -> None:
        policy = self.case.make_policy()
        self.case.say(None)
        judging = policy.admit(call_of(WRITE))
        self.case.assertNoResult(judging)
        judging.cancel()
        self.case.failureResultOf(judging, CancelledError)
        self.case.assertTrue(self.case.idle())
