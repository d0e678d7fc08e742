"""Files: what can be read, what can be included, and where each problem is said to be."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.documents import MAX_DEPTH, MAX_FILES, Document, read_documents
from micronode.config.problems import ConfigError
from micronode.config.sources import load


class FolderTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.main = self.folder / "main.toml"

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return path

    def problems(self) -> list[str]:
        """Return what is wrong with main.toml, without the folder's name."""
        error = self.assertRaises(ConfigError, load, environ={}, path=str(self.main))
        return [str(problem).replace(f"{self.folder}/", "") for problem in error.problems]


class IncludeTests(FolderTestCase):
    def test_the_including_file_counts_more_and_a_later_include_more_than_an_earlier(self) -> None:
        self.write("a.toml", '[http]\nidle = "1s"\n[drain]\ngrace = "1s"\ndeadline = "1s"\n')
        self.write("d/b.toml", '[drain]\ngrace = "2s"\ndeadline = "2s"\n')
        self.write("main.toml", 'include = ["a.toml", "d/b.toml"]\n[drain]\ndeadline = "3s"\n')
        config = load(environ={}, path=str(self.main)).config
        self.assertEqual((config.http.idle, config.drain.grace, config.drain.deadline), (1.0, 2.0, 3.0))
        self.assertEqual(
            {path: where.replace(f"{self.folder}/", "") for path, where in config.sources.items()},
            {"http.idle": "a.toml:2", "drain.grace": "d/b.toml:2", "drain.deadline": "main.toml:3"},
        )

    def test_is_relative_to_the_including_file(self) -> None:
        self.write("d/b.toml", 'include = ["c.toml"]\n')
        self.write("d/c.toml", '[log]\nlevel = "error"\n')
        self.write("main.toml", 'include = ["d/b.toml"]\n')
        self.assertEqual(load(environ={}, path=str(self.main)).config.log.level, "error")

    def test_nothing_outside(self) -> None:
        outside = Path(self.mktemp()).absolute()
        outside.write_text('[log]\nlevel = "error"\n')
        (self.folder / "link.toml").symlink_to(outside)
        (self.folder / "up").symlink_to(outside.parent)
        self.write("d/up.toml", 'include = ["../main.toml"]\n')
        for name, reason in [
            (str(outside), "not relative"),
            ("~/x.toml", "not relative"),
            ("../x.toml", "leads up"),
            ("d/../../x.toml", "leads up"),
            ("link.toml", "link that leads out"),
            (f"up/{outside.name}", "link that leads out"),
            ("d/up.toml", "leads up"),
            ("d", "no file"),
            ("missing.toml", "no such file"),
            ("", "may not include"),
            ("a\tb", "may not include"),
        ]:
            self.write("main.toml", f"# 1\ninclude = [{name!r}]\n".replace("'", '"'))
            (line,) = self.problems()
            self.assertIn(reason, line)
            self.assertRegex(line, r"^(main.toml:2|d/up.toml:1): ")

    def test_a_link_inside_is_no_escape(self) -> None:
        self.write("real.toml", '[log]\nlevel = "error"\n')
        (self.folder / "link.toml").symlink_to("real.toml")
        self.write("main.toml", 'include = ["link.toml"]\n')
        self.assertEqual(load(environ={}, path=str(self.main)).config.log.level, "error")

    def test_circles(self) -> None:
        self.write("main.toml", 'include = ["main.toml"]\n')
        self.assertIn("break the circle", self.problems()[0])
        self.write("main.toml", 'include = ["a.toml"]\n')
        self.write("a.toml", '\ninclude = ["b.toml"]\n')
        self.write("b.toml", 'include = ["a.toml"]\n')
        self.assertRegex(self.problems()[0], "^b.toml:1: .*break the circle")

    def test_depth_and_number_are_bounded(self) -> None:
        for number in range(MAX_DEPTH + 2):
            self.write(f"{number}.toml", f'include = ["{number + 1}.toml"]\n')
        self.write("main.toml", 'include = ["0.toml"]\n')
        self.assertIn(f"{MAX_DEPTH} deep", self.problems()[0])
        self.write("x.toml", "")
        self.write("main.toml", f"include = {['x.toml'] * (MAX_FILES + 3)}\n")
        self.assertIn(f"at most {MAX_FILES} files", self.problems()[0])

    def test_of_the_wrong_type(self) -> None:
        for text in ('"a.toml"', "[1]", "{ a = 1 }"):
            self.write("main.toml", f"include = {text}\n")
            self.assertRegex(self.problems()[0], r'^main.toml:1: include cannot be .*write include = \["')

    def test_problems_of_all_files_are_told(self) -> None:
        self.write("a.toml", "[http]\nlisen = 1\n")
        self.write("b.toml", "[http\n")
        self.write("main.toml", 'include = ["a.toml", "b.toml", "c.toml"]\n[drain]\ngrace = "x"\n')
        self.assertEqual(
            [line.split(": ")[0] for line in self.problems()],
            ["a.toml:2", "b.toml:1", "main.toml:1", "main.toml:3"],
        )


