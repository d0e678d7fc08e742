"""Tests for :mod:`micronode.devowners.ranges`."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.ranges import RangeError, names_tag, parse_range


class ParseRangeTests(SynchronousTestCase):
    def test_satisfiable(self) -> None:
        for text, expected in {
            "bytes=0-0": (0, 1),
            "bytes=2-4": (2, 5),
            "bytes=2-": (2, 10),
            "bytes=-3": (7, 10),
            "bytes=-30": (0, 10),
            "bytes=9-999999999999999999": (9, 10),
            "Bytes = 0-1": (0, 2),
        }.items():
            self.assertEqual(parse_range(text, 10), expected, text)

    def test_ignored(self) -> None:
        for text in (None, "", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-3", "bytes=0-1,3-4", "lines=0-1",
                     "bytes=0-" + "9" * 30, "bytes=²-3"):  # fmt: skip
            self.assertIsNone(parse_range(text, 10), text)

    def test_outside(self) -> None:
        for text, size in (
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=-1", 0),
        ):
            with self.assertRaises(RangeError):
                parse_range(text, size)


class NamesTagTests(SynchronousTestCase):
    def test_comparison_is_weak(self) -> None:
        for text in ('"a"', 'W/"a"', '"b", "a"', "*"):
            self.assertTrue(names_tag(text, '"a"'), text)
        for text in (None, "", '"b"', "a"):
            self.assertFalse(names_tag(text, '"a"'), text)
