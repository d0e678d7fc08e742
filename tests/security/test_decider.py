"""micronode.security.decider: what is asked, how often, and what is told when there is no answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.operations import Operation
from micronode.security.decider import FAILING_S, PATIENCE, Decider
from micronode.security.decisions import STALE_S, Decision
from tests.contracts.policy_owner import PolicyOwnerContract
from tests.support.policy import ALLOW, DENY, DOWN, READ, SLOW, WRITE, WRONG, MemoryPolicyOwner, call_of


class MemoryPolicyOwnerTests(PolicyOwnerContract, SynchronousTestCase):
    """The double does as the real one."""

    def make_owner(self) -> MemoryPolicyOwner:
        self.owner = MemoryPolicyOwner()
        self.owner.waits = True
        return self.owner

    def say(self, decision: Decision) -> None:
        self.owner.answer(decision)

    def refuse(self) -> None:
        self.owner.answer(DOWN)

    def idle(self) -> bool:
        return not self.owner.waiting


class DeciderCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.owner = MemoryPolicyOwner()
        self.decider = Decider(self.owner, self.clock.seconds)

    def ask(self, operation: Operation = READ, **fields: Any) -> Any:
        return self.decider.ask(call_of(operation, **fields))

    def result(self, asked: Any) -> Any:
        return self.successResultOf(asked) if isinstance(asked, Deferred) else asked

    def decided(self, operation: Operation = READ, **fields: Any) -> Decision | None:
        result: Decision | None = self.result(self.ask(operation, **fields))
        return result


class AskingTests(DeciderCase):
    def test_it_is_asked_once_in_its_time(self) -> None:
        self.assertIs(self.decided(), ALLOW)
        self.owner.says = DENY
        self.clock.advance(4.9)
        self.assertIs(self.ask(), ALLOW, "at once, no Deferred")
        self.clock.advance(0.1)
        self.assertIs(self.decided(), DENY)
        self.assertIs(self.ask(), DENY, "a refusal is kept, too")
        self.assertEqual((len(self.owner.asked), self.decider.known), (2, 1))

    def test_what_makes_another_question(self) -> None:
        self.decided(tenant=b"a" * 16, token_id="1" * 32)
        for operation, fields in (
            (READ, {"tenant": b"b" * 16, "token_id": "1" * 32}),
            (READ, {"tenant": b"a" * 16, "token_id": "2" * 32}),
            (WRITE, {"tenant": b"a" * 16, "token_id": "1" * 32}),
        ):
            before = len(self.owner.asked)
            self.decided(operation, **fields)
            self.assertEqual(len(self.owner.asked), before + 1)
        self.decided(tenant=b"a" * 16, token_id="1" * 32, request_id="another", peer="another")
        self.assertEqual(len(self.owner.asked), 4)

    def test_many_share_one_question(self) -> None:
        self.owner.waits = True
        asked = [self.ask() for _ in range(3)]
        other = self.ask(WRITE)
        self.assertEqual((len(self.owner.asked), self.decider.asking), (2, 2))
        self.owner.answer(DENY)
        self.assertEqual([self.result(each) for each in asked], [DENY] * 3)
        self.assertNoResult(other)
        self.owner.answer(ALLOW)
        self.assertIs(self.result(other), ALLOW)
        self.assertEqual(self.decider.asking, 0)

    def test_who_leaves_takes_nobody_with_him(self) -> None:
        self.owner.waits = True
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.owner.cancelled, 0)
        self.owner.answer(ALLOW)
        self.assertIs(self.result(second), ALLOW)

    def test_the_last_to_leave_takes_the_question_along(self) -> None:
        self.owner.waits = True
        first, second = self.ask(), self.ask()
        first.cancel()
        second.cancel()
        for each in (first, second):
            self.failureResultOf(each, CancelledError)
        self.assertEqual((self.owner.cancelled, self.decider.asking), (1, 0))
        self.assertIsNone(self.decider.trouble, "it is no fault of the owner's")
        third = self.ask()
        self.owner.answer(ALLOW)
        self.assertIs(self.result(third), ALLOW)

    def test_one_that_is_told_and_makes_another_leave(self) -> None:
        self.owner.waits = True
        first, second = self.ask(), self.ask()
        first.addCallback(lambda _: second.cancel())
        self.owner.answer(ALLOW)
        self.failureResultOf(second, CancelledError)
        self.assertEqual((self.owner.cancelled, self.decider.asking), (0, 0))

    def test_a_defect_is_told(self) -> None:
        self.owner.waits = True
        first, second = self.ask(), self.ask()
        self.owner.answer(ZeroDivisionError())
        for each in (first, second):
            self.failureResultOf(each, ZeroDivisionError)
        self.assertEqual(self.decider.asking, 0)


class UnreachableTests(DeciderCase):
    def test_what_was_decided_counts_a_minute_longer(self) -> None:
        for decision in (ALLOW, DENY):
            self.owner.says = decision
            self.decided()
            self.owner.says = DOWN
            self.clock.advance(decision.ttl_s + STALE_S - 0.1)
            self.assertIs(self.decided(), decision)
            self.clock.advance(0.1)
            self.assertIsNone(self.decided())

    def test_what_was_never_decided(self) -> None:
        for error in (DOWN, SLOW, WRONG):
            self.owner.says = error
            self.assertIsNone(self.decided())
            self.assertIs(self.decider.trouble and self.decider.trouble.error, error)

    def test_failing(self) -> None:
        self.assertFalse(self.decider.failing)
        self.owner.says = WRONG
        self.decided()
        self.clock.advance(FAILING_S - 0.1)
        self.assertTrue(self.decider.failing)
        self.clock.advance(0.1)
        self.assertFalse(self.decider.failing, "nobody has asked for long")
        self.decided()
        self.assertTrue(self.decider.failing)
        self.owner.says = ALLOW
        self.decided()
        self.assertFalse(self.decider.failing)

    def test_the_log(self) -> None:
        """Once, not for each call, and again when it is over; no token is in it."""
        self.owner.says = DOWN
        token = "5ec4e7" * 5 + "00"
        with capturedLogs() as logs:
            for _ in range(3):
                self.decided(token_id=token)
            self.clock.advance(9.9)
            self.decided()
            self.assertEqual([each["log_format"] for each in logs], ["policy_unreachable"])
            self.clock.advance(0.1)
            self.decided()
            self.owner.says = ALLOW
            self.decided()
            self.clock.advance(10.0)
            self.decided()
        self.assertEqual(
            [(each["log_format"], each.get("reason")) for each in logs],
            [("policy_unreachable", DOWN.message)] * 2 + [("policy_answers_again", None)],
        )
        self.assertNotIn(token, repr(logs))

    def test_an_answer_between_two_wrong_ones_tells_no_more(self) -> None:
        with capturedLogs() as logs:
            for _ in range(50):
                self.owner.says = WRONG
                self.decided(WRITE)
                self.owner.says = Decision(allow=True, rule="x", ttl_s=0.0)
                self.decided(READ)
        self.assertLessEqual(len(logs), 2)


class SlowOwnerTests(DeciderCase):
    """One that is too slow holds up one call at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.owner.waits = True

    def grow_impatient(self) -> None:
        for _ in range(PATIENCE):
            asked = self.ask()
            self.owner.answer(SLOW)
            self.assertIsNone(self.result(asked))

    def test_all_wait_at_first(self) -> None:
        for _ in range(PATIENCE - 1):
            asked = self.ask(), self.ask(), self.ask(WRITE)
            self.owner.answer(SLOW)
            for each in asked[:2]:
                self.assertIsNone(self.result(each))
            self.owner.answer(DOWN)
            self.assertIsNone(self.result(asked[2]))
        self.assertNoResult(self.ask())
        self.assertNoResult(self.ask())

    def test_then_one_does(self) -> None:
        self.grow_impatient()
        probe = self.ask()
        self.assertNoResult(probe)
        self.assertIsNone(self.ask(), "the same question")
        self.assertIsNone(self.ask(WRITE), "another one")
        self.assertEqual(self.decider.asking, 1)
        self.owner.answer(SLOW)
        self.assertIsNone(self.result(probe))
        self.assertNoResult(self.ask(WRITE))

    def test_what_was_decided_counts(self) -> None:
        self.owner.waits = False
        self.decided(WRITE)
        self.owner.waits = True
        self.clock.advance(ALLOW.ttl_s)
        self.grow_impatient()
        self.ask()
        self.assertIs(self.ask(WRITE), ALLOW)

    def test_an_answer_ends_it(self) -> None:
        self.grow_impatient()
        probe = self.ask()
        self.owner.answer(ALLOW)
        self.assertIs(self.result(probe), ALLOW)
        for operation in (WRITE, WRITE):
            self.assertNoResult(self.ask(operation))
        self.assertNoResult(self.ask(tenant=b"t" * 16))
        self.owner.answer(WRONG)
        self.assertNoResult(self.ask(WRITE))
        self.assertNoResult(self.ask(tenant=b"u" * 16))

    def test_time_ends_it(self) -> None:
        """Nobody has asked for long: it is as good as any."""
        self.grow_impatient()
        self.clock.advance(FAILING_S)
        for operation in (READ, READ, WRITE):
            self.assertNoResult(self.ask(operation))
        self.owner.answer(SLOW)
        self.assertIsNone(self.ask(READ), "it is not")

    def test_other_failures_do_not_count(self) -> None:
        for _ in range(PATIENCE * 2):
            asked = self.ask()
            self.owner.answer(WRONG)
            self.assertIsNone(self.result(asked))
        self.assertNoResult(self.ask())
        self.assertNoResult(self.ask(WRITE))