class ReadTests(FolderTestCase):
    def test_what_is_no_text(self) -> None:
        for data, line in [
            (b"# 1\n\x00\x01", "main.toml:2: it is not text but a binary file; name a TOML file"),
            ("[http]".encode("utf-16"), "main.toml:1: it is UTF-16; save the file as UTF-8"),
            (b"a\n\xff", "main.toml:2: it is not UTF-8; save the file as UTF-8"),
        ]:
            self.write("main.toml", data)
            self.assertEqual(self.problems(), [line])

    def test_too_large(self) -> None:
        self.write("main.toml", b"#" * 10_000_000)
        self.assertIn("larger than 1 MiB", self.problems()[0])

    def test_no_file(self) -> None:
        self.assertIn("no such file", self.problems()[0])
        self.main.mkdir()
        self.assertIn("is a directory", self.problems()[0])

    def test_an_odd_name_is_one_line(self) -> None:
        name = os.fsencode(self.folder) + b"/a\nb\xff.toml"
        with open(name, "wb") as file:
            file.write(b"[http]\nlisen = 1\n")
        error = self.assertRaises(ConfigError, load, environ={}, path=os.fsdecode(name))
        (line,) = map(str, error.problems)
        self.assertTrue(line.isprintable(), line)


class SyntaxTests(SynchronousTestCase):
    def test_says_where_what_and_how(self) -> None:
        for text, line in [
            (
                "[a]\n[a]\n",
                "f:2: not TOML: this table stands twice at '[a]'; put all of its keys under one header",
            ),
            (
                '[a]\nb = "x\n',
                "f:2: not TOML: a text is not closed at 'b = \"x'; close it with the quote that opens it",
            ),
            ("a = 1\na = 2\n", "f:2: not TOML: this key is set twice at 'a = 2'; keep one of them"),
            (
                "[http]\nlisten = 127.0.0.1:1\n",
                "f:2: not TOML: Expected newline or end of document after a statement at "
                "'listen = 127.0.0.1:1'; correct this line: text stands in quotes, numbers, true and false"
                " do not",
            ),
            (
                "[http]\nlisten: 3\n",
                "f:2: not TOML: Expected '=' after a key in a key/value pair at 'listen: 3'; "
                "correct this line: a key is set with =, not with a colon",
            ),
        ]:
            (problem,) = Document.parse("f", text).problems
            self.assertEqual(str(problem), line)

    def test_a_key_that_would_take_all_memory(self) -> None:
        (problem,) = Document.parse("f", f"[a]\n{'b.' * 300_000}c = 1\n").problems
        self.assertEqual(str(problem), "f:2: it is nested too deeply; no key or list is nested so deeply")

    def test_what_may_be_a_password_is_not_repeated(self) -> None:
        for text in (
            "url = http://user:secret@host",
            "url = http://user:se/cret@host",
            "url = \"http://user:se'cret@host",
            "url = http://user:se@cret@host",
            'url = ["http://a", "http://user:se cret@host" "http://b"]',
        ):
            (problem,) = Document.parse("f", f"{text}\n").problems
            self.assertNotRegex(str(problem), "se.?cret", text)
            self.assertIn("@host", str(problem))

    def test_weakest_first(self) -> None:
        name = self.mktemp()
        Path(name).write_text("", "utf-8")
        (document,) = read_documents(name, "flag --config")
        self.assertEqual((document.name, document.problems), (name, ()))


class AgainTests(FolderTestCase):
    """What can be read only once is refused the second time, never waited for, never taken for empty."""

    def again(self, path: str) -> list[str]:
        try:
            load(environ={}, path=path, again=True)
        except ConfigError as error:
            return [str(problem).replace(f"{self.folder}/", "") for problem in error.problems]
        return []

    def test_a_file(self) -> None:
        self.write("main.toml", '[log]\nlevel = "error"\n')
        self.assertEqual(self.again(str(self.main)), [])
        self.main.unlink()
        (problem,) = self.again(str(self.main))
        self.assertRegex(problem, r"\Aflag --config: cannot read .*: no such file or directory; name a TOML")

    def test_nothing_is_named(self) -> None:
        self.assertEqual(load(environ={}, again=True).config.sources, {})

    def test_standard_input(self) -> None:
        (problem,) = self.again("-")
        self.assertIn("flag --config: the configuration came from standard input, which cannot be", problem)
        self.assertIn("keep it in a file to reload it", problem)

    def test_pipes(self) -> None:
        near, far = os.pipe()
        self.addCleanup(os.close, near)
        self.addCleanup(os.close, far)
        os.mkfifo(self.folder / "fifo")
        for name in (f"/dev/fd/{near}", str(self.folder / "fifo")):
            (problem,) = self.again(name)
            self.assertIn("came from the pipe", problem)
        self.assertEqual(self.again(os.devnull), [])
        near_terminal, far_terminal = os.openpty()
        self.addCleanup(os.close, near_terminal)
        self.addCleanup(os.close, far_terminal)
        self.assertIn("came from a terminal or device", self.again(os.ttyname(far_terminal))[0])

    def test_descriptors(self) -> None:
        """Whatever they lead to now: that of a daemon's standard input leads to /dev/null."""
        self.write("main.toml", '[log]\nlevel = "error"\n')
        with self.main.open() as file:
            number = file.fileno()
            for name in (f"/dev/fd/{number}", f"/dev//fd/{number}", f"/proc/self/fd/{number}"):
                self.assertEqual(load(environ={}, path=f"/dev/fd/{number}").config.log.level, "error")
                (problem,) = self.again(name)
                self.assertIn("came from the descriptor", problem)

    def test_named_by_the_environment(self) -> None:
        error = self.assertRaises(ConfigError, load, environ={"MICRONODE_CONFIG": "-"}, again=True)
        self.assertEqual(error.problems[0].where, "env MICRONODE_CONFIG")
