"""Reloads under load: no call fails, nothing is left over."""

from __future__ import annotations

import os
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.bench.bench_reload import BAD_EVERY, soak
from tests.cli.processes import ROOT

RELOADS = 40


class ReloadUnderLoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Let the processes that it starts find the sources, installed or not."""
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(ROOT)
        if before is None:
            self.addCleanup(os.environ.pop, "PYTHONPATH")
        else:
            self.addCleanup(os.environ.__setitem__, "PYTHONPATH", before)

    def test_reloads(self) -> None:
        """``tests.bench.bench_reload`` does the same 1 000 times, and looks at the memory."""
        report = soak(RELOADS, warm_up_s=0.5)
        bad = RELOADS // BAD_EVERY
        self.assertEqual(report.failures, Counter(), report)
        self.assertEqual(report.reloads, Counter(applied=RELOADS - bad, refused=bad))
        self.assertLessEqual(report.descriptors[1], report.descriptors[0])
        for kind in ("kept", "fresh", "download", "oap", "graph", "ready"):
            self.assertGreater(report.calls[kind], 0, report)
