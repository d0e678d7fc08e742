"""micronode status: a page for people, JSON for scripts, an exit code for probes."""

from __future__ import annotations

import json
from typing import Any

from micronode.cli.main import main
from tests.cli.support import CommandTestCase
from tests.support.canned import CannedPeer, nobody, response

STATUS: dict[str, Any] = {
    "service": "micronode",
    "version": "0.1",
    "state": "running",
    "ready": True,
    "degraded": [],
    "uptime_s": 3723.9,
    "started_at": "2025-06-15T15:06:40.500Z",
    "listeners": {"admin": "127.0.0.1:5311", "http": "127.0.0.1:5310"},
    "config": {
        "sha": "0123456789abcdef",
        "profile": "dev",
        "reloads": {"applied": 2, "unchanged": 0, "refused": 1, "failed": 0},
        "last_reload": {"outcome": "refused", "at": "2025-06-15T16:00Z", "reason": "f:1: no; fix"},
        "restart_required": ["http.listen", "oap.listen"],
    },
    "gates": [{"facet": "graph", "in_use": 1, "limit": 128}, {"facet": "search", "in_use": 0, "limit": 96}],
    "subscriptions": [],
    "owners": [
        {
            "name": "index",
            "state": "down",
            "in_flight": 3,
            "limit": 64,
            "endpoints": {"count": 2, "healthy": 0},
        }
    ],
    "policy": {
        "fail": "closed",
        "known": 12,
        "failing": True,
        "last_failure": {"ago_s": 61.9, "reason": "owner policy did not answer in time"},
    },
    "connections": {"http": 1, "admin": 2, "oap": 3},
    "buffers": {"held": 1_572_864, "limit": 268_435_456, "tight": False},
    "overload": {"shedding": "none", "reason": "", "fit": True, "lag_s": 0.0, "rss": 0},
    "oap_streams": 4,
    "reactor_lag_s": 0.00123,
    "topology": [
        {"name": "calls", "kind": "gate", "figures": [{"of": "graph", "now": 1, "bound": 128}]},
        {"name": "feed.polls", "kind": "gate", "figures": [{"of": "", "now": 2, "bound": 16}]},
        {"name": "feed.topics", "kind": "queue", "figures": [{"of": "", "now": 0, "bound": 0}]},
        {
            "name": "owners.waiting",
            "kind": "queue",
            "figures": [{"of": "index", "now": 0, "bound": 0}, {"of": "policy", "now": 3, "bound": 1024}],
        },
        {"name": "oap.input", "kind": "queue", "figures": []},
        {"name": "backlog", "kind": "queue", "figures": [{"of": "", "now": 5, "bound": None}]},
        {
            "name": "connections",
            "kind": "pool",
            "figures": [{"of": "http", "now": 1, "bound": 20}, {"of": "admin", "now": 2, "bound": 64}],
        },
        {"name": "drain", "kind": "timer", "figures": [{"of": "", "now": 1, "bound": 1}]},
    ],
}
FRESH = STATUS | {
    "config": STATUS["config"] | {"last_reload": None, "restart_required": []},
    "oap_streams": 0,
    "owners": [],
    "policy": None,
    "topology": [],
    "uptime_s": 5.0,
}
NOT_READY = STATUS | {"state": "draining", "ready": False, "degraded": ["index", "listeners"]}


