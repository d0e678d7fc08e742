"""The balancer's configuration: HAProxy takes it, and its times fit the node's."""

from __future__ import annotations

import re
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from micronode import Config
from tests.conf.manifests import ROOT
from tests.support.rolling import GRACE_S, PORTS
from tests.support.tools import require_tool

PATH = ROOT / "conf" / "haproxy.cfg"


class HaproxyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = PATH.read_text("utf-8")

    def seconds(self, name: str) -> float:
        """Return the longest time that *name* is given."""
        found = re.findall(rf"^(?!\s*#).*\b{name} (\d+)(ms|s)\b", self.text, re.M)
        return max(int(number) / (1000 if unit == "ms" else 1) for number, unit in found)

    def test_haproxy_takes_it(self) -> None:
        haproxy = require_tool("haproxy")
        checked = subprocess.run(
            [haproxy, "-c", "-f", str(PATH)], capture_output=True, text=True, timeout=30, check=False
        )
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("WARNING", checked.stdout + checked.stderr)

    def test_a_node_is_out_before_its_grace_is_over(self) -> None:
        noticed_s = self.seconds("inter") + self.seconds("fastinter") + self.seconds("timeout check")
        self.assertLess(noticed_s, GRACE_S)
        self.assertLess(GRACE_S, Config().drain.grace)
        self.assertIn("fall 2 ", self.text)

    def test_nobody_is_cut_before_the_node_ends_it(self) -> None:
        config = Config()
        for name in ("timeout client", "timeout server"):
            self.assertGreater(self.seconds(name), max(config.timeouts.idle, config.http.idle - 1))

    def test_nothing_is_repeated_that_may_have_been_done(self) -> None:
        [retried] = re.findall(r"^\s*retry-on (.*)$", self.text, re.M)
        self.assertEqual(retried, "conn-failure")

    def test_its_ports(self) -> None:
        """Those of two nodes, as the comments and the page have them."""
        self.assertEqual(set(re.findall(r"(?::| port )(\d{4})\b", self.text)), set(PORTS))
