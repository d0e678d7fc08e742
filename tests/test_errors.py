"""NodeError and the table from error names to status codes."""

from __future__ import annotations

import json
import pickle

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode, NodeError, error_object, http_status


class StatusTests(SynchronousTestCase):
    """Codes and statuses."""

    def test_http_has_one_better_word(self) -> None:
        """RFC 6585 has a status of its own for a head that is too large; all else is the frame's code."""
        differing = {code for code in ErrorCode if http_status(code) != code.status}
        self.assertEqual(differing, {ErrorCode.HEAD_TOO_LARGE})
        self.assertEqual(http_status(ErrorCode.HEAD_TOO_LARGE), 431)

    def test_names(self) -> None:
        """The Python name is the protocol's, so that one can be searched for by the other."""
        for code in ErrorCode:
            self.assertEqual(code.name.lower(), code.value)
            self.assertIs(ErrorCode(code.value), code)

    def test_who_waits(self) -> None:
        """429 and 503 always say when to come back, and only they; all of them may be retried."""
        for code in ErrorCode:
            self.assertEqual(code.waits, code.status in (429, 503), code)
            if code.waits:
                self.assertTrue(code.retryable, code)

    def test_a_caller_s_mistake_is_not_retried(self) -> None:
        """A repeated mistake stays one: of the 4xx only "too slow" and "too much" may be tried again."""
        for code in ErrorCode:
            if 400 <= code.status < 500 and code.retryable:
                self.assertIn(code.status, (408, 429), code)


class NodeErrorTests(SynchronousTestCase):
    """NodeError."""

    def test_retry_after(self) -> None:
        for code, given_s, expected_ms in (
            (ErrorCode.BUSY, None, 1000),
            (ErrorCode.DRAINING, 5.0, 5000),
            (ErrorCode.BUSY, 0.0004, 1),
            (ErrorCode.BUSY, 0.0, 1),
            (ErrorCode.NOT_FOUND, None, None),
            (ErrorCode.OWNER_TIMEOUT, None, None),
            (ErrorCode.OWNER_TIMEOUT, 1.5, 1500),
        ):
            self.assertEqual(NodeError(code, "", retry_after_s=given_s).retry_after_ms, expected_ms)

    def test_as_object(self) -> None:
        error = NodeError(ErrorCode.BUSY, "full", retry_after_s=2.5, source="index")
        self.assertEqual(
            error.as_object(request_id="r-1", corr_id=2**63),
            {
                "code": "busy",
                "message": "full",
                "retryable": True,
                "retry_after_ms": 2500,
                "corr_id": "9223372036854775808",
                "request_id": "r-1",
            },
        )

    def test_as_object_leaves_out_what_is_not_known(self) -> None:
        self.assertEqual(
            NodeError(ErrorCode.NOT_FOUND, "no such object").as_object(request_id="r-1"),
            {"code": "not_found", "message": "no such object", "retryable": False, "request_id": "r-1"},
        )

    def test_the_source_is_not_told(self) -> None:
        """Who failed is for our own logs."""
        error = NodeError(ErrorCode.BAD_GATEWAY, "bad answer", source="a-secret-owner")
        self.assertNotIn("a-secret-owner", json.dumps(error.as_object(request_id="r")))

    def test_details_are_not_the_object_s_own(self) -> None:
        error = NodeError(ErrorCode.CONFLICT, "no", details={"outcome": "draining"})
        self.assertEqual(error.details, {"outcome": "draining"})
        self.assertNotIn("outcome", error.as_object(request_id="r"))
        self.assertEqual(NodeError(ErrorCode.CONFLICT, "no").details, {})

    def test_text(self) -> None:
        self.assertEqual(str(NodeError(ErrorCode.CONFLICT, "twice")), "conflict: twice")

    def test_copies(self) -> None:
        """An exception that cannot be pickled breaks whoever passes failures between processes."""
        error = pickle.loads(pickle.dumps(NodeError(ErrorCode.CONFLICT, "twice")))
        self.assertEqual((error.code, error.message), (ErrorCode.CONFLICT, "twice"))

    def test_error_object_fills_in_the_wait(self) -> None:
        for code in ErrorCode:
            found = error_object(code, "", request_id="r")
            self.assertEqual(found.get("retry_after_ms"), 1000 if code.waits else None, code)
