"""micronode.security.policy: what becomes of a call, and the page's table of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface.verify import verifyObject

from micronode.adapters.lease import OWNER_FULL, full
from micronode.calls.call import Call
from micronode.errors import ErrorCode, NodeError, http_status
from micronode.http.body import BytesBody
from micronode.interfaces import IPolicy
from micronode.oap.upload import Upload
from micronode.security.bounded import BoundedBody
from micronode.security.decider import Decider
from micronode.security.decisions import STALE_S, Decision
from micronode.security.policy import Policy
from tests.contracts.policy import PolicyContract
from tests.support.policy import ALLOW, DENY, DOWN, READ, SLOW, WRITE, WRONG, MemoryPolicyOwner, call_of
from tests.support.policy_page import FAILS, ON, ROWS, Row, table

PAGE = Path(__file__).parents[2] / "docs/architecture.rst"
BOUND = Decision(allow=True, rule="small", max_bytes=3, ttl_s=5.0)


def upload() -> Upload:
    return Upload(lambda _: None, whole=False)


class PolicyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = MemoryPolicyOwner()
        self.policy = Policy(Decider(self.owner, self.clock.seconds), "closed")

    def admit(self, call: Call) -> Call:
        """Return the call that goes on.

        :raises NodeError: it does not.
        """
        try:
            judged = self.policy.admit(call)
        except NodeError as error:
            raise error from None
        if not isinstance(judged, Deferred):
            return judged
        results: list[Any] = []
        judged.addBoth(results.append)
        (result,) = results
        if isinstance(result, Call):
            return result
        result.raiseException()
        raise AssertionError

    def refused(self, call: Call) -> NodeError:
        return self.assertRaises(NodeError, self.admit, call)


class TableTests(PolicyCase):
    """Each row of the page's table, by each kind of no answer."""

    def test_the_page(self) -> None:
        self.assertIn(table(), PAGE.read_text("utf-8"), "run python -m tests.support.policy_page")

    def outcome(self, row: Row, fail: str, error: NodeError) -> str:
        """Return what becomes of the call of *row*."""
        self.setUp()
        if row.name == "none":
            # The dispatcher asks nobody: its own test shows that.
            return ON
        self.policy = attrs.evolve(self.policy, fail=fail)
        call = call_of(WRITE if "write" in row.name else READ)
        if row.name == "larger":
            self.owner.says = BOUND
            call = call_of(WRITE, body=BytesBody(b"four"))
        elif row.name in ("allow", "deny"):
            self.owner.says = ALLOW if row.name == "allow" else DENY
        else:
            if "unknown" not in row.name:
                self.owner.says = DENY if "deny" in row.name else ALLOW
                for _ in range(2):
                    try:
                        self.admit(call)
                    except NodeError as denied:
                        self.assertIs(denied.code, ErrorCode.FORBIDDEN)
                past_s = STALE_S if "too old" in row.name else STALE_S - 0.1
                self.clock.advance(ALLOW.ttl_s + past_s)
            self.owner.says = error
        try:
            self.assertIs(self.admit(call), call)
        except NodeError as refusal:
            self.assertEqual(refusal.source, "policy")
            self.assertEqual(refusal.retry_after_ms is not None, refusal.code.status == 503)
            return str(http_status(refusal.code))
        return ON

    def test_every_row(self) -> None:
        for row in ROWS:
            for error in (DOWN, SLOW, WRONG):
                answers = tuple(self.outcome(row, fail, error) for fail in FAILS)
                self.assertEqual(answers, row.answers, (row.name, error.code))


