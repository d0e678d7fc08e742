"""A result that many wait for."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.client.outcome import Outcome


class OutcomeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.abandoned = 0
        self.outcome: Outcome[int] = Outcome(self._abandon)

    def _abandon(self) -> None:
        self.abandoned += 1

    def test_all_get_it_before_and_after(self) -> None:
        before = [self.outcome.when(), self.outcome.when()]
        self.outcome.settle(7)
        self.outcome.settle(8)
        self.assertEqual([self.successResultOf(each) for each in (*before, self.outcome.when())], [7, 7, 7])

    def test_failure_is_everybodys_and_nobodys(self) -> None:
        waiting = self.outcome.when()
        self.outcome.settle(Failure(ValueError("x")))
        self.failureResultOf(waiting, ValueError)
        self.failureResultOf(self.outcome.when(), ValueError)
        Outcome[int]().settle(Failure(ValueError("nobody waits, nothing is logged")))

    def test_the_last_to_leave_is_noted(self) -> None:
        first, second = self.outcome.when(), self.outcome.when()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.abandoned, 0)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.abandoned, 1)
        self.outcome.settle(1)

    def test_nobody_need_be_told(self) -> None:
        waiting = Outcome[int]().when()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

    def test_one_that_gets_it_may_cancel_the_others(self) -> None:
        first, second, third = (self.outcome.when() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        self.outcome.settle(1)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), 1)
