"""Mistakes as people make them: each ends the command, names its place, and for typos the right word."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from micronode.cli import check
from micronode.cli.main import main
from micronode.config.problems import RefusedError
from micronode.config.schema import KEYS
from micronode.config.table import find_key
from tests.cli.support import CommandTestCase


@attrs.frozen
class Mistake:
    """What is typed, set or written, where the error says it is, and the word that was meant."""

    name: str
    place: str
    text: str | bytes | None = None
    argv: tuple[str, ...] = ()
    environ: dict[str, str] = attrs.field(factory=dict)
    meant: str = ""
    code: int = 78
    #: Path below the folder of the file -> what is there.
    beside: dict[str, str] = attrs.field(factory=dict)
    command: tuple[str, ...] = ("check",)


def typo(name: str, place: str, text: str, meant: str) -> Mistake:
    return Mistake(name, place, text, meant=meant)


def variable(name: str, variable: str, text: str, meant: str) -> Mistake:
    return Mistake(name, f"env {variable}", environ={variable: text}, meant=meant)


MISTAKES = (
    # Names in a file.
    typo("section", r"f\.toml:1", '[htp]\nlisten = "127.0.0.1:1"\n', "http"),
    typo("section, plural", r"f\.toml:1", "[limit]\nmax_inflight = 3\n", "limits"),
    typo("section, singular", r"f\.toml:1", "[timeout]\nread = '1s'\n", "timeouts"),
    typo("section, case", r"f\.toml:1", '[Log]\nlevel = "info"\n', "log"),
    typo("key", r"f\.toml:2", '[http]\nlisen = "127.0.0.1:1"\n', "listen"),
    typo("key, dash", r"f\.toml:2", '[limits]\nmax-frame = "4KiB"\n', "max_frame"),
    typo("key, case", r"f\.toml:2", '[limits]\nmaxFrame = "4KiB"\n', "max_frame"),
    typo("key of another section", r"f\.toml:2", '[http]\ngrace = "1s"\n', "drain.grace"),
    typo("key without section", r"f\.toml:1", 'min_version = "1.3"\n', "tls.min_version"),
    typo("owner", r"f\.toml:1", '[owners.indx]\nurl = "http://a"\n', "index"),
    typo("facet", r"f\.toml:1", "[facets.serch]\nlimit = 3\n", "search"),
    typo("key of a facet", r"f\.toml:2", "[facets.graph]\nlimt = 3\n", "limit"),
    typo("key of one owner only", r"f\.toml:2", '[owners.index]\nfail = "open"\n', "owners.policy"),
    typo("key in an inline table", r"f\.toml:1", 'drain = { graec = "1s" }\n', "grace"),
    typo("dotted key", r"f\.toml:1", 'http.lsiten = "127.0.0.1:1"\n', "listen"),
    # Values in a file.
    typo("word", r"f\.toml:2", '[log]\nlevel = "warn"\n', "warning"),
    typo("profile", r"f\.toml:2", '[node]\nprofile = "dve"\n', "dev"),
    typo("no unit", r"f\.toml:2", "[http]\nidle = 75\n", '"75s"'),
    typo("another unit", r"f\.toml:2", '[http]\nidle = "75sec"\n', '"75s"'),
    typo("minutes", r"f\.toml:2", '[http]\nidle = "2min"\n', '"2m"'),
    typo("size in KB", r"f\.toml:2", '[limits]\nmax_chunk = "32KB"\n', '"32KiB"'),
    typo("size in M", r"f\.toml:2", '[limits]\nmax_object = "5M"\n', '"5MiB"'),
    typo("number in quotes", r"f\.toml:2", '[limits]\nmax_inflight = "64"\n', "64 without quotes"),
    typo("truth in quotes", r"f\.toml:2", '[facets.media]\nenabled = "ture"\n', "true"),
    typo("port alone", r"f\.toml:2", '[http]\nlisten = ":8080"\n', '"127.0.0.1:8080"'),
    typo(
        "URL without scheme",
        r"f\.toml:2",
        '[owners.index]\nurl = "localhost:5321"\n',
        '"http://localhost:5321"',
    ),
    typo("host bits", r"f\.toml:2", '[http]\ntrusted_proxies = ["10.1.0.0/8"]\n', '"10.0.0.0/8"'),
    typo(
        "time without zone",
        r"f\.toml:2",
        "[auth]\nnot_before = 2026-01-01T00:00:00\n",
        '"2026-01-01T00:00:00Z"',
    ),
    Mistake("cap raised", r"f\.toml:2", '[limits]\nmax_frame = "2MiB"\n'),
    Mistake("chunk raised", r"f\.toml:2", '[limits]\nmax_chunk = "65KiB"\n'),
    Mistake("ratio raised", r"f\.toml:2", "[limits]\ndecompress_ratio = 11\n"),
    Mistake("open to the world", r"f\.toml:2", '[http]\nlisten = "0.0.0.0:5310"\n'),
    Mistake("one address for two", r"f\.toml:2", '[oap]\nlisten = "127.0.0.1:5310"\n'),
    Mistake("amnesia and persistence", r"f\.toml:2", '[persistence]\ndir = "/var/lib/micronode"\n'),
    Mistake("not built", r"f\.toml:2", '[pq]\nmode = "required"\n'),
    Mistake("password in a URL", r"f\.toml:2", '[owners.index]\nurl = "http://me:pw@host"\n'),
    # Files.
    Mistake("duplicate table", r"f\.toml:3", '[http]\nidle = "1s"\n[http]\n'),
    Mistake("duplicate key", r"f\.toml:3", '[http]\nidle = "1s"\nidle = "2s"\n'),
    Mistake("no quotes", r"f\.toml:2", "[http]\nlisten = 127.0.0.1:1\n"),
    Mistake("YAML", r"f\.toml:1", "http:\n  listen: 1\n"),
    typo("typo behind BOM, CRLF and tabs", r"f\.toml:3", '\ufeff[http]\r\n\r\n\tlisen\t=\t"x"\r\n', "listen"),
    Mistake("binary", r"f\.toml:1", b"\x7fELF\x00\x01"),
    Mistake("bad UTF-8", r"f\.toml:2", b"[http]\n# \xff\n"),
    Mistake("UTF-16", r"f\.toml:1", "[http]\n".encode("utf-16")),
    Mistake("10 MB", "flag --config", b"#" * 10_000_000),
    Mistake("directory", "flag --config", argv=("--config", ".")),
    Mistake("missing", "flag --config", argv=("--config", "missing.toml")),
    Mistake("missing, by variable", "env MICRONODE_CONFIG", environ={"MICRONODE_CONFIG": "missing.toml"}),
    Mistake("unreadable", "flag --config", argv=("--config", "/proc/self/mem")),
    # Includes.
    Mistake("missing include", r"f\.toml:2", '\ninclude = ["missing.toml"]\n'),
    Mistake("include above", r"f\.toml:1", 'include = ["../x.toml"]\n'),
    Mistake("include of anywhere", r"f\.toml:1", 'include = ["/etc/passwd"]\n'),
    Mistake("circle", r"a\.toml:1", 'include = ["a.toml"]\n', beside={"a.toml": 'include = ["f.toml"]\n'}),
    Mistake(
        "typo in an include",
        r"a\.toml:2",
        'include = ["a.toml"]\n',
        beside={"a.toml": "[log]\nlevl = 1\n"},
        meant="level",
    ),
    # Variables.
    variable("variable", "MICRONODE_HTTP_LISEN", "x", "MICRONODE_HTTP_LISTEN"),
    variable("variable, singular", "MICRONODE_OWNER_INDEX_URL", "x", "MICRONODE_OWNERS_INDEX_URL"),
    variable("variable without section", "MICRONODE_LOGLEVEL", "x", "MICRONODE_LOG_LEVEL"),
    variable("variable's value", "MICRONODE_LOG_LEVEL", "inof", "info"),
    Mistake(
        "bad UTF-8 in a variable", "env MICRONODE_UDS_PATH", environ={"MICRONODE_UDS_PATH": "/run/\udcff"}
    ),
    # Flags and commands.
    Mistake("flag", "--htpp", argv=("--htpp", "x"), meant="--http", code=64),
    Mistake("flag of a key", "flag --set drian.grace", argv=("--set", "drian.grace=1s"), meant="drain"),
    Mistake("flag's value", "flag --log-level", argv=("--log-level", "debgu"), meant="debug"),
    Mistake("facets", "flag --facets", argv=("--facets", "search,grahp"), meant="graph"),
    Mistake("flag twice", "--http", argv=("--http", "off", "--http", "off"), code=64),
    Mistake("setting twice", "--set http.idle", argv=("--set=http.idle=1s", "--set=http.idle=1s"), code=64),
    Mistake("setting without value", "--set", argv=("--set", "http.idle"), code=64),
    Mistake("both", "--amnesia", argv=("--amnesia", "--no-amnesia"), code=64),
    Mistake("command", "chekc", command=("chekc",), meant="check", code=64),
    Mistake("command of config", "shwo", command=("config", "shwo"), meant="show", code=64),
)


class MistakesTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.environ: dict[str, str] = {}
        self.patch(check.os, "environ", self.environ)

    def end(self, mistake: Mistake) -> tuple[int, str]:
        """Make *mistake*; return the exit code and what was said."""
        folder = Path(self.mktemp())
        folder.mkdir()
        argv = list(mistake.argv)
        if mistake.text is not None:
            text = mistake.text.encode("utf-8") if isinstance(mistake.text, str) else mistake.text
            (folder / "f.toml").write_bytes(text)
            argv += ["--config", str(folder / "f.toml")]
        for name, text in mistake.beside.items():
            (folder / name).write_text(text, "utf-8")
        self.environ.clear()
        self.environ |= mistake.environ
        self.err.seek(0)
        self.err.truncate()
        return main([*mistake.command, *argv]), self.complained

    def test_each_ends_the_command_and_names_its_place(self) -> None:
        self.assertGreaterEqual(len(MISTAKES), 50)
        for mistake in MISTAKES:
            code, said = self.end(mistake)
            self.assertEqual(code, mistake.code, (mistake.name, said))
            self.assertRegex(said, rf"(?m)^micronode: .*{mistake.place}", mistake.name)
            self.assertNotIn("Traceback", said)
            for line in said.splitlines():
                self.assertRegex(line, r"^micronode: .*; \S|did you mean|commands are", mistake.name)
                self.assertTrue(line.isprintable(), line)

    def test_typos_are_told_the_right_word(self) -> None:
        typos = [mistake for mistake in MISTAKES if mistake.meant]
        missed = [mistake.name for mistake in typos if f"mean {mistake.meant}?" not in self.end(mistake)[1]]
        # It is said otherwise, who alone has that key.
        self.assertEqual(missed, ["key of one owner only"])

    def test_a_file_that_may_not_be_read(self) -> None:
        if os.geteuid() == 0:
            # Root reads everything; what the kernel refuses even to root is among the mistakes.
            return
        name = self.mktemp()
        Path(name).touch(0o000)
        self.assertEqual(main(["check", name]), 78)
        self.assertIn("permission denied", self.complained)


class TyposByMachineTests(CommandTestCase):
    def test_of_every_key(self) -> None:
        """One letter left out, doubled, or swapped with its neighbour: 90 % are told the right name."""
        told = asked = 0
        for path in KEYS:
            *section, name = path.split(".")
            middle = len(name) // 2
            left_out = name[:middle] + name[middle + 1 :]
            doubled = name[:middle] + name[middle] + name[middle:]
            swapped = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :]
            for word in {left_out, doubled, swapped} - {name}:
                asked += 1
                try:
                    find_key((*section, word))
                except RefusedError as refused:
                    told += f"mean {name}?" in refused.what or f".{name}?" in refused.what
        self.assertGreaterEqual(told / asked, 0.9)