class JudgeTests(PolicyCase):
    def test_interface(self) -> None:
        verifyObject(IPolicy, self.policy)

    def test_what_is_known_is_judged_at_once(self) -> None:
        call = call_of()
        self.admit(call)
        self.assertIs(self.policy.admit(call), call)
        self.owner.says = DENY
        self.clock.advance(5.0)
        self.refused(call)
        error = self.assertRaises(NodeError, self.policy.admit, call)
        self.assertIs(error.code, ErrorCode.FORBIDDEN)
        self.assertEqual(len(self.owner.asked), 2)

    def test_the_question_may_be_left(self) -> None:
        self.owner.waits = True
        judged = self.policy.admit(call_of())
        assert isinstance(judged, Deferred)
        judged.cancel()
        self.failureResultOf(judged, CancelledError)
        self.assertEqual(self.owner.cancelled, 1)

    def test_the_message_names_rule_and_reason(self) -> None:
        self.owner.says = DENY
        error = self.refused(call_of())
        self.assertEqual(error.message, "policy rule 'no writes' forbids this: it is Sunday")
        self.assertFalse(error.code.retryable)
        self.owner.says = attrs.evolve(DENY, reason="")
        self.assertEqual(self.refused(call_of(WRITE)).message, "policy rule 'no writes' forbids this")

    def test_when_to_come_back(self) -> None:
        """The owner's own word counts, within reason."""
        for said_s, retry_ms in ((None, 1000), (7.0, 7000), (1e9, 60_000)):
            self.setUp()
            self.owner.says = NodeError(ErrorCode.OWNER_UNAVAILABLE, "x", retry_after_s=said_s)
            error = self.refused(call_of())
            self.assertIs(error.code, ErrorCode.OWNER_UNAVAILABLE)
            self.assertEqual(error.retry_after_ms, retry_ms)

    def test_a_full_owner(self) -> None:
        """Calls that fail for want of its permits are counted as those of any owner are."""
        self.owner.says = full("policy")
        self.assertEqual(self.refused(call_of()).bound, OWNER_FULL)
        self.owner.says = DOWN
        self.assertIsNone(self.refused(call_of()).bound)

    def test_the_log_has_no_token(self) -> None:
        self.owner.says = DENY
        with capturedLogs() as logs:
            self.refused(call_of(token_id="5ec4e7", capability="secret"))
            self.owner.says = DOWN
            self.policy = attrs.evolve(self.policy, fail="open")
            self.admit(call_of(WRITE, token_id="5ec4e7", capability="secret"))
        names = [each["log_format"] for each in logs]
        self.assertEqual(names, ["policy_denied", "policy_unreachable", "policy_unjudged"])
        for line in logs:
            own = {key: value for key, value in line.items() if not key.startswith("log_")}
            self.assertNotIn("5ec4e7", str(own))
            self.assertNotIn("secret", str(own))

    def test_state(self) -> None:
        self.assertEqual([self.policy.state(each) for each in ("ok", "down")], ["ok", "down"])
        self.owner.says = WRONG
        self.refused(call_of())
        states = [self.policy.state(each) for each in ("starting", "ok", "degraded", "down")]
        self.assertEqual(states, ["degraded", "degraded", "degraded", "down"])


class BodyTests(PolicyCase):
    """``max_bytes``."""

    def setUp(self) -> None:
        super().setUp()
        self.owner.says = BOUND

    def test_no_body(self) -> None:
        call = call_of(READ)
        self.assertIs(self.admit(call), call)

    def test_a_length_that_is_known(self) -> None:
        for data, goes_on in ((b"", True), (b"abc", True), (b"abcd", False)):
            call = call_of(WRITE, body=BytesBody(data))
            if goes_on:
                self.assertIs(self.admit(call), call)
            else:
                error = self.refused(call)
                self.assertIs(error.code, ErrorCode.BODY_TOO_LARGE)
                self.assertEqual(error.message, "policy rule 'small' allows a body of at most 3 bytes")

    def test_a_length_that_is_not(self) -> None:
        call = call_of(WRITE, body=upload(), idempotency_key="k")
        admitted = self.admit(call)
        self.assertIsInstance(admitted.body, BoundedBody)
        assert admitted.body is not None
        self.assertIs(admitted.body.length, UNKNOWN_LENGTH)
        self.assertEqual(attrs.evolve(admitted, body=None), attrs.evolve(call, body=None))

    def test_no_bound(self) -> None:
        self.owner.says = ALLOW
        call = call_of(WRITE, body=upload())
        self.assertIs(self.admit(call), call)


class ContractTests(PolicyContract, PolicyCase):
    def make_policy(self) -> Policy:
        return self.policy

    def say(self, allowed: bool | None) -> None:
        self.owner.waits = allowed is None
        self.owner.says = DENY if allowed is False else ALLOW

    def idle(self) -> bool:
        return not self.policy.decider.asking
