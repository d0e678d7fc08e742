"""Strict JSON, and the head of a call."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.heads import (
    CallHead,
    HeadError,
    dump_object,
    parse_answer_head,
    parse_call_head,
    parse_object,
)
from micronode.oap.wire.limits import MAX_HEAD_BYTES


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """Return an object that is *levels* deep, itself included."""
    return b'{"x":' + opening * (levels - 1) + closing * (levels - 1) + b"}"


class GoodTests(SynchronousTestCase):
    def test_read_as_written(self) -> None:
        cases: dict[bytes, dict[str, Any]] = {
            b"{}": {},
            b' {"a" : [1, -2.5e3, true, false, null, "x"] } ': {"a": [1, -2500.0, True, False, None, "x"]},
            '{"ä":"\u20ac\U0001f600"}'.encode(): {"ä": "\u20ac\U0001f600"},
            b'{"x":"\\ud83d\\ude00\\u00e9\\u0000"}': {"x": "\U0001f600\u00e9\x00"},
            b'{"x":9007199254740992,"y":-9007199254740992}': {"x": 2**53, "y": -(2**53)},
            b'{"x":-0,"y":1e308}': {"x": 0, "y": 1e308},
            b'{"x":1e-999}': {"x": 0.0},
            b'{"x":"[[[[[[[[[[[[[[[[[["}': {"x": "[" * 18},
            nested(16): {"x": json.loads("[" * 15 + "]" * 15)},
        }
        for data, expected in cases.items():
            self.assertEqual(parse_object(data), expected, data)

    def test_many_brackets_are_not_depth(self) -> None:
        wide = [[] for _ in range(100)] + [{} for _ in range(100)]
        self.assertEqual(parse_object(dump_object({"x": wide})), {"x": wide})

    def test_at_the_limit(self) -> None:
        self.assertEqual(parse_object(b"{" + b" " * (MAX_HEAD_BYTES - 2) + b"}"), {})


class BadJsonTests(SynchronousTestCase):
    def assert_bad(self, data: bytes, says: str = "") -> None:
        error = self.assertRaises(HeadError, parse_object, data)
        self.assertEqual(error.code, ErrorCode.BAD_JSON, data[:40])
        self.assertIn(says, error.message)
        self.assertLess(len(error.message), 200)

    def test_no_object(self) -> None:
        for data in (b"[]", b"null", b"1", b'"x"', b"true", nested(3)[5:-1]):
            self.assert_bad(data, "not an object")

    def test_no_json(self) -> None:
        for data in (b"", b" ", b"{", b"{}x", b"{} {}", b"{'a':1}", b'{"a":01}', b'{"a":1,}', b'{"a":"\t"}'):
            self.assert_bad(data)
        for data in (b'{"a":+1}', b'{"a":.5}', b'{"a":0x10}', b'{"a":"\\x"}', b"{/**/}", b"\x00{}"):
            self.assert_bad(data)

    def test_duplicate_keys(self) -> None:
        for data in (b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"x":{"a":1,"b":2,"a":3}}'):
            self.assert_bad(data, "a key stands twice")

    def test_numbers_that_are_none(self) -> None:
        for text in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"nan"):
            self.assert_bad(b'{"x":' + text + b"}")

    def test_integers_that_a_double_cannot_hold(self) -> None:
        for text in (b"9007199254740993", b"-9007199254740993", b"123456789012345678", b"9" * 10_000):
            self.assert_bad(b'{"x":' + text + b"}", "beyond 2**53")

    def test_encodings(self) -> None:
        for data in (
            b'{"x":"\xff"}',
            b'{"x":"\xc0\xaf"}',
            b'{"x":"\xed\xa0\x80"}',  # half a surrogate pair, written out
            '{"x":1}'.encode("utf-16"),
            b'{"x":"\\ud800"}',
            b'{"\\udc00":1}',
            b'{"x":"\\ude00\\ud83d"}',
        ):
            self.assert_bad(data, "not UTF-8")
        self.assert_bad(b"\xef\xbb\xbf{}")
        self.assert_bad('{"x":1}'.encode("utf-16-le"))

    def test_depth(self) -> None:
        for data in (
            nested(17),
            nested(17, b'{"x":[', b"]}"),
            b'{"a":[[]],' + nested(18)[1:],
            b"[" * MAX_HEAD_BYTES,
            b'{"x":' * (MAX_HEAD_BYTES // 5),
            nested(MAX_HEAD_BYTES // 2 - 4),
            b'{"\\u0061":' + b"[" * 8_000 + b"]" * 8_000 + b"}",
        ):
            self.assert_bad(data)
        self.assert_bad(nested(17), "deeper than 16 levels")

    def test_length(self) -> None:
        self.assert_bad(b"{" + b" " * MAX_HEAD_BYTES + b"}", "longer than 16384 bytes")

    def test_messages_quote_nothing(self) -> None:
        """A head may carry what must not reach a log."""
        for data in (b'{"secret":"secret"', b'{"secret":1,"secret":2}', b'{"x":secret}', b'{"x":"\\secret"}'):
            error = self.assertRaises(HeadError, parse_object, data)
            self.assertNotIn("secret", error.message)

    def test_white_space_alone_is_nothing(self) -> None:
        self.assert_bad(b" " * MAX_HEAD_BYTES)
        self.assert_bad(b"{" + b"\n" * (MAX_HEAD_BYTES - 1))
        self.assert_bad(b"\x0b{}")
        self.assert_bad("\u00a0{}".encode())


class CallHeadTests(SynchronousTestCase):
    def test_whole(self) -> None:
        head = parse_call_head(
            b'{"op":"put","args":{"a":1},"idempotency_key":"k","deadline_ms":0,"traceparent":"t","new":[]}'
        )
        self.assertEqual(head, CallHead("put", {"a": 1}, "k", 0, "t"))

    def test_least(self) -> None:
        for data in (
            b'{"op":"get","args":{}}',
            b'{"op":"get","args":{},"idempotency_key":null,"deadline_ms":null,"traceparent":null}',
        ):
            self.assertEqual(parse_call_head(data), CallHead("get", {}, None, None, None))

    def test_missing_or_of_a_wrong_type(self) -> None:
        cases = {
            b"{}": "'op'",
            b'{"op":null,"args":{}}': "'op'",
            b'{"op":1,"args":{}}': "'op'",
            b'{"op":"x"}': "'args'",
            b'{"op":"x","args":[]}': "'args'",
            b'{"op":"x","args":null}': "'args'",
            b'{"op":"x","args":{},"idempotency_key":1}': "'idempotency_key'",
            b'{"op":"x","args":{},"deadline_ms":true}': "'deadline_ms'",
            b'{"op":"x","args":{},"deadline_ms":1.0}': "'deadline_ms'",
            b'{"op":"x","args":{},"deadline_ms":-1}': "'deadline_ms'",
            b'{"op":"x","args":{},"traceparent":{}}': "'traceparent'",
        }
        for data, key in cases.items():
            error = self.assertRaises(HeadError, parse_call_head, data)
            self.assertEqual(error.code, ErrorCode.BAD_REQUEST, data)
            self.assertIn(key, error.message)

    def test_bad_json_is_said_so(self) -> None:
        error = self.assertRaises(HeadError, parse_call_head, b"")
        self.assertEqual(error.code, ErrorCode.BAD_JSON)


class AnswerHeadTests(SynchronousTestCase):
    def test_good_ones_are_kept_as_they_are(self) -> None:
        for head in (
            {},
            {"status": 200, "content_type": "text/plain", "length": 0, "etag": "e", "range": "r"},
            {"status": 599, "verified": False, "length": None, "new": [1]},
        ):
            self.assertEqual(parse_answer_head(dump_object(head)), head)

    def test_of_a_wrong_type_or_range(self) -> None:
        for key, values in {
            "status": (None, "200", 200.0, True, 99, 600),
            "length": ("1", -1, 1.5, False),
            "content_type": (1, []),
            "etag": (0,),
            "range": ({},),
            "verified": (0, "true"),
        }.items():
            for value in values:
                error = self.assertRaises(HeadError, parse_answer_head, dump_object({key: value}))
                self.assertEqual(error.code, ErrorCode.BAD_REQUEST)
                self.assertIn(repr(key), error.message)


class DumpTests(SynchronousTestCase):
    def test_compact_utf8(self) -> None:
        self.assertEqual(dump_object({"a": [1, None], "ä": "€"}), '{"a":[1,null],"ä":"€"}'.encode())

    def test_writes_no_nan(self) -> None:
        self.assertRaises(ValueError, dump_object, {"x": float("nan")})
