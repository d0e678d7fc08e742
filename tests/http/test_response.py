"""Tests for :mod:`micronode.http.response`; most of it is seen through ``test_sink``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.http.response import DateField, head_bytes


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
