"""``docs/examples/own_facet.py``, run as its docstring says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, ROOT


class OwnFacetTests(SynchronousTestCase):
    def test_is_reached_by_both_doors(self) -> None:
        done = subprocess.run(
            [sys.executable, str(Path("docs", "examples", "own_facet.py")), "Ada"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.splitlines(), ["HTTP:  Hello, Ada!", "OAP/1: Hello, Ada!"])