class StatusTests(CommandTestCase):
    def status(self, value: Any, *argv: str, status: int = 200) -> int:
        self.peer = CannedPeer(self, response(value, status))
        return main(["status", "--admin", self.peer.where, *argv])

    def test_for_people(self) -> None:
        self.assertEqual((self.status(STATUS), self.complained), (0, ""))
        self.assertEqual(
            self.printed.splitlines(),
            [
                f"{self.peer.where}: micronode 0.1, running, ready",
                "  up            1 h 2 min, since 2025-06-15T15:06:40.500Z",
                "  listeners     admin 127.0.0.1:5311, http 127.0.0.1:5310",
                "  config        sha 0123456789ab, profile dev",
                "  reloads       2 applied, 1 refused; the last refused at 2025-06-15T16:00Z: f:1: no; fix",
                "  restart for   http.listen, oap.listen",
                "  calls         graph 1/128, search 0/96",
                "  owners        index down 3/64 (0 of 2 endpoints)",
                "  policy        fail closed, 12 decisions known;"
                " no answer 1 min 1 s ago: owner policy did not answer in time",
                "  gates         feed.polls 2/16",
                "  queues        owners.waiting policy 3/1024, backlog 5",
                "  connections   http 1/20, admin 2/64, oap 3 (4 streams)",
                "  memory        1.5 MiB of 256.0 MiB for callers",
                "  reactor lag   1.2 ms",
            ],
        )
        self.assertTrue(self.peer.asked[0].startswith(b"GET /api/v1/status HTTP/1.1\r\n"))

    def test_of_a_fresh_node(self) -> None:
        self.assertEqual(self.status(FRESH), 0)
        self.assertEqual(
            [line.split()[0] for line in self.printed.splitlines()[1:]],
            ["up", "listeners", "config", "calls", "connections", "memory", "reactor"],
        )
        self.assertIn("  up            5 s, since", self.printed)

    def test_not_ready(self) -> None:
        self.assertEqual(self.status(NOT_READY), 1)
        self.assertIn("draining, not ready, degraded: index, listeners\n", self.printed)

    def test_sick(self) -> None:
        sick = {"shedding": "writes", "reason": "lag", "fit": True, "lag_s": 0.2, "rss": 0}
        full = {"held": 943_718_400, "limit": 1_073_741_824, "tight": True}
        self.status(STATUS | {"overload": sick, "buffers": full})
        self.assertIn(
            "  memory        900.0 MiB of 1024.0 MiB for callers; nothing new is begun\n", self.printed
        )
        self.assertIn("  shedding      writes, for lag\n", self.printed)
        self.status(NOT_READY | {"overload": sick | {"shedding": "all", "fit": False}})
        self.assertIn("all, for lag; it has lasted, and the node is not ready\n", self.printed)

    def test_sick_for_its_memory(self) -> None:
        sick = {"shedding": "all", "reason": "rss", "fit": True, "lag_s": 0.0, "rss": 3 * 2**28}
        self.status(STATUS | {"overload": sick | {"rss_threshold": 2**29}})
        self.assertIn("  shedding      all, for rss 768.0 MiB, of overload.rss 512.0 MiB\n", self.printed)

    def test_what_was_refused(self) -> None:
        self.status(STATUS | {"rejected": {"busy": 3, "not_ready": 0, "rate_limited": 1}})
        self.assertIn("  refused       busy 3, rate_limited 1 (since the start)\n", self.printed)

    def test_nothing_refused(self) -> None:
        self.status(STATUS | {"rejected": {"busy": 0}})
        self.assertNotIn("refused  ", self.printed)

    def test_a_listener_that_is_full(self) -> None:
        self.status(STATUS | {"accepting_paused": ["http"]})
        self.assertIn("  accepting     paused: http (has all the connections allowed)\n", self.printed)

    def test_the_lag_that_is_judged(self) -> None:
        watched = {"shedding": "all", "reason": "lag", "fit": True, "lag_s": 0.4321, "rss": 0}
        self.status(STATUS | {"overload": watched | {"lag_threshold_s": 0.2}})
        self.assertIn("  reactor lag   432.1 ms, of overload.lag 200 ms\n", self.printed)
        self.status(STATUS | {"overload": watched | {"lag_threshold_s": 0.0}})
        self.assertIn("  reactor lag   1.2 ms\n", self.printed)

    def test_json(self) -> None:
        for value, code in ((STATUS, 0), (NOT_READY, 1)):
            self.out.buffer.seek(0)
            self.out.buffer.truncate()
            self.assertEqual(self.status(value, "--json"), code)
            self.assertEqual(json.loads(self.printed), value)

    def test_quiet(self) -> None:
        for value, code in ((STATUS, 0), (NOT_READY, 1), ({}, 69), (STATUS | {"service": "other"}, 69)):
            self.assertEqual(self.status(value, "--quiet"), code)
        self.assertEqual(main(["status", "--quiet", "--admin", nobody()]), 69)
        self.assertEqual((self.printed, self.complained), ("", ""))

    def test_live(self) -> None:
        for value, status, code, said in (
            ({"ok": True, "checks": {}}, 200, 0, "alive"),
            ({"ok": False}, 200, 1, "not alive"),
            ({"ok": True}, 500, 1, "not alive"),
        ):
            self.assertEqual(self.status(value, "--live", status=status), code)
            self.assertTrue(self.printed.endswith(f"{self.peer.where}: {said}\n"), self.printed)
            self.assertTrue(self.peer.asked[0].startswith(b"GET /healthz HTTP/1.1\r\n"))
        before = self.printed
        self.assertEqual(self.status({"ok": True}, "--live", "--quiet"), 0)
        self.assertEqual(self.printed, before)
        self.assertEqual(self.status({"ok": True}, "--live", "--json"), 0)
        self.assertEqual(json.loads(self.printed.removeprefix(before)), {"ok": True})

    def test_another_shape(self) -> None:
        for name in STATUS:
            for value in (None, "x", -1, float("inf"), float("nan")):
                code = self.status(STATUS | {name: value})
                self.assertIn(code, (0, 1, 69), (name, value))
        self.assertNotIn("Traceback", self.complained)
        self.assertIn("another shape", self.complained)

    def test_nothing_of_it_reaches_the_terminal_raw(self) -> None:
        config = STATUS["config"] | {"last_reload": {"outcome": "\x1b[2J", "at": "\n", "reason": "\x07"}}
        self.assertEqual(self.status(STATUS | {"version": "\x1b]0;x", "config": config}), 0)
        self.assertTrue(all(line.isprintable() for line in self.printed.splitlines()), self.printed)

    def test_ages(self) -> None:
        for seconds, text in ((59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")):
            self.status(STATUS | {"uptime_s": seconds})
            self.assertIn(f"  up            {text}, since", self.printed)
