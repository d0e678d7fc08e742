"""What a call carries beside its arguments."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.context import check_idempotency_key, fresh_request_id, read_traceparent
from micronode.errors import ErrorCode, NodeError

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class ContextTests(SynchronousTestCase):
    def test_request_ids_differ_and_are_fit_for_a_header(self) -> None:
        ids = {fresh_request_id() for _ in range(300)}
        self.assertEqual(len(ids), 300)
        for each in ids:
            self.assertRegex(each, r"\A[A-Za-z0-9._-]{1,64}\Z")

    def test_request_ids_of_a_child_are_its_own(self) -> None:
        """What the parent has at hand is not the child's, or both would use it."""
        fresh_request_id()
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.write(write, fresh_request_id().encode("ascii"))
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with os.fdopen(read) as told:
            self.assertNotIn(told.read(), {"", *(fresh_request_id() for _ in range(200))})

    def test_traceparent(self) -> None:
        self.assertEqual(read_traceparent(TRACE), TRACE)
        for broken in (
            None,
            "",
            TRACE.upper(),
            "ff" + TRACE[2:],
            TRACE + "-extra",
            TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
            TRACE.replace("b7ad6b7169203331", "0" * 16),
            TRACE + "\n",
        ):
            self.assertIsNone(read_traceparent(broken), broken)

    def test_idempotency_key(self) -> None:
        for good in (None, "k", "~" * 255):
            self.assertEqual(check_idempotency_key(good, "key"), good)
        for bad in ("", "a b", "k" * 256, "é", "a\n"):
            error = self.assertRaises(NodeError, check_idempotency_key, bad, "Idempotency-Key")
            self.assertIs(error.code, ErrorCode.BAD_REQUEST)
            self.assertIn("Idempotency-Key", error.message)
