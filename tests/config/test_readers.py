"""Readers of files, times, hosts, networks, names, users and lists of them (the others: test_kinds)."""

import tomllib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.kinds import Key, Kind, RefusedError, plain
from micronode.config.readers import MAX_ITEMS


def key(kind: Kind, **rest: Any) -> Key:
    return Key(path="section.name", kind=kind, doc="", default=None, **rest)


class ReaderTestCase(SynchronousTestCase):
    def refused(self, row: Key, value: Any, said: str = "") -> str:
        """Return the refusal of *value*, which says what is wrong in one line, with a fix."""
        refused = self.assertRaises(RefusedError, row.read, value)
        self.assertTrue(refused.what.startswith("section.name"), refused.what)
        self.assertTrue(refused.fix)
        self.assertTrue(str(refused).isprintable(), str(refused))
        self.assertIn(said, str(refused))
        return str(refused)


class FileTests(ReaderTestCase):
    def test_taken_as_they_are(self) -> None:
        row = key(Kind.FILE, optional=True)
        for text in ("/etc/x.pem", "relative/x", "with space", "ümlaut", "", "/" + "x" * 4000):
            self.assertEqual(row.read(text), text)

    def test_refused(self) -> None:
        for value in ("a\nb", "a\0", "\udcff", "x" * 5000, 3, None, ["x"]):
            self.refused(key(Kind.FILE, optional=True), value)
        self.refused(key(Kind.FILE), "")

    def test_a_key_is_not_repeated(self) -> None:
        for secret in ("ab" * 32, "k1 " + "AB" * 32, "k1:" + "ab" * 40, "-----BEGIN PRIVATE KEY-----ab"):
            said = self.refused(key(Kind.FILE, optional=True), secret, "looks like a key")
            self.assertNotIn("ab", said.lower())


class InstantTests(ReaderTestCase):
    def test_one_canonical_form(self) -> None:
        row = key(Kind.INSTANT, optional=True)
        for value in (
            "2026-01-31T12:00:00Z",
            "2026-01-31T14:00:00+02:00",
            datetime(2026, 1, 31, 12, tzinfo=UTC),
            datetime(2026, 1, 31, 11, tzinfo=timezone(timedelta(hours=-1))),
        ):
            self.assertEqual(row.read(value), "2026-01-31T12:00:00Z")
        self.assertEqual(row.read(""), "")

    def test_refused(self) -> None:
        row = key(Kind.INSTANT, optional=True)
        for value in ("yesterday", "2026-01-31", "2026-13-31T12:00:00Z", 3, None, True):
            self.refused(row, value)
        self.refused(row, "2026-01-31T12:00:00", 'did you mean "2026-01-31T12:00:00Z"?')
        self.refused(row, "0001-01-01T00:00:00+23:00")


class ListTests(ReaderTestCase):
    def test_canonical_and_read_again(self) -> None:
        for kind, given, canonical in (
            (
                Kind.HOSTS,
                ["Node.Example", "[::1]", "0:0::1", "10.0.0.1"],
                ("node.example", "::1", "::1", "10.0.0.1"),
            ),
            (
                Kind.NETWORKS,
                ["10.0.0.0/8", "10.1.2.3", "2001:DB8::/32"],
                ("10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32"),
            ),
            (Kind.NAMES, ["edge-1", "Ümlaut GmbH"], ("edge-1", "Ümlaut GmbH")),
            (Kind.UIDS, [0, 1000], (0, 1000)),
        ):
            row = key(kind, optional=True)
            self.assertEqual(row.read(given), canonical)
            self.assertEqual(row.read(plain(row.read(given))), canonical)
            self.assertEqual(row.parse(row.show(canonical)), canonical)
            self.assertEqual((row.read([]), row.parse(""), row.parse(" ")), ((), (), ()))
            self.refused(key(kind), [])

    def test_refused(self) -> None:
        for kind, values in (
            (Kind.HOSTS, ["", "a b", "a:80", "http://a", "*.a", 3, None, "::1::"]),
            (Kind.NETWORKS, ["", "10.0.0.1/8", "10.0.0.0/33", "a", 3, None]),
            (Kind.NAMES, ["", " ", "a\nb", "x" * 256, 3, None]),
            (Kind.UIDS, [-1, 2**32 - 1, "root", True, 1.5, None]),
        ):
            for value in values:
                self.refused(key(kind, optional=True), [value])
            for value in ("x y", 3, None, {"a": 1}, True):
                self.refused(key(kind, optional=True), value)

    def test_hints(self) -> None:
        self.refused(key(Kind.HOSTS), ["node.example:5310"], 'did you mean "node.example"?')
        self.refused(key(Kind.HOSTS), "node.example", 'did you mean ["node.example"]?')
        self.refused(key(Kind.NETWORKS), ["10.1.2.3/8"], 'did you mean "10.0.0.0/8"?')

    def test_words(self) -> None:
        row = key(Kind.WORDS, optional=True, choices=("authorization", "cookie"))
        self.assertEqual(row.read(["cookie"]), ("cookie",))
        self.assertEqual((row.read([]), row.parse("cookie,authorization")), ((), ("cookie", "authorization")))
        self.refused(row, ["cooky"], 'it takes a list of "authorization", "cookie" (did you mean cookie?)')
        for value in (["host"], [3], "cookie", {"cookie": True}):
            self.refused(row, value)

    def test_too_many(self) -> None:
        self.refused(key(Kind.UIDS), [1] * (MAX_ITEMS + 1), f"it takes 1 to {MAX_ITEMS}")


class PathTests(ReaderTestCase):
    def test_web_paths(self) -> None:
        row = key(Kind.WEB_PATH, optional=True)
        for text in ("", "/", "/healthz", "/a/b.c/"):
            self.assertEqual(row.read(text), text)
        for value in (
            "healthz",
            "//a",
            "/a//b",
            "/a b",
            "/a?b",
            "/a#b",
            "/../a",
            "/./a",
            "/%00",
            "/\\",
            "/\n",
            3,
            None,
        ):
            self.refused(row, value)

    def test_upstream(self) -> None:
        row = key(Kind.UPSTREAM, optional=True)
        self.assertEqual((row.read("http://A:80/"), row.read("")), ("http://a", ""))
        self.assertEqual(row.read("unix:/run/a.sock"), "unix:/run/a.sock")
        self.refused(row, "http://a:81/x/", '(did you mean "http://a:81"?)')
        self.refused(row, "http://user:secret@a", "credentials do not belong in a URL")
        self.refused(row, "http://a?x=1", "must not carry a query")
        self.refused(row, "ftp://a", "must begin with http://")
        self.refused(row, "a:80", 'did you mean "http://a:80"?')
        self.refused(row, ["http://a"])


class TomlTests(SynchronousTestCase):
    def test_text_of_every_kind_is_quoted_for_toml(self) -> None:
        row = key(Kind.FILE, optional=True)
        for text in ('a"b', "a\\b", "ümlaut", "\U0001f600", "\x7f", "tab\t"):
            self.assertEqual(tomllib.loads(f"x = {row.toml(text)}")["x"], text)
