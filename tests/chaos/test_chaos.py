"""Chaos, short: what must hold of each stage, but for what a busy machine may break."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos import report
from tests.chaos.chaos import Chaos
from tests.chaos.lines import Ended
from tests.chaos.owners import Owners
from tests.chaos.run import ROUND, broken, once
from tests.chaos.stage import Stage
from tests.chaos.stages import drain
from tests.cli.processes import PATIENCE_S, ROOT

SCRIPT = ROOT / "bin" / "chaos_degrade_shed.sh"
#: Of load a stage.
UNIT_S = 0.8
GATE = 16


class ChaosTests(SynchronousTestCase):
    def test_each_stage_once(self) -> None:
        """``bin/chaos_degrade_shed.sh`` does the same for longer, and looks at the times."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        owners = Owners(self)
        told: list[Stage] = []

        async def run() -> Chaos:
            chaos = Chaos(owners, Path(folder), unit_s=UNIT_S, gate=GATE)
            await chaos.start()
            try:
                await once(chaos, told.append)
            finally:
                await chaos.close()
            return chaos

        chaos = asyncio.run(run())
        seen = f"{report.table(chaos.stages)}\n{report.seen(chaos)}"
        breaks = [(name, bound.what) for name, bound in broken(chaos) if not bound.timed]
        self.assertEqual(breaks, [], seen)
        self.assertEqual([stage.name for stage in told], [stage.__name__ for stage in (*ROUND, drain)])
        self.assertGreater(chaos.stages[2].tally.share("429"), 0, seen)
        changes = [each.after for each in chaos.watch.changes if each.what == "ready"]
        # For its lag and its size, for either more than once on a machine that stands still, and in the end.
        pairs = len(changes) // 2
        self.assertGreaterEqual(pairs, 2, seen)
        self.assertEqual(changes, ["no (running)", "yes"] * pairs + ["no (draining)"], seen)

    def test_the_script(self) -> None:
        """It finds its module, and says what it takes."""
        done = subprocess.run(
            [str(SCRIPT), "--help"],
            env=os.environ | {"CHAOS_PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("--minutes", done.stdout)
        for stage in (*ROUND, drain):
            self.assertRegex(done.stdout, rf"(?m)^  {stage.__name__} +\S")
        self.assertIn("gone:", done.stdout)

    def test_the_row_of_a_stage_that_ended_the_node(self) -> None:
        ended, alive = Stage("drain"), Stage("calm", rss_bytes=1 << 20)
        ended.tally.add("http", "search", Ended(status=200), 0.1)
        ended.tally.add("http", "search", Ended(lost="no listener"), 0.1)
        self.assertEqual(report.line(ended).split()[-2:], ["-", "-"])
        self.assertIn("50%", report.line(ended))
        self.assertEqual(report.line(alive).split()[-2:], ["0%", "1.0"])
        self.assertEqual(len(report.line(ended)), len(report.HEAD))
