"""Chaos, short: what must hold of each stage, but for what a busy machine may break."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos import report
from tests.chaos.chaos import Chaos
from tests.chaos.owners import Owners
from tests.chaos.run import broken, once
from tests.chaos.stage import Stage

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
        self.assertEqual([stage.name for stage in told][0::10], ["calm", "drain"], seen)
        self.assertGreater(chaos.stages[2].tally.share("429"), 0, seen)
        changes = [(each.before, each.after) for each in chaos.watch.changes if each.what == "ready"]
        self.assertEqual(changes[-1], ("yes", "no (draining)"), seen)
