"""A round: everybody who waits for it hears of its end, but for those who no longer do."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.hot_reload import Outcome
from micronode.config.rounds import Round

ENDED = Outcome(outcome="unchanged", config_sha="0" * 64)


class RoundTests(SynchronousTestCase):
    def test_all_are_told(self) -> None:
        """Once, in the order in which they came."""
        round_, told = Round(), []
        for name in "ab":
            round_.join().addCallback(lambda outcome, name=name: told.append((name, outcome)))
        self.assertEqual(told, [])
        round_.end(ENDED)
        round_.end(ENDED)
        self.assertEqual(told, [("a", ENDED), ("b", ENDED)])

    def test_one_that_gives_up(self) -> None:
        """It lets the round be, and the others."""
        round_ = Round()
        one, other = round_.join(), round_.join()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.assertNoResult(other)
        round_.end(ENDED)
        self.assertIs(self.successResultOf(other), ENDED)

    def test_one_that_makes_another_give_up(self) -> None:
        round_ = Round()
        one, other = round_.join(), round_.join()
        one.addCallback(lambda _: other.cancel())
        round_.end(ENDED)
        self.failureResultOf(other, CancelledError)
