"""micronode.adapters.pause: how long, by what was before."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.pause import Pause


class PauseTests(SynchronousTestCase):
    def test_lengths(self) -> None:
        # Seconds between the end of one and the next -> the lengths.
        for gaps, lengths in (
            ([0, 0, 0, 0, 0], [1, 2, 4, 8, 8, 8]),
            ([1, 2, 4], [1, 2, 4, 8]),
            ([1.001], [1, 1]),
            ([0, 2.001, 0], [1, 2, 1, 2]),
            ([100], [1, 1]),
        ):
            clock = Clock()
            clock.advance(50.0)
            pause = Pause(clock.seconds, 1.0, 8.0)
            began = [pause.begin()]
            for gap in gaps:
                clock.advance(pause.left_s + gap)
                began.append(pause.begin())
            self.assertEqual(began, lengths, gaps)

    def test_what_is_left(self) -> None:
        clock = Clock()
        pause = Pause(clock.seconds, 1.0, 8.0)
        self.assertEqual(pause.left_s, 0.0)
        pause.begin()
        clock.advance(0.25)
        self.assertEqual(pause.left_s, 0.75)
        clock.advance(5.0)
        self.assertEqual(pause.left_s, 0.0)

    def test_ended_early(self) -> None:
        clock = Clock()
        pause = Pause(clock.seconds, 1.0, 8.0)
        pause.begin()
        pause.end()
        self.assertEqual(pause.left_s, 0.0)
        self.assertEqual(pause.begin(), 2.0)
        clock.advance(5.0)
        pause.end()
        self.assertEqual(pause.left_s, 0.0)

    def test_a_clock_that_goes_back(self) -> None:
        """It lasts no longer than it would have from then."""
        clock = Clock()
        clock.advance(5000.0)
        pause = Pause(clock.seconds, 1.0, 8.0)
        pause.begin()
        clock.rightNow = 1000.0
        self.assertEqual(pause.left_s, 1.0)
        clock.advance(0.75)
        self.assertEqual(pause.left_s, 0.25)
        clock.advance(0.25)
        self.assertEqual(pause.left_s, 0.0)
