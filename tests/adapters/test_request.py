"""micronode.adapters.request: what each owner call carries."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.request import call_headers, segment
from micronode.errors import ErrorCode, NodeError
from tests.support.calls import make_call


class CallHeadersTests(SynchronousTestCase):
    def test_least(self) -> None:
        self.assertEqual(call_headers(make_call(request_id="abc")), [(b"x-request-id", b"abc")])

    def test_all(self) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        call = make_call(request_id="abc", traceparent=trace, tenant=bytes(15) + b"\x2a")
        self.assertEqual(
            call_headers(call),
            [
                (b"x-request-id", b"abc"),
                (b"traceparent", trace.encode()),
                (b"x-micronode-tenant", b"0000000000000000000000000000002a"),
            ],
        )


class SegmentTests(SynchronousTestCase):
    def test_one_segment_whatever_it_holds(self) -> None:
        for text in (
            "klein",
            "name:a/b",
            "a b?c#d%2f",
            "../x",
            "é\u20ac\U0001f600",
            "\x00\r\n",
            "...",
        ):
            quoted = segment(text)
            self.assertEqual(unquote_to_bytes(quoted).decode(), text)
            self.assertRegex(quoted.decode("ascii"), r"\A[A-Za-z0-9_.~%-]+\Z")

    def test_dots_climb_however_they_are_quoted(self) -> None:
        for text in (".", ".."):
            with self.assertRaises(NodeError) as caught:
                segment(text)
            self.assertIs(caught.exception.code, ErrorCode.BAD_REQUEST)
