"""The line index: where a valid TOML document sets what."""

import tomllib

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.lines import deepest_line, line_index

DOCUMENT = (
    r"""# first
top = 1

[a]           # comment ] [
x = "]#[" # y = 1
"quoted.key" = 'it"""
    + "'"
    + r'''
'literal' = """
[not.a.table]
y = "\""""
inline = { p = 1, q = { r = [1, {s = 2}] } }
[a.b]
list = [
  1, # [c]
  "two",
  { z = 3 },
]
after = 1979-05-27T07:32:00Z
dotted . key = true
dotted.other = 1.5
[[many]]
m = """a""""
[[many]]
m = \'\'\'b\'\'\'
"\u0041" = 0
'''.replace(r"\'", "'")
)


class LineIndexTests(SynchronousTestCase):
    def test_each_key(self) -> None:
        tomllib.loads(DOCUMENT)
        lines = line_index(DOCUMENT)
        numbers = {".".join(path): number for path, number in lines.items()}
        text = DOCUMENT.split("\n")
        for path, word in [
            ("top", "top ="),
            ("a", "[a]"),
            ("a.x", "x ="),
            ("a.quoted.key", '"quoted'),
            ("a.literal", "'literal'"),
            ("a.inline", "inline"),
            ("a.inline.q.r", "inline"),
            ("a.b", "[a.b]"),
            ("a.b.list", "list"),
            ("a.b.after", "after"),
            ("a.b.dotted", "dotted . key"),
            ("a.b.dotted.key", "dotted . key"),
            ("a.b.dotted.other", "dotted.other"),
            ("many", "[[many]]"),
            ("many.A", '"\\u0041"'),
        ]:
            self.assertTrue(text[numbers[path] - 1].startswith(word), (path, numbers[path]))

    def test_nothing_from_inside_strings_and_arrays(self) -> None:
        names = {part for path in line_index(DOCUMENT) for part in path}
        self.assertEqual(names & {"y", "not", "c", "z", "s"}, set())

    def test_tabs_line_ends_and_nothing(self) -> None:
        self.assertEqual(line_index("\t[a]\r\n\tb\t=\t1\r\n"), {("a",): 1, ("a", "b"): 2})
        self.assertEqual(line_index(""), {})
        self.assertEqual(line_index("\n\n# only"), {})
        self.assertEqual(line_index("a = []\nb = {}\nc = ''"), {("a",): 1, ("b",): 2, ("c",): 3})

    def test_text_that_is_not_toml_ends(self) -> None:
        self.assertRaises(ValueError, line_index, "= 3")


class DeepestLineTests(SynchronousTestCase):
    def test_a_key_of_too_many_parts(self) -> None:
        for part in ("a.", "a . ", '"a".', r'"\"".', "'a\"'\t."):
            for before, after in (("", "b = 1"), ("[", "b]"), ("x = {", "b = 1}")):
                text = f"# a\n\n{before}{part * 100_000}{after}"
                self.assertEqual(deepest_line(text), 3, (part, before))

    def test_whatever_else_has_dots(self) -> None:
        self.assertIsNone(deepest_line(DOCUMENT))
        dots = "a." * 1_000
        for text in (
            f"# {dots}\na = 1",
            f'a = "{dots}"',
            f"a = '{dots}'",
            f'a = """\n{dots}\\""" {dots}"""',
            f"a = '''\n{dots}'''",
            "a.b = 1.5\n" * 1_000,
            f"a = [{'1.5, ' * 1_000}]",
            "." * 1_000,
        ):
            self.assertIsNone(deepest_line(text), text[:40])

    def test_what_is_not_closed_is_looked_at_once(self) -> None:
        for text in ('"\\', "'\"", '"""\\', "'''\"", '"\n\\"\n', "a ", "a", "'\n"):
            self.assertIsNone(deepest_line(text * (1_000_000 // len(text))), text)
