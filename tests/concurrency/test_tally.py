"""What comes in floods is told of now and then."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.tally import PERIOD_S, Tally


class TallyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[int] = []
        self.tally = Tally(self.clock, self.told.append)

    def test_the_first_at_once(self) -> None:
        self.tally.add()
        self.assertEqual(self.told, [1])

    def test_then_how_many_there_were(self) -> None:
        for _ in range(1000):
            self.tally.add()
        self.clock.advance(PERIOD_S - 0.01)
        self.tally.add()
        self.assertEqual(self.told, [1])
        self.clock.advance(0.01)
        self.tally.add()
        self.assertEqual(self.told, [1, 1001])

    def test_it_has_no_timer(self) -> None:
        self.tally.add()
        self.assertEqual(self.clock.getDelayedCalls(), [])
