"""micronode.adapters.timeleft: the smallest of three times, and whether it is enough."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.timeleft import TimeLeft


class TimeLeftTests(SynchronousTestCase):
    def test_limits(self) -> None:
        # Timeout, deadline, caller's, time that has passed -> of the attempt, of the call.
        for timeout_s, deadline_s, caller_s, passed, limit, left_s in (
            (5.0, None, None, 0.0, (5.0, False), 5.0),
            (5.0, None, None, 2.0, (3.0, True), 3.0),
            (1.0, 5.0, None, 0.0, (1.0, False), 5.0),
            (1.0, 5.0, None, 4.5, (0.5, True), 0.5),
            (5.0, 5.0, 4.75, 0.0, (4.75, False), 4.75),
            (5.0, 5.0, 4.5625, 0.0, (4.5625, False), 4.5625),
            (5.0, 5.0, 4.25, 0.0, (4.25, True), 4.25),
            (5.0, 1.0, None, 0.0, (1.0, False), 1.0),
            (5.0, 5.0, 2.0, 0.0, (2.0, True), 2.0),
            (1.0, 5.0, 2.0, 0.0, (1.0, False), 2.0),
            (1.0, 5.0, 2.0, 1.5, (0.5, True), 0.5),
            (5.0, 5.0, 5.0, 0.0, (5.0, False), 5.0),
            (5.0, 5.0, 0.0, 0.0, (0.0, True), 0.0),
            (5.0, 5.0, None, 6.0, (0.0, True), -1.0),
        ):
            clock = Clock()
            clock.advance(1000.0)
            time_left = TimeLeft(clock, timeout_s, deadline_s, caller_s)
            clock.advance(passed)
            given_s = time_left.of_attempt
            self.assertEqual(((given_s, time_left.is_short(given_s)), time_left.of_call), (limit, left_s))

    def test_an_owner_that_may_wait(self) -> None:
        """So much longer each attempt has, within the deadline of the call."""
        # Timeout, deadline, caller's, wait -> of the attempt, of the call.
        for timeout_s, deadline_s, caller_s, wait_s, limit, left_s in (
            (2.0, None, None, 3.0, (5.0, False), 5.0),
            (2.0, 4.0, None, 3.0, (4.0, False), 4.0),
            (2.0, 9.0, None, 3.0, (5.0, False), 9.0),
            (2.0, 9.0, 4.0, 3.0, (4.0, True), 4.0),
        ):
            time_left = TimeLeft(Clock(), timeout_s, deadline_s, caller_s, wait_s)
            self.assertTrue(time_left.waits)
            given_s = time_left.of_attempt
            self.assertEqual(((given_s, time_left.is_short(given_s)), time_left.of_call), (limit, left_s))
        self.assertFalse(TimeLeft(Clock(), 1.0, None, None).waits)

    def test_restart(self) -> None:
        clock = Clock()
        time_left = TimeLeft(clock, 5.0, 4.0, 10.0)
        clock.advance(7.0)
        time_left.restart()
        self.assertEqual(time_left.of_attempt, 3.0)
        self.assertTrue(time_left.is_short(3.0))
        clock.advance(-5.0)
        self.assertEqual(time_left.of_attempt, 5.0)
        self.assertFalse(time_left.is_short(5.0))
        self.assertFalse(time_left.is_short(3.7))
        self.assertTrue(time_left.is_short(3.5))

    def test_given_up_for_want_of_time(self) -> None:
        # Timeout, caller's, wait, time that has passed -> whether it was that.
        for timeout_s, caller_s, wait_s, passed, is_over in (
            (5.0, None, 0.0, 4.75, True),
            (5.0, None, 0.0, 4.25, False),
            (60.0, None, 0.0, 57.0, False),
            (60.0, None, 0.0, 59.75, True),
            (5.0, 2.0, 0.0, 1.875, False),
            (1.0, None, 4.0, 4.75, False),
        ):
            clock = Clock()
            time_left = TimeLeft(clock, timeout_s, None, caller_s, wait_s)
            clock.advance(passed)
            self.assertIs(time_left.is_over(passed), is_over)
