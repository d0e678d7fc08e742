"""Tests for :mod:`micronode.http.response`; most of it is seen through ``test_sink``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.http.response import DateField, head_bytes, whole_seconds


class DateFieldTests(SynchronousTestCase):
    """The Date line."""

    def test_follows_the_wall_clock(self) -> None:
        now = 0.0
        date = DateField(lambda: now)
        self.assertEqual(date(), "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n")
        now = 0.9
        first = date()
        self.assertIs(date(), first)
        now = 1_766_000_000.5
        self.assertEqual(date(), "Date: Wed, 17 Dec 2025 19:33:20 GMT\r\n")


class HeadBytesTests(SynchronousTestCase):
    """Heads that the sink's tests do not reach."""

    def test_unknown_status_has_an_empty_reason(self) -> None:
        data = head_bytes(ResponseHead(status=499, length=0), date="", request_id="r")
        self.assertTrue(data.startswith(b"HTTP/1.1 499 \r\n"), data)

    def test_refuses_statuses_that_are_no_final_answer(self) -> None:
        for status in (-200, 0, 99, 100, 101, 103, 199, 600, 1000):
            self.assertRaises(ValueError, head_bytes, ResponseHead(status=status), date="", request_id="r")

    def test_refuses_lengths_that_are_none(self) -> None:
        self.assertRaises(ValueError, head_bytes, ResponseHead(length=-1), date="", request_id="r")

    def test_no_banner(self) -> None:
        self.assertNotIn(b"erver", head_bytes(ResponseHead(), date="", request_id="r"))

    def test_refuses_names_that_are_none(self) -> None:
        for name in ("", "a b", "a:", "a\r\nb", "é"):
            head = ResponseHead(headers=((name, "x"),))
            self.assertRaises(ValueError, head_bytes, head, date="", request_id="r")


class WholeSecondsTests(SynchronousTestCase):
    """Retry-After, whose unit is a second."""

    def told(self, code: ErrorCode, retry_after_ms: int, chance: float) -> int:
        return whole_seconds(NodeError(code, ""), retry_after_ms, lambda: chance)

    def test_guesses_keep_their_mean(self) -> None:
        for code in (ErrorCode.BUSY, ErrorCode.NOT_READY, ErrorCode.DRAINING):
            told = [self.told(code, 1_250, number / 100) for number in range(100)]
            self.assertEqual((told.count(1), told.count(2)), (75, 25))
            self.assertEqual([self.told(code, 3_000, chance) for chance in (0.0, 0.999)], [3, 3])

    def test_no_less_than_one(self) -> None:
        self.assertEqual([self.told(ErrorCode.BUSY, 300, chance) for chance in (0.0, 0.999)], [1, 1])

    def test_what_is_known_is_rounded_up(self) -> None:
        """The bucket has no token, and the breaker is open, until then."""
        for code in (ErrorCode.RATE_LIMITED, ErrorCode.OWNER_UNAVAILABLE):
            self.assertEqual([self.told(code, 1_250, chance) for chance in (0.0, 0.999)], [2, 2])
            self.assertEqual(self.told(code, 1, 0.0), 1)
