"""Tests for :mod:`micronode.oap.wire.jsontext`."""

from __future__ import annotations

import json
from typing import Any
from unittest import TestCase

from micronode.oap.wire.jsontext import make_encoder

VALUES: tuple[dict[str, Any], ...] = (
    {},
    {"a": 1, "b": -2.5, "c": True, "d": None, "e": "text"},
    {"one": {"two": [1, 2, {"three": []}]}},
    {"ä": 'quote " backslash \\ line \n separator \u2028 smile \U0001f600'},
    {"big": 2**80, "small": 1e-300},
)


class EncoderTests(TestCase):
    """The same text as ``json.dumps`` writes, however often it is asked."""

    def test_as_the_library_does(self) -> None:
        for ascii_only in (True, False):
            encode = make_encoder(ascii_only=ascii_only)
            for value in VALUES * 2:
                expected = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
                self.assertEqual(encode(value), expected)

    def test_what_is_no_json(self) -> None:
        encode = make_encoder(ascii_only=True)
        for number in (float("nan"), float("inf"), float("-inf")):
            self.assertRaises(ValueError, encode, {"number": number})
        self.assertRaises(TypeError, encode, {"object": object()})
        self.assertEqual(encode({"after": "that"}), '{"after":"that"}')
