"""Tests for :mod:`tests.support.frontends`, and of the page that :mod:`tests.support.framingpage` writes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.framingpage import PAGE, page
from tests.support.frontends import Answer, excess, node_seen, read_answers


class PageTests(SynchronousTestCase):
    def test_is_current(self) -> None:
        self.assertEqual(
            PAGE.read_text("utf-8"), page(), "docs/FRAMING.rst is stale: python -m tests.support.framingpage"
        )


class CountingTests(SynchronousTestCase):
    """A difference between what was sent on and what was seen is found."""

    def test_nothing_smuggled(self) -> None:
        for seen, forwarded in (
            ({}, {}),
            ({"outer-0001": 1, "inner-0001": 1}, {"outer-0001": 1, "inner-0001": 1}),
            # The node refused the head, and made up an id.
            ({"": 1}, {"outer-0001": 1}),
            ({"": 1}, {"": 1}),
            # What the front end had sent did not come.
            ({}, {"outer-0001": 1, "": 2}),
        ):
            self.assertEqual(excess(seen, forwarded), {})

    def test_smuggled(self) -> None:
        for seen, forwarded, found in (
            ({"outer-0001": 1, "inner-0001": 1}, {"outer-0001": 1}, {"inner-0001": 1}),
            ({"outer-0001": 2}, {"outer-0001": 1}, {"outer-0001": 1}),
            ({"outer-0001": 1, "": 1}, {"outer-0001": 1}, {"": 1}),
            ({"": 3}, {"": 1, "outer-0001": 1}, {"": 1}),
            # Another's that did not come does not make up for one that did.
            ({"inner-0001": 1}, {"outer-0001": 1}, {"inner-0001": 1}),
        ):
            self.assertEqual(excess(seen, forwarded), found)

    def test_reads_the_access_log(self) -> None:
        log = '{"event":"call","request_id":"outer-0001"}\n{"event":"x"}\n{"request_id":"0f0f"}\nplain\n'
        self.assertEqual(node_seen(log * 2), {"outer-0001": 2, "": 2})

    def test_reads_answers(self) -> None:
        data = (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-ID: a\r\n\r\nhi"
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
            b"HTTP/1.1 400 Bad Request\r\nx-request-id: b\r\n\r\nrest"
        )
        self.assertEqual(read_answers(data), [Answer(200, "a"), Answer(200, ""), Answer(400, "b")])
        for broken in (b"HTTP/1.1 200 OK\r\n", b"hello\r\n\r\n"):
            self.assertRaises(AssertionError, read_answers, broken)
