"""``docs/examples/own_facet.py`` and ``own_streams.py``, run as their docstrings say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, ROOT


class OwnFacetTests(SynchronousTestCase):
    def printed(self, name: str, *arguments: str | bytes) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(Path("docs", "examples", name)), *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def test_is_reached_by_both_doors(self) -> None:
        self.assertEqual(self.printed("own_facet.py", "Ada"), ["HTTP:  Hello, Ada!", "OAP/1: Hello, Ada!"])

    def test_any_name_will_do(self) -> None:
        name = "a/b ?#%é"
        self.assertEqual(
            self.printed("own_facet.py", name), [f"HTTP:  Hello, {name}!", f"OAP/1: Hello, {name}!"]
        )
        for odd in ("\n", "x" * 41, b"\xff"):
            http, oap = self.printed("own_facet.py", odd)
            self.assertRegex(
                http + oap, r"\AHTTP: +(bad_request: |Hello, ).+OAP/1: (bad_request|not sent): .+\Z"
            )

    def test_streams(self) -> None:
        self.assertEqual(
            self.printed("own_streams.py"), ["PIECE BY PIECE", "message 1", "message 2", "message 3"]
        )
