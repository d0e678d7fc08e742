"""micronode check: exit codes, what is printed, standard input; nothing is bound."""

import io
import json
import sys
from pathlib import Path

from micronode.cli import check
from micronode.cli.main import main
from micronode.config.kinds import Kind
from micronode.config.schema import KEYS, Config
from tests.cli.support import CommandTestCase
from tests.config.samples import BUILT_ROWS, ROWS, companions, other
from tests.support.certificates import make_authority


class CheckTests(CommandTestCase):
    def write(self, text: str) -> str:
        name = self.mktemp()
        Path(name).write_text(text, "utf-8")
        return name

    def stdin(self, data: bytes) -> None:
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    def test_in_order(self) -> None:
        name = self.write('[log]\nlevel = "error"\n')
        for argv in ([], [name], ["--config", name], ["--http", "off", name]):
            self.assertEqual(main(["check", *argv]), 0)
        self.assertIn(f"configuration in order ({name}, 2 values set, sha ", self.printed)
        self.assertEqual(self.complained, "")

    def test_refused(self) -> None:
        name = self.write('[log]\nlevle = "error"\n[drain]\ngrace = 5\n')
        self.assertEqual(main(["check", name, "--oap", "x"]), 78)
        lines = self.complained.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[0], rf"micronode: {name}:2: unknown key 'levle' .*did you mean level\?")
        self.assertRegex(lines[1], rf'micronode: {name}:4: drain.grace = 5 has no unit.*did you mean "5s"\?')
        self.assertIn("flag --oap: oap.listen", lines[2])

    def test_as_json(self) -> None:
        self.assertEqual(main(["check", "--json"]), 0)
        whole = json.loads(self.printed)
        self.assertEqual((whole["ok"], whole["config_sha"]), (True, Config().sha()))

    def test_what_is_hidden_is_said(self) -> None:
        name = self.write("[drain]\ngrace = '2s'\n")
        argv = ["check", name, "--set", "drain.grace=1s"]
        hidden = f"drain.grace of {name}:2 is hidden by flag --set drain.grace"
        self.assertEqual(main(argv), 0)
        self.assertEqual(self.complained, f"micronode: {hidden}\n")
        before = self.printed
        self.assertEqual(main([*argv, "--json"]), 0)
        whole = json.loads(self.printed.removeprefix(before))
        self.assertEqual((whole["hidden"], whole["warnings"]), ([hidden], []))

    def test_a_bound_that_is_never_met_is_noted(self) -> None:
        self.assertEqual(main(["check", "--set", "facets.feed.limit=65"]), 0)
        self.assertIn(
            "note: owners.mailbox.concurrency (64) is met before facets.feed.limit (65)", self.complained
        )
        before = self.printed
        self.assertEqual(main(["check", "--set", "facets.feed.limit=65", "--json"]), 0)
        self.assertEqual(len(json.loads(self.printed.removeprefix(before))["notes"]), 1)

    def test_limits_that_are_never_met_are_noted(self) -> None:
        self.assertEqual(main(["check", "--set", "limits.per_address=2000"]), 0)
        self.assertIn("note: limits.per_address (2000) is never met", self.complained)

    def test_refused_as_json(self) -> None:
        self.assertEqual(main(["check", "--json", "--set", "log.levle=error", "--http", "x"]), 78)
        whole = json.loads(self.printed)
        self.assertFalse(whole["ok"])
        self.assertEqual(
            [each["where"] for each in whole["problems"]], ["flag --set log.levle", "flag --http"]
        )
        self.assertEqual(set(whole["problems"][0]), {"where", "what", "fix"})
        self.assertEqual(self.complained, "")

    def test_standard_input(self) -> None:
        self.stdin(b'[log]\nlevel = "loud"\n')
        self.assertEqual(main(["check", "-"]), 78)
        self.assertIn("<stdin>:2: log.level cannot be 'loud'", self.complained)
        self.stdin(b'[log]\nlevel = "error"\n')
        self.assertEqual(main(["check", "-"]), 0)
        self.assertIn("(standard input, 1 values set", self.printed)
        self.stdin(b'include = ["x.toml"]\n')
        self.assertEqual(main(["check", "--config", "-"]), 78)
        self.assertIn("standard input has no folder", self.complained)

    def test_usage(self) -> None:
        for argv in (["a", "b"], ["--config", "a", "b"], ["--depe"]):
            self.assertEqual(main(["check", *argv]), 64)
        self.assertIn("did you mean --deep?", self.complained)
        self.assertEqual(self.complained.count("see micronode check --help"), 3)

    def test_what_is_ignored_is_said(self) -> None:
        self.patch(check.os, "environ", {"MICRONODE_PORT": "tcp://10.0.0.1:1"})
        self.assertEqual(main(["check"]), 0)
        self.assertIn("micronode: warning: ignored MICRONODE_PORT", self.complained)

    def test_every_key_that_is_not_built(self) -> None:
        """Asking for it is refused, with place, and with what asks for nothing."""
        for path, row in ROWS.items():
            value = other(row)
            if path in BUILT_ROWS or row.is_inert(value):
                continue
            beside = companions(row).items()
            words = [f"--set={each}={KEYS[each].show(text)}" for each, text in beside]
            self.err.truncate(0)
            self.assertEqual(main(["check", *words, f"--set={path}={row.show(value)}"]), 78, path)
            (line,) = [line for line in self.complained.splitlines() if f" {path} = " in line]
            self.assertIn(f"micronode: flag --set {path}: ", line)
            self.assertIn("is not available yet in this release; remove it, or set it to ", line)

    def test_every_key_that_is_built_or_asks_for_nothing(self) -> None:
        for path, row in KEYS.items():
            value = other(row) if path in BUILT_ROWS else row.default
            if row.kind is Kind.FILE and value:
                # What is in it counts, too: test_files_are_read.
                continue
            self.assertEqual(main(["check", f"--set={path}={row.show(value)}"]), 0, (path, self.complained))

    def test_files_are_read(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate, key = make_authority().save(folder, "own")
        name = self.write(
            f'[owners.index]\nurl = "https://owner"\nca = "{certificate}"\n'
            f'certificate = "{certificate}"\nprivate_key = "{key}"\n'
        )
        self.assertEqual(main(["check", name]), 0, self.complained)
        Path(key).chmod(0o644)
        Path(certificate).write_text("no certificate")
        self.assertEqual(main(["check", name]), 78)
        lines = [line.split(": ")[1] for line in self.complained.splitlines()]
        self.assertEqual(lines, [f"{name}:3", f"{name}:4", f"{name}:5"])
        self.assertIn(f"chmod o= {key}", self.complained)
        self.assertEqual(main(["check", "--json", name]), 78)
        self.assertEqual(len(json.loads(self.printed.partition("\n")[2])["problems"]), 3)

    def test_facets_of_ones_own(self) -> None:
        name = self.write(
            '[facets.billing]\nkind = "proxy"\nupstream = "http://a"\nlimit = 3\n'
            'routes = [{ method = "GET", access = "read" }]\n'
        )
        self.assertEqual(main(["check", name]), 0, self.complained)
        self.assertEqual(main(["check", name, "--set", "facets.billing.queue=3"]), 0, self.complained)
        self.assertEqual(main(["check", name, "--set", "facets.billing.queue=-3"]), 78)
        (line,) = self.complained.splitlines()
        self.assertIn("facets.billing.queue", line)
