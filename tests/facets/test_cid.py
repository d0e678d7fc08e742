"""micronode.facets.cid."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode, NodeError
from micronode.facets.cid import make_cid, parse_cid


class ParseCIDTests(SynchronousTestCase):
    def test_digest(self) -> None:
        self.assertEqual(parse_cid("b3:" + "0a" * 32), b"\x0a" * 32)

    def test_made(self) -> None:
        self.assertEqual(parse_cid(make_cid(bytes(range(32)))), bytes(range(32)))

    def test_what_is_no_address(self) -> None:
        digits = "0a" * 32
        for text in (
            "",
            digits,
            "b3:",
            "b3:" + digits[:-1],
            "b3:" + digits + "0",
            "b3:" + digits.upper(),
            "B3:" + digits,
            "b3:" + digits + "\n",
            " b3:" + digits,
            "b3:" + "g" * 64,
            "b3:" + "\u0661" * 64,
            "b3:../../../etc/passwd",
        ):
            error = self.assertRaises(NodeError, parse_cid, text)
            self.assertIs(error.code, ErrorCode.BAD_REQUEST)
