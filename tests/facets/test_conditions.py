"""micronode.facets.conditions: Range and entity tags, as RFC 9110 has them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.facets.conditions import names_tag, object_size, part_matches, single_range


class SingleRangeTests(SynchronousTestCase):
    def test_one_range(self) -> None:
        for text, plain in (
            ("bytes=0-99", "bytes=0-99"),
            ("bytes=007-0099", "bytes=7-99"),
            ("Bytes=5-", "bytes=5-"),
            ("bytes=-5", "bytes=-5"),
            (" bytes=5-5 ", "bytes=5-5"),
            ("bytes=-0", "bytes=-0"),
        ):
            self.assertEqual(single_range(text), plain)

    def test_ignored(self) -> None:
        for text in (
            None,
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "bytes=a-b",
            "bytes= 0-1",
            "bytes=0-1 x",
            "bytes=+1-2",
            "bytes=\u0661-",
            "chars=0-1",
            "bytes=0-" + "9" * 19,
            "bytes=0-1\r\nX: y",
        ):
            self.assertIsNone(single_range(text), text)


class NamesTagTests(SynchronousTestCase):
    def test_names(self) -> None:
        for text in ('"ab"', 'W/"ab"', '"x", "ab"', '"x",W/"ab" ', "*"):
            self.assertTrue(names_tag(text, '"ab"'), text)

    def test_does_not(self) -> None:
        for text in (None, "", "ab", '"AB"', '"abc"', '"x", "y"', "**", 'w/"ab"'):
            self.assertFalse(names_tag(text, '"ab"'), text)


class PartMatchesTests(SynchronousTestCase):
    def test_matches(self) -> None:
        for asked, given, length in (
            ("bytes=0-99", "bytes 0-99/1000", 100),
            ("bytes=0-99", "bytes 0-9/10", 10),
            ("bytes=0-99", "bytes 0-99/*", None),
            ("bytes=5-", "bytes 5-9/10", 5),
            ("bytes=-5", "bytes 5-9/10", 5),
            ("bytes=-5", "bytes 0-2/3", 3),
        ):
            self.assertTrue(part_matches(asked, given, length), (asked, given))

    def test_does_not(self) -> None:
        for asked, given, length in (
            ("bytes=0-99", None, 100),
            ("bytes=0-99", "bytes */1000", 100),
            ("bytes=0-99", "0-99/1000", 100),
            ("bytes=0-99", "bytes 0-99/1000", 101),
            ("bytes=0-99", "bytes 1-99/1000", 99),
            ("bytes=0-99", "bytes 0-100/1000", 101),
            ("bytes=0-99", "bytes 9-0/1000", None),
            ("bytes=-5", "bytes 4-9/10", 6),
        ):
            self.assertFalse(part_matches(asked, given, length), (asked, given))

    def test_object_size(self) -> None:
        self.assertEqual(object_size("bytes */1000"), 1000)
        for text in (None, "bytes 0-1/1000", "bytes */*", "bytes */-1"):
            self.assertIsNone(object_size(text))
