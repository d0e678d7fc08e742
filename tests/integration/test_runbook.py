"""``docs/RUNBOOK.rst``, done: every command that can be run here prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

from docutils.core import publish_doctree
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from micronode.cli.exits import Exit
from micronode.config.schema import KEYS
from tests.cli.processes import ROOT
from tests.support.runbook import PAGE, Sandbox, blocks, pattern
from tests.support.tools import require_tool

TEXT = PAGE.read_text("utf-8")
BLOCKS = blocks(TEXT)
#: What a node is made of: the reference owners log on their own.
SOURCES = "".join(
    path.read_text("utf-8") for path in (ROOT / "micronode").rglob("*.py") if "devowners" not in path.parts
)
#: How many blocks are not run, by the beginning of the reason. One more is one to be thought about.
NOT_RUN = {"needs a service manager": 7}


class CommandsTests(SynchronousTestCase):
    def test_every_command_prints_what_the_page_says(self) -> None:
        for tool in ("bash", "curl"):
            require_tool(tool)
        sandbox = Sandbox()
        self.addCleanup(sandbox.close)
        left_out: list[str] = []
        for block in BLOCKS:
            if block.kind == "file":
                sandbox.write(block)
            elif block.kind == "run":
                try:
                    if block.word:
                        require_tool(block.word)
                except SkipTest as error:
                    left_out.append(str(error))
                    continue
                for command, expected in block.steps():
                    printed = sandbox.run(command)
                    wanted = sandbox.localise(expected)
                    if not pattern(wanted).fullmatch(printed):
                        self.fail(
                            f"RUNBOOK.rst, the block at line {block.line}: $ {command}\n"
                            f"is to print\n{wanted}\nand printed\n{printed}\n{sandbox.logs()}"
                        )
        if left_out:
            raise SkipTest("; ".join(left_out))

    def test_every_block_says_what_becomes_of_it(self) -> None:
        self.assertEqual([block.line for block in BLOCKS if not block.kind], [])
        self.assertGreater(sum(block.kind == "run" for block in BLOCKS), 15)
        for block in BLOCKS:
            if block.kind == "run":
                self.assertTrue(block.text.startswith("$ "), block)

    def test_what_is_not_run_is_known(self) -> None:
        reasons = [block.word for block in BLOCKS if block.kind == "not run"]
        counted = {start: sum(reason.startswith(start) for reason in reasons) for start in NOT_RUN}
        self.assertEqual((counted, len(reasons)), (NOT_RUN, sum(NOT_RUN.values())), reasons)

    def test_no_code_is_in_a_block_of_another_kind(self) -> None:
        self.assertEqual(re.findall(r"(?m)^(?!\.\. ).*::$", TEXT), [])


class PageTests(SynchronousTestCase):
    def test_is_valid_markup(self) -> None:
        publish_doctree(TEXT, settings_overrides={"halt_level": 2, "report_level": 5})

    def test_names_files_that_are_there(self) -> None:
        names = set(re.findall(r"``((?:conf|docs|tests|bin)/[a-z0-9_@./-]+)``", TEXT, re.I))
        names |= set(re.findall(r"tests/[a-z_/]+\.py", TEXT))
        self.assertGreater(len(names), 6)
        self.assertEqual([name for name in sorted(names) if not (ROOT / name).exists()], [])

    def test_tells_every_exit_code(self) -> None:
        table = TEXT.partition("\nExit codes\n")[2].partition("\n\nEnded by")[0]
        self.assertEqual(
            [int(code) for code in re.findall(r"(?m)^(\d+) ", table)], [int(code) for code in Exit]
        )

    def test_tells_every_log_event_of_configuration(self) -> None:
        told = self.events("Log events of configuration")
        # As it stands in a call of a logger, or of what hands it on to one.
        said = re.findall(r"(?:_?log\.\w+\(|_failed\(error, )\"((?:config|reload)_[a-z_]+)\"", SOURCES)
        self.assertEqual(set(told) - {"environment"}, set(said))

    def test_tells_every_log_event_that_is_worth_a_look(self) -> None:
        told = self.events("Log events of configuration") + self.events("Log events of the process")
        self.assertEqual(len(told), len(set(told)))
        said = re.findall(r"_?log\.(?:warn|error|critical|failure)\(\s*\"([a-z_]+)\"", SOURCES)
        self.assertEqual(set(said) - set(told), set())
        for event in told:
            self.assertIn(f'"{event}"', SOURCES)

    def events(self, title: str) -> list[str]:
        """Return the events of a table, as the page has them."""
        table = TEXT.partition(f"\n{title}\n---")[2].partition("\n\n\n")[0]
        return re.findall(r"(?m)^``([a-z_]+)``", table)

    def test_names_metrics_as_they_are(self) -> None:
        named = re.findall(r"``([a-z_]+_(?:total|seconds|state))(?:\{[^`]*)?``", TEXT)
        self.assertGreater(len(named), 4)
        self.assertEqual([name for name in named if f'"{name.removesuffix("_total")}' not in SOURCES], [])

    def test_grace_is_enough_for_the_balancer_s_checks(self) -> None:
        files = {Path(block.word).name: block.text for block in BLOCKS if block.kind == "file"}
        config = tomllib.loads(files["micronode.toml"])
        balancer = files["haproxy.cfg"]
        [check] = re.findall(r"timeout check (\w+)", balancer)
        [(inter, fall)] = re.findall(r"default-server inter (\w+) fall (\d+)", balancer)
        read = KEYS["drain.grace"].read
        self.assertLess(read(inter) * int(fall) + read(check), read(config["drain"]["grace"]))

    def test_callers_that_keep_connections_are_given_time(self) -> None:
        texts = [block.text for block in BLOCKS if block.kind == "file" and block.word.endswith(".toml")]
        texts += [
            (ROOT / "conf" / name).read_text("utf-8")
            for name in ("micronode.toml", "kubernetes/micronode.toml")
        ]
        default = KEYS["drain.grace"].default
        for text in texts:
            grace = tomllib.loads(text).get("drain", {}).get("grace", default)
            self.assertGreaterEqual(KEYS["drain.grace"].read(grace), 1.0, text)

    def test_the_unit_is_installed_as_the_page_says(self) -> None:
        header = (ROOT / "conf" / "micronode.service").read_text("utf-8").partition("[Unit]")[0]
        commands = re.findall(r"(?m)^#     (.+)$", header)
        self.assertGreater(len(commands), 5)
        (page,) = (block for block in BLOCKS if "systemctl enable --now micronode.service" in block.text)
        said = [command for command, _ in page.steps()]
        self.assertEqual(commands, said[: len(commands)])

    def test_the_link_is_replaced_any_number_of_times(self) -> None:
        """In one step, so that the path of the units is never missing."""
        links = re.findall(r"(?m)^   \$ (ln -s.*)$", TEXT)
        self.assertEqual(len(links), 2)
        folder = Path(self.mktemp()).absolute()
        for number, name in enumerate("abab"):
            (folder / f"micronode-{name}").mkdir(parents=True, exist_ok=True)
            for link in links:
                command = re.sub(r"micronode-[0-9A-Z.]+", f"micronode-{name}", link)
                ln, mv = command.replace("/opt/", f"{folder}/").split(" && ")
                subprocess.run(ln.split(), check=True)
                self.assertEqual((folder / "micronode").exists(), (number, link) != (0, links[0]))
                # The one step: a rename.
                self.assertEqual(mv.split()[:2], ["mv", "-T"])
                subprocess.run(mv.split(), check=True)
                self.assertEqual((folder / "micronode").resolve(), folder / f"micronode-{name}")
        self.assertEqual(sorted(os.listdir(folder)), ["micronode", "micronode-a", "micronode-b"])

    def test_nothing_is_taken_from_an_index_under_the_project_s_name(self) -> None:
        """There is none of it there, and who registered the name would be installed."""
        for path in (*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst"), *(ROOT / "conf").rglob("*")):
            if path.is_file():
                found = re.findall(r"pip3? install .*\bmicronode\b(?![/-]).*", path.read_text("utf-8"))
                self.assertEqual(found, [], path)

    def test_incidents_have_one_form(self) -> None:
        incidents = re.split(r"(?m)^~~~+$", TEXT.partition("\nIncidents\n")[2])[1:]
        self.assertGreaterEqual(len(incidents), 6)
        for text in incidents:
            found = re.findall(r"(?m)^\*\*(Symptom|Look|Do)\.\*\*", text)
            self.assertEqual(found, ["Symptom", "Look", "Do"], text[:200])
