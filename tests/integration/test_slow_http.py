"""A thousand connections of slowhttptest, in each of its ways: deadlines end all, and others are served.

What is awaited here is only that it happens; how long others wait meanwhile is measured by
``tests/bench/hostile.py``.
"""

from __future__ import annotations

import collections
import json
import re
import resource
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import ask, ask_json, eventually
from tests.support.live import LiveNode
from tests.support.slowhttp import WAYS, no_more_open, raise_descriptors, start_slow
from tests.support.tools import require_tool

CONNECTIONS: Final = 1_000
#: Deadlines short enough to wait for, and bounds that let all of them in.
SETTINGS: Final = (
    *("timeouts.read=2s", "timeouts.body=2s", "timeouts.write_stall=2s", "http.idle=2s"),
    *("limits.max_connections=2000", "limits.max_handshakes=2000"),
)
#: As long as it goes on where nothing ends it.
_SECONDS: Final = 25


class SlowHttpTests(SynchronousTestCase):
    def setUp(self) -> None:
        require_tool("slowhttptest")
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        raise_descriptors(CONNECTIONS)
        self.node = LiveNode(self, "tcp", *SETTINGS)
        _, _, said = ask(f"http://{self.node.http}/app/media", "POST", bytes(1 << 20))
        self.cid = json.loads(said)["cid"]

    def test_every_way(self) -> None:
        for way, path, outcome in (
            ("slow heads", "/app/search?q=hello", {"408"}),
            ("slow bodies", "/app/media", {"408"}),
            # One answer that fits into a packet each.
            ("many ranges", f"/app/media/{self.cid}", {"200", "429"}),
            # What is not refused gets all of it: the kernel has taken it when the call ends.
            ("slow reads", f"/app/media/{self.cid}", {"200", "408", "429"}),
        ):
            with self.subTest(way=way):
                self.plague(way, path, outcome)
                self.node.check()
        self.assertEqual(set(WAYS), {"slow heads", "slow bodies", "many ranges", "slow reads"})
        self.node.stop()

    def plague(self, way: str, path: str, outcome: set[str]) -> None:
        """Be plagued in that *way*: each connection gets a status of *outcome*, and its end."""
        before = len(self.node.program.complained)
        process = start_slow(
            way, f"http://{self.node.http}{path}", connections=CONNECTIONS, rate=CONNECTIONS, seconds=_SECONDS
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def statuses() -> collections.Counter[str]:
            log = self.node.program.complained[before:]
            return collections.Counter(re.findall(r'"route":.*"status":(\d+)', log))

        eventually(lambda: self.open() > CONNECTIONS // 2 or sum(statuses().values()) >= CONNECTIONS)
        # All are there, and others are served.
        self.node.check_bystander()
        self.assertEqual(ask(f"http://{self.node.http}/app/search?q=hello")[0], 200)
        eventually(
            lambda: sum(statuses()[each] for each in outcome) >= CONNECTIONS,
            lambda: f"{way}: {statuses()}",
        )
        # While the other side still sends, or reads.
        eventually(lambda: self.open() == 0, lambda: f"{way}: {self.open()} connections are left")
        self.assertTrue(no_more_open(process), way)

    def open(self) -> int:
        """Return how many HTTP connections the node has."""
        status = ask_json(f"http://{self.node.admin}/api/v1/status")
        return int(status["connections"]["http"])
