"""Tests for :mod:`micronode.oap.wire.jsontext`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from micronode.oap.wire.jsontext import make_decoder, make_encoder

VALUES: tuple[dict[str, Any], ...] = (
    {},
    {"a": 1, "b": -2.5, "c": True, "d": None, "e": "text"},
    {"one": {"two": [1, 2, {"three": []}]}},
    {"ä": 'quote " backslash \\ line \n separator \u2028 smile \U0001f600'},
    {"big": 2**80, "small": 1e-300},
)


class EncoderTests(TestCase):
    """The same text as ``json.dumps`` writes, however often it is asked."""

    def test_without_the_encoder_in_c(self) -> None:
        """As interpreters have it that are not written in C."""
        value = {"a": [1, None, "\u00e9"]}
        texts = [make_encoder(ascii_only=only)(value) for only in (True, False)]
        with patch.object(json.encoder, "c_make_encoder", None):
            self.assertEqual([make_encoder(ascii_only=only)(value) for only in (True, False)], texts)
            self.assertRaises(ValueError, make_encoder(ascii_only=True), {"a": float("nan")})

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


class DecoderTests(TestCase):
    """The same values, and the same errors, as ``JSONDecoder.decode`` has."""

    def test_as_the_library_does(self) -> None:
        def tried(read: Callable[[str], Any], text: str) -> Any:
            try:
                return read(text)
            except ValueError as error:
                return str(error)

        hooks: dict[str, Any] = {"parse_int": str, "object_pairs_hook": list}
        ours, theirs = make_decoder(**hooks), json.JSONDecoder(**hooks).decode
        texts = [
            "",
            " ",
            "{}",
            '{"a": 1}',
            ' {"a": 1}',
            '{"a": 1}\n',
            "{} {}",
            "{",
            "[1, 2",
            "nul",
            "\ufeff{}",
            "1 x",
        ]
        for text in (*texts, *(json.dumps(value) for value in VALUES)):
            self.assertEqual(tried(ours, text), tried(theirs, text), text)
