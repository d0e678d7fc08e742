"""Tests for :mod:`micronode.http.limits`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode
from micronode.http.limits import Deadlines
from tests.http.support import Timeouts


class DeadlinesTests(SynchronousTestCase):
    """What the configuration says, in seconds."""

    def test_of_configuration(self) -> None:
        deadlines = Deadlines.of(Timeouts(read=1.0, body=2.0, write_stall=3.0), 4.0)
        self.assertEqual(deadlines, Deadlines(read_s=1.0, body_s=2.0, write_stall_s=3.0, idle_s=4.0))

    def test_late_callers_are_told_what_they_had(self) -> None:
        deadlines = Deadlines(read_s=0.5, body_s=10.0)
        for error, words in ((deadlines.late_head(), "0.5 s"), (deadlines.late_body(), "10 s and 1 s")):
            self.assertIs(error.code, ErrorCode.TIMEOUT)
            self.assertIn(words, error.message)

    def test_bodies_earn_time_by_size(self) -> None:
        deadlines = Deadlines(body_s=10.0)
        self.assertEqual(deadlines.body_within_s(0), 10.0)
        self.assertEqual(deadlines.body_within_s(3 * 65_536), 13.0)
