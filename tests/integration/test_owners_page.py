"""``docs/OWNERS.rst``, done: every command prints what the page says, and the page names what there is."""

from __future__ import annotations

import re

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.faultspec import KINDS
from micronode.devowners.options import DEFAULTS
from tests.cli.processes import ROOT
from tests.support.runbook import Sandbox, blocks, pattern
from tests.support.tools import require_tool

TEXT = (ROOT / "docs" / "OWNERS.rst").read_text("utf-8")


class PageTests(SynchronousTestCase):
    def test_every_command_prints_what_the_page_says(self) -> None:
        for tool in ("bash", "curl"):
            require_tool(tool)
        sandbox = Sandbox()
        self.addCleanup(sandbox.close)
        done = 0
        for block in blocks(TEXT):
            if block.kind == "file":
                sandbox.write(block)
                continue
            self.assertEqual(block.kind, "run", block)
            for command, expected in block.steps():
                printed = sandbox.run(command)
                done += 1
                if not pattern(sandbox.localise(expected)).fullmatch(printed):
                    self.fail(
                        f"OWNERS.rst, the block at line {block.line}: $ {command}\n"
                        f"is to print\n{expected}\nand printed\n{printed}\n{sandbox.logs()}"
                    )
        self.assertGreater(done, 25)

    def test_is_valid_markup(self) -> None:
        publish_doctree(TEXT, settings_overrides={"halt_level": 2, "report_level": 5})

    def test_names_every_fault_and_what_it_takes(self) -> None:
        table = TEXT.partition("\nkind               argument")[2].partition("\nAll but")[0]
        rows = dict(re.findall(r"(?m)^``([a-z0-9-]+)`` +(\S+(?:, \S+)*)?  ", table))
        said = {
            name: ", ".join(kind.argument) if isinstance(kind.argument, tuple) else kind.argument or ""
            for name, kind in KINDS.items()
        }
        self.assertEqual({name: rows[name] if said[name] else "" for name in rows}, said)

    def test_names_every_owner_and_where_it_is(self) -> None:
        rows = dict(re.findall(r"(?m)^([a-z]+) +(127\.0\.0\.1:\d+) ", TEXT))
        self.assertEqual(rows, dict(DEFAULTS))
