"""The smoke script: limits shown on a node of its own, and on one that runs already."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, ROOT, default_signals
from tests.support.live import LiveNode

SCRIPT = ROOT / "bin" / "smoke_oap_limits.sh"


class SmokeTests(SynchronousTestCase):
    def smoke(self, *targets: str) -> tuple[int, str, str]:
        """Run the script; return its exit status, and what it printed and complained."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MICRONODE_")}
        done = subprocess.run(
            [str(SCRIPT), *targets],
            env=environ | {"SMOKE_PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            preexec_fn=default_signals,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def assert_refused(self, printed: str, names: tuple[str, ...]) -> None:
        """All of *names* were refusals with 413, and nothing else was."""
        lines = printed.splitlines()[1:-1]
        for line in lines:
            self.assertRegex(line, r"\Aok    413 \w+ +(OAP |HTTP)  \S")
        self.assertEqual({line.split()[2] for line in lines}, set(names))
        summary = rf"{len(lines)} of {len(lines)} were refused as documented; the node goes on\n\Z"
        self.assertRegex(printed, summary)

    def test_on_a_node_of_its_own(self) -> None:
        status, printed, complained = self.smoke()
        self.assertEqual((status, complained), (0, ""), printed)
        of_oap = ("frame_too_large", "head_too_large", "chunk_too_large", "cap_too_large")
        self.assert_refused(printed, (*of_oap, "decompress_cap", "body_too_large"))
        # It is gone.
        address = re.findall(r"oap://(\S+):(\d+)", printed)[0]
        self.assertEqual(self.smoke(f"oap://{':'.join(address)}")[0], 69)

    def test_on_a_node_that_runs(self) -> None:
        for transport in ("tcp", "unix"):
            node = LiveNode(self, transport, "facets.media.enabled=false")
            target = node.oap if transport == "unix" else f"oap://{node.oap}"
            status, printed, complained = self.smoke(target)
            self.assertEqual((status, complained), (0, ""), printed)
            names = ("frame_too_large", "head_too_large", "chunk_too_large", "cap_too_large")
            self.assert_refused(printed, (*names, "decompress_cap"))
            if transport == "tcp":
                self.check_others(node)
            node.check()
            node.stop()

    def check_others(self, node: LiveNode) -> None:
        """What is no OAP/1 node is said to be none; what is not served is left out."""
        status, printed, complained = self.smoke(f"oap://{node.http}")
        self.assertEqual((status, complained), (1, ""), printed)
        self.assertRegex(printed, r"\nFAIL  no OAP/1 node there: .+\n\Z")
        status, printed, _ = self.smoke(f"oap://{node.oap}", f"http://{node.http}")
        self.assertEqual(status, 0, printed)
        self.assertIn("skip  bodies over HTTP", printed)

    def test_usage(self) -> None:
        for targets in (["http://127.0.0.1:1"], ["oap://127.0.0.1"], ["oap://h:1", "x"], ["oap://h:1"] * 3):
            status, printed, complained = self.smoke(*targets)
            self.assertEqual((status, printed), (64, ""), targets)
            self.assertTrue(complained.startswith("usage: bin/smoke_oap_limits.sh "))
