"""Errors as a caller gets them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.client.errors import OAPError
from micronode.oap.wire.errors import ErrorCode


class ErrorTests(SynchronousTestCase):
    def test_reads_the_error_object(self) -> None:
        error = OAPError.from_object(
            503,
            {"code": "owner_unavailable", "message": "down", "retryable": True, "retry_after_ms": 250},
        )
        self.assertEqual(
            (error.code, error.name, error.message, error.retryable, error.retry_after_ms),
            (503, "owner_unavailable", "down", True, 250),
        )
        self.assertEqual(str(error), "503 owner_unavailable: down")

    def test_what_is_missing_or_wrong_falls_back(self) -> None:
        error = OAPError.from_object(
            404, {"code": 7, "message": None, "retryable": 1, "retry_after_ms": True}
        )
        self.assertEqual(
            (error.name, error.message, error.retryable, error.retry_after_ms), ("not_found", "", False, None)
        )
        self.assertEqual(OAPError.from_object(599, {}).name, "unknown")

    def test_nobody_comes_back_before_now(self) -> None:
        self.assertIsNone(OAPError.from_object(429, {"retry_after_ms": -1}).retry_after_ms)
        self.assertEqual(OAPError.from_object(429, {"retry_after_ms": 0}).retry_after_ms, 0)

    def test_own_errors_follow_the_table(self) -> None:
        error = OAPError.from_code(ErrorCode.DRAINING, "going", retry_after_ms=5)
        self.assertEqual((error.code, error.name, error.retryable), (503, "draining", True))
