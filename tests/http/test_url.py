"""Tests for :mod:`micronode.http.url`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import NodeError
from micronode.http.url import decode_segment, parse_query, refuse_tokens


class UrlTestCase(SynchronousTestCase):
    def assert_bad(self, function: Callable[[str], Any], text: str) -> None:
        error = self.assertRaises(NodeError, function, text)
        self.assertEqual(error.code.value, "bad_request", text)


class SegmentTests(UrlTestCase):
    """Path segments."""

    def test_decodes_once(self) -> None:
        for text, value in (
            ("plain", "plain"),
            ("name%3Aa%2Fb", "name:a/b"),
            ("%252F", "%2F"),
            ("a+b", "a+b"),
            ("%C3%A9", "é"),
            ("%0A", "\n"),
        ):
            self.assertEqual(decode_segment(text), value)

    def test_refuses_what_is_no_text(self) -> None:
        for text in ("%", "%2", "%zz", "a%2", "%ff", "%c3", "%C0%AF", "%00", "a%00b", "%ed%a0%80"):
            self.assert_bad(decode_segment, text)

    def test_refuses_dot_segments(self) -> None:
        for text in (".", "..", "%2e", "%2E%2e", ".%2e"):
            self.assert_bad(decode_segment, text)
        self.assertEqual(decode_segment("..."), "...")


class QueryTests(UrlTestCase):
    """Queries."""

    def test_parameters(self) -> None:
        for text, parameters in (
            ("", {}),
            ("a=b", {"a": ["b"]}),
            ("a=b&a=c&&d&e=", {"a": ["b", "c"], "d": [""], "e": [""]}),
            ("q=a+b%2Bc%26d&x=y=z", {"q": ["a b+c&d"], "x": ["y=z"]}),
        ):
            self.assertEqual(parse_query(text), parameters)

    def test_refuses_what_is_no_text(self) -> None:
        for text in ("a=%", "%=a", "a=%ff", "a=%00", "a=b&c=%4"):
            self.assert_bad(parse_query, text)

    def test_refuses_tokens(self) -> None:
        for text in ("access_token=x", "q=a&token=x", "cap", "Macaroon=x", "access%5Ftoken=x"):
            self.assert_bad(parse_query, text)

    def test_bounds_their_number(self) -> None:
        self.assertEqual(len(parse_query("&".join(f"a{n}=b" for n in range(128)))), 128)
        self.assert_bad(parse_query, "&" * 128)


class TokenTests(UrlTestCase):
    """Tokens in a query that nobody decodes."""

    def test_refused_by_name_alone(self) -> None:
        for query in ("token=x", "a&TOKEN", "%74oken=x", "cap=", "%zz&macaroon=1", "access_token"):
            error = self.assertRaises(NodeError, refuse_tokens, query)
            self.assertEqual(error.code.value, "bad_request", query)
        for query in ("", "a=token", "tokens=1", "x%zz=%ff", "&&", "=token", "token%3Dx"):
            refuse_tokens(query)
