"""Values: what each kind takes, what it refuses, and in which words."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.kinds import ConfigError, Key, Kind, Problem, RefusedError, did_you_mean


def key(kind: Kind, **rest: object) -> Key:
    return Key(path="section.name", kind=kind, doc="", default=None, **rest)


class NumberAndWordTests(SynchronousTestCase):
    def test_integer(self) -> None:
        row = key(Kind.INTEGER)
        self.assertEqual(row.read(7), 7)
        self.assertEqual(row.parse(" 7 "), 7)
        for value in ["7", 7.0, True, None]:
            self.assertRaises(RefusedError, row.read, value)
        for text in ["7.0", "seven", "", "0x7", "7" * 5000]:
            self.assertRaises(RefusedError, row.parse, text)

    def test_range_names_both_ends_in_the_keys_unit(self) -> None:
        row = key(Kind.SIZE, minimum=4096, maximum=1048576)
        for value in (4095, "1048577"):
            refused = self.assertRaises(RefusedError, row.read, value)
            self.assertEqual(refused.fix, "use 4KiB to 1MiB")
        self.assertEqual((row.read(4096), row.read(1048576)), (4096, 1048576))

    def test_boolean(self) -> None:
        row = key(Kind.BOOLEAN)
        self.assertIs(row.read(True), True)
        for text in ("true", "YES", "on", "1"):
            self.assertIs(row.parse(text), True)
        for text in ("false", "No", "off", "0"):
            self.assertIs(row.parse(text), False)
        for value in ("true", 1, 0, None):
            self.assertRaises(RefusedError, row.read, value)
        self.assertRaises(RefusedError, row.parse, "maybe")

    def test_choice(self) -> None:
        row = key(Kind.CHOICE, choices=("info", "error"))
        self.assertEqual(row.read("info"), "info")
        self.assertIn("did you mean info?", self.assertRaises(RefusedError, row.read, "inof").fix)
        self.assertRaises(RefusedError, row.read, 3)


class UrlTests(SynchronousTestCase):
    def test_one_or_a_list(self) -> None:
        row = key(Kind.URLS)
        self.assertEqual(row.read("http://a:1/"), ("http://a:1",))
        self.assertEqual(row.read(["http://a", "https://[::1]:3/x"]), ("http://a", "https://[::1]:3/x"))
        self.assertEqual(row.parse("http://a, unix:/run/x.sock"), ("http://a", "unix:/run/x.sock"))
        self.assertEqual(row.read(row.read("http+unix:///run/x")), ("unix:/run/x",))

    def test_refused_with_the_reason(self) -> None:
        row = key(Kind.URLS)
        for value, reason in [
            ("ftp://a", "begin with"),
            ("a:80", "begin with"),
            ("http://", "no host"),
            ("http://u:p@a", "credentials"),
            ("http://a:0", "port"),
            ("http://a:", "port"),
            ("http://a:99999", "at most 65535"),
            ("http://a?x", "query"),
            ("http://a#x", "query"),
            ("http://a b", "visible"),
            ("http://ä", "visible"),
            ("http://a\n", "visible"),
            ("http://[::1", "brackets"),
            ("https://a_b", "certificate"),
            ("unix:run", "absolute"),
        ]:
            refused = self.assertRaises(RefusedError, row.read, value)
            self.assertIn(reason, str(refused), value)

    def test_a_password_is_not_repeated(self) -> None:
        refused = str(self.assertRaises(RefusedError, key(Kind.URLS).read, "http://user:secret@host:1/x"))
        self.assertNotIn("secret", refused)
        self.assertIn("http://...@host:1/x", refused)
        refused = str(self.assertRaises(RefusedError, key(Kind.URLS).read, "user:secret@host:1"))
        self.assertNotIn("secret", refused)

    def test_hosts_that_fail_at_the_first_connect(self) -> None:
        """They stop the start here, with one line, and not later."""
        for url in (
            "https://a..b",
            "https://-",
            "https://a_b",
            "https://xn--",
            "https://" + "a" * 64,
            "http://[::1%25lo]:80",
            "http://a\\b",
            "http://[v1.x]",
        ):
            refused = self.assertRaises(RefusedError, key(Kind.URLS).read, url)
            self.assertTrue(refused.what.startswith("section.name cannot be "), refused.what)
            self.assertNotIn("\n", str(refused))

    def test_hosts_of_every_kind(self) -> None:
        for url in ("http://index_owner:5321", "http://[::1]:5321", "https://[::1]", "https://10.0.0.9"):
            self.assertEqual(key(Kind.URLS).read(url), (url,))

    def test_not_a_list_of_text(self) -> None:
        for value in ([], [1], 3, None, {"a": 1}, ["http://a"] * 17):
            self.assertRaises(RefusedError, key(Kind.URLS).read, value)


class ShowTests(SynchronousTestCase):
    def test_what_is_shown_can_be_read_again(self) -> None:
        for row, value in [
            (key(Kind.DURATION), 0.25),
            (key(Kind.DURATION), 90.0),
            (key(Kind.DURATION), 0.0),
            (key(Kind.SIZE), 65536),
            (key(Kind.SIZE), 1000),
            (key(Kind.INTEGER), 64),
            (key(Kind.BOOLEAN), False),
            (key(Kind.URLS), ("http://a", "http://b")),
            (key(Kind.LISTEN), "127.0.0.1:1"),
        ]:
            self.assertEqual(row.parse(row.show(value)), value)


class ProblemTests(SynchronousTestCase):
    def test_place_is_not_said_twice(self) -> None:
        self.assertEqual(str(Problem("a.b", "a.b is wrong", "fix it")), "a.b is wrong; fix it")
        self.assertEqual(str(Problem("f:3", "a.b is wrong", "fix it")), "f:3: a.b is wrong; fix it")

    def test_error_is_a_line_a_problem(self) -> None:
        error = ConfigError([Problem("x", "y", "z"), Problem("a", "b", "c")])
        self.assertEqual(str(error).splitlines(), ["x: y; z", "a: b; c"])

    def test_hint_only_for_what_resembles(self) -> None:
        self.assertEqual(did_you_mean("lisen", ["listen", "idle"]), " (did you mean listen?)")
        self.assertEqual(did_you_mean("xyz", ["listen", "idle"]), "")

    def test_long_values_are_cut(self) -> None:
        self.assertLess(len(self.assertRaises(RefusedError, key(Kind.LISTEN).read, "x" * 100_000).what), 200)
