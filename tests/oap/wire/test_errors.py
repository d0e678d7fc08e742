"""The error table and the error object, against the table that ``specs/oap-1.md`` prints."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.errors import ErrorCode, error_object
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.limits import HEADER_BYTES, MIN_MAX_FRAME_BYTES

SPECIFICATION = Path(__file__).resolve().parents[3] / "specs" / "oap-1.md"


class ErrorTableTests(SynchronousTestCase):
    def test_the_specification_has_the_same(self) -> None:
        row = re.compile(r"^\| `(\w+)` \| (\d{3}) \| (yes|no|n/a) \|", re.M)
        printed = row.findall(SPECIFICATION.read_text("utf-8"))
        ours = {
            (code.value, str(code.status), "yes" if code.retryable else "no")
            for code in ErrorCode
            if code is not ErrorCode.CANCELLED
        }
        self.assertEqual(set(printed), ours | {("cancelled", "499", "n/a")})
        self.assertEqual(len(printed), len(ErrorCode))

    def test_all_is_an_error(self) -> None:
        for code in ErrorCode:
            self.assertTrue(400 <= code.status <= 599, code)

    def test_found_by_name(self) -> None:
        self.assertIs(ErrorCode("busy"), ErrorCode.BUSY)


class ErrorObjectTests(SynchronousTestCase):
    def test_shape(self) -> None:
        self.assertEqual(
            error_object(ErrorCode.CONFLICT, "why", request_id="r", corr_id=1 << 60),
            {
                "code": "conflict",
                "message": "why",
                "retryable": False,
                "corr_id": "1152921504606846976",
                "request_id": "r",
            },
        )

    def test_any_message_fits_the_smallest_frame(self) -> None:
        for letter in ("\x01", "\udc80", "\U0001f600", '"'):
            body = error_object(ErrorCode.BUSY, letter * 100_000, request_id="r" * 32, corr_id=2**64 - 1)
            self.assertLessEqual(len(dump_object(body)), MIN_MAX_FRAME_BYTES - HEADER_BYTES)
        self.assertEqual(error_object(ErrorCode.BUSY, "a\udc80", request_id="r")["message"], "a?")

    def test_what_waits_always_says_how_long(self) -> None:
        for code in ErrorCode:
            body = error_object(code, "", request_id="r")
            self.assertEqual("retry_after_ms" in body, code.status in (429, 503), code)
        self.assertEqual(error_object(ErrorCode.BUSY, "", request_id="r")["retry_after_ms"], 1000)

    def test_a_given_wait_is_kept(self) -> None:
        for code in (ErrorCode.OWNER_TIMEOUT, ErrorCode.BUSY):
            body = error_object(code, "", request_id="r", retry_after_ms=7)
            self.assertEqual(body["retry_after_ms"], 7)
