"""micronode.adapters.jsoncheck: what is a JSON object, and what is none."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.jsoncheck import is_json_object


class JSONCheckTests(SynchronousTestCase):
    def test_objects(self) -> None:
        for data in (
            b"{}",
            b' \r\n{"a": [1, -2.5e3, true, null, "\\u00e4", {}]}\n',
            '{"ä": "\U0001f642"}'.encode(),
            b'{"a": 1, "a": 2}',
            # Reading it would be refused by Python, and take long where it is not.
            b'{"n": ' + b"9" * 60_000 + b"}",
            b'{"n": 1e999999999}',
        ):
            self.assertTrue(is_json_object(data), data[:80])

    def test_others(self) -> None:
        for data in (
            b"",
            b"{",
            b'{"a": 1',
            b"{} {}",
            b"{'a': 1}",
            b"[]",
            b'"text"',
            b"null",
            b"<html>",
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": "\n"}',
            b'{"a": "\xff"}',
            b"\xef\xbb\xbf{}",
            '{"a": 1}'.encode("utf-16"),
            b'{"a": ' * 10_000,
            b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        ):
            self.assertFalse(is_json_object(data), data[:80])
