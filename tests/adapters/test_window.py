"""micronode.adapters.window: two counts that forget, against a list of times."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.window import Window


class WindowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.window = Window(self.clock.seconds, 1.25)

    def seen(self) -> tuple[int, int]:
        self.window.look()
        return self.window.all, self.window.marked

    def test_counts(self) -> None:
        self.assertEqual(self.seen(), (0, 0))
        self.window.add()
        self.window.add()
        self.window.mark()
        self.assertEqual(self.seen(), (2, 1))

    def test_forgets_what_is_older_than_its_span(self) -> None:
        for _ in range(10):
            self.window.add()
            self.window.mark()
            self.clock.advance(0.125)
        # The first slot has just gone.
        self.assertEqual(self.seen(), (9, 9))
        self.clock.advance(0.625)
        self.assertEqual(self.seen(), (4, 4))
        self.clock.advance(10.0)
        self.assertEqual(self.seen(), (0, 0))

    def test_a_long_quiet(self) -> None:
        for seconds, left in ((1.125, 1), (1.1875, 0), (1.25, 0), (1.375, 0), (5.0, 0), (1e9, 0)):
            self.setUp()
            self.clock.advance(0.0625)
            self.window.add()
            self.clock.advance(seconds)
            self.assertEqual(self.seen()[0], left, seconds)
            self.window.add()
            self.assertEqual(self.seen()[0], left + 1, seconds)

    def test_clear(self) -> None:
        self.window.add()
        self.window.mark()
        self.clock.advance(0.125)
        self.window.add()
        self.window.clear()
        self.assertEqual(self.seen(), (0, 0))
        self.clock.advance(1.1875)
        self.assertEqual(self.seen(), (0, 0))

    def test_a_clock_that_goes_back(self) -> None:
        self.clock.advance(5.0)
        self.window.add()
        self.clock.rightNow = 1.0
        self.window.add()
        self.window.mark()
        self.assertEqual(self.seen(), (2, 1))
        # And is as old as what is counted then.
        self.clock.advance(1.125)
        self.assertEqual(self.seen(), (2, 1))
        self.clock.advance(0.125)
        self.assertEqual(self.seen(), (0, 0))
