"""HELLO's payload by itself; the session vectors have its members one by one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.heads import HeadError
from micronode.oap.wire.hello import parse_hello
from micronode.oap.wire.limits import MAX_HEAD_BYTES


class ParseHelloTests(SynchronousTestCase):
    def test_what_was_said_comes_back(self) -> None:
        data = b'{"ua":"x","max_frame":4096,"accept":["zstd"],"versions":[1],"ext":[],"new":1}'
        expected = {"ua": "x", "max_frame": 4096, "accept": ["zstd"], "versions": [1], "ext": [], "new": 1}
        self.assertEqual(parse_hello(data), expected)

    def test_proof_of_either_length(self) -> None:
        for digits in ("0" * 32, "aF" * 32):
            self.assertEqual(parse_hello(b'{"prove":"%s"}' % digits.encode())["prove"], digits)
        for digits in ("", "0" * 31, "0" * 48, "0" * 65, "\u0660" * 32):
            error = self.assertRaises(HeadError, parse_hello, f'{{"prove":"{digits}"}}'.encode())
            self.assertEqual(error.code, ErrorCode.BAD_HELLO)

    def test_too_long(self) -> None:
        error = self.assertRaises(HeadError, parse_hello, b"{" + b" " * MAX_HEAD_BYTES + b"}")
        self.assertEqual(error.code, ErrorCode.BAD_HELLO)

    def test_no_common_version(self) -> None:
        error = self.assertRaises(HeadError, parse_hello, b'{"versions":[2,3]}')
        self.assertEqual((error.code, "[1]" in error.message), (ErrorCode.BAD_VERSION, True))
