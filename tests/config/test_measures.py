"""Durations and sizes: in which forms they are taken, and what is said of others."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.kinds import Key, Kind, RefusedError


def key(kind: Kind, **rest: object) -> Key:
    return Key(path="section.name", kind=kind, doc="", default=None, **rest)


class DurationTests(SynchronousTestCase):
    def test_forms(self) -> None:
        row = key(Kind.DURATION)
        for text, seconds in [
            ("5s", 5.0),
            ("500ms", 0.5),
            ("2m", 120.0),
            ("1h", 3600.0),
            ("1.5s", 1.5),
            ("0.1ms", 0.0001),
            ("0", 0.0),
            ("5 s", 5.0),
        ]:
            self.assertEqual((row.read(text), type(row.read(text))), (seconds, float), text)

    def test_a_program_may_pass_seconds(self) -> None:
        self.assertEqual(key(Kind.DURATION).read(2), 2.0)

    def test_refused(self) -> None:
        row = key(Kind.DURATION)
        for value in [
            "5",
            "s",
            "",
            "-5s",
            "5sec",
            "1e3s",
            "5S",
            "\u0665s",
            True,
            None,
            [],
            float("nan"),
            float("inf"),
        ]:
            refused = self.assertRaises(RefusedError, row.read, value)
            self.assertIn('"5s"', refused.fix, value)

    def test_parse_strips(self) -> None:
        self.assertEqual(key(Kind.DURATION).parse(" 5s "), 5.0)


class SizeTests(SynchronousTestCase):
    def test_forms(self) -> None:
        row = key(Kind.SIZE)
        for value, size in [
            ("64KiB", 65536),
            ("1.5GiB", 1610612736),
            ("512B", 512),
            ("2 MiB", 2097152),
            ("64kib", 65536),
            ("4096", 4096),
            (4096, 4096),
        ]:
            self.assertEqual((row.read(value), type(row.read(value))), (size, int), value)

    def test_refused(self) -> None:
        for value in ["64KB", "64K", "-1B", "0.3B", "", "KiB", "1e3", True, 1.5, None, {}]:
            refused = self.assertRaises(RefusedError, key(Kind.SIZE).read, value)
            self.assertIn('"64KiB"', refused.fix, value)
