"""The node's status on one page: its shape, and where each part comes from."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import micronode
from micronode.concurrency.backpressure import Gate
from micronode.config.schema import Config
from micronode.observability.metrics import REJECT_REASONS
from micronode.observability.probes import Check, Probes
from micronode.observability.status import OwnerStatus, PolicyStatus, ReloadStatus, Sources, Status
from tests.http.support import make_metrics

SHAPE = {
    "service": str,
    "version": str,
    "state": str,
    "drain": type(None),
    "ready": bool,
    "degraded": list,
    "uptime_s": float,
    "started_at": str,
    "listeners": dict,
    "config": dict,
    "gates": list,
    "subscriptions": list,
    "owners": list,
    "policy": dict,
    "connections": dict,
    "accepting_paused": list,
    "oap_streams": int,
    "buffers": dict,
    "overload": dict,
    "rejected": dict,
    "reactor_lag_s": float,
    "topology": list,
}


class StatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = "running"
        self.drain: tuple[str, float] | None = None
        self.config = Config()
        self.down = "down"
        self.clock, self.wall = Clock(), Clock()
        self.wall.advance(1_750_000_000.5)
        self.gate = Gate(128)
        self.last: ReloadStatus | None = None
        self.restart: tuple[str, ...] = ()
        self.policy: PolicyStatus | None = PolicyStatus(
            fail="closed", known=3, failing=True, last_failure=(1.23456, "owner policy cannot be reached")
        )
        probes = Probes(
            state=lambda: self.state,
            checks=[Check("config", lambda: "ok"), Check("index", lambda: self.down)],
            version=dict,
            event_loop=lambda: True,
        )
        sources = Sources(
            state=lambda: self.state,
            config=lambda: self.config,
            listeners=lambda: {"admin": "127.0.0.1:5311"},
            gates=lambda: {"graph": self.gate},
            subscriptions=dict,
            owners=lambda: [
                OwnerStatus(
                    name="index",
                    state=self.down,
                    in_flight=1,
                    limit=64,
                    endpoints={"count": 2, "healthy": 0},
                )
            ],
            connections=lambda: {"http": 1, "admin": 2, "oap": 3},
            paused=lambda: ("http",),
            lag_s=lambda: 0.0123456789,
            last_reload=lambda: self.last,
            restart_required=lambda: self.restart,
            policy=lambda: self.policy,
            drain=lambda: self.drain,
            topology=lambda: [{"name": "calls"}],
        )
        self.metrics = make_metrics()
        self.metrics.oap_streams.set(4)
        self.metrics.rejected("busy").inc(2)
        self.status = Status(
            sources,
            probes=probes,
            metrics=self.metrics,
            clock=self.clock,
            wall_clock=self.wall.seconds,
        )

    def body(self) -> dict[str, Any]:
        body = self.status.as_dict()
        self.assertEqual(json.loads(json.dumps(body)), body)
        return body

    def test_shape(self) -> None:
        body = self.body()
        self.assertEqual({name: type(value) for name, value in body.items()}, SHAPE)
        self.assertEqual(
            list(body["config"]), ["sha", "profile", "reloads", "last_reload", "restart_required"]
        )

    def test_parts(self) -> None:
        self.gate.try_acquire()
        self.clock.advance(12.3456)
        body = self.body()
        self.assertEqual(
            {name: body[name] for name in SHAPE if name != "config"},
            {
                "service": "micronode",
                "version": micronode.__version__,
                "state": "running",
                "drain": None,
                "ready": True,
                "degraded": ["index"],
                "uptime_s": 12.346,
                "started_at": "2025-06-15T15:06:40.500Z",
                "listeners": {"admin": "127.0.0.1:5311"},
                "gates": [{"facet": "graph", "in_use": 1, "limit": 128}],
                "subscriptions": [],
                "owners": [
                    {
                        "name": "index",
                        "state": "down",
                        "in_flight": 1,
                        "limit": 64,
                        "endpoints": {"count": 2, "healthy": 0},
                    }
                ],
                "policy": {
                    "fail": "closed",
                    "known": 3,
                    "failing": True,
                    "last_failure": {"ago_s": 1.235, "reason": "owner policy cannot be reached"},
                },
                "connections": {"http": 1, "admin": 2, "oap": 3},
                "accepting_paused": ["http"],
                "oap_streams": 4,
                "buffers": {},
                "overload": {},
                "rejected": dict.fromkeys(REJECT_REASONS, 0) | {"busy": 2},
                "reactor_lag_s": 0.012346,
                "topology": [{"name": "calls"}],
            },
        )

    def test_policy(self) -> None:
        self.policy = PolicyStatus(fail="open", known=0, failing=False, last_failure=None)
        self.assertEqual(
            self.body()["policy"], {"fail": "open", "known": 0, "failing": False, "last_failure": None}
        )
        self.policy = None
        self.assertIsNone(self.body()["policy"])

    def test_a_node_that_stops_is_not_ready(self) -> None:
        self.state = "draining"
        self.drain = "grace", 1.23456
        body = self.body()
        self.assertEqual((body["state"], body["ready"]), ("draining", False))
        self.assertEqual(body["drain"], {"phase": "grace", "left_s": 1.235})

    def test_the_configuration_in_force(self) -> None:
        self.assertEqual(
            self.body()["config"],
            {
                "sha": Config().sha(),
                "profile": "none",
                "reloads": {"applied": 0, "unchanged": 0, "refused": 0, "failed": 0},
                "last_reload": None,
                "restart_required": [],
            },
        )
        self.config = Config.from_mapping({"node": {"profile": "dev"}})
        config = self.body()["config"]
        self.assertEqual((config["sha"], config["profile"]), (self.config.sha(), "dev"))

    def test_reloads(self) -> None:
        self.metrics.reloads("applied").inc()
        self.metrics.reloads("refused").inc(2)
        self.last = ReloadStatus(outcome="refused", at=self.wall.seconds(), reason="f:1: " + "x" * 1000)
        self.restart = ("http.listen",)
        config = self.body()["config"]
        self.assertEqual(config["reloads"], {"applied": 1, "unchanged": 0, "refused": 2, "failed": 0})
        last = config["last_reload"]
        self.assertEqual((last["outcome"], last["at"]), ("refused", "2025-06-15T15:06:40.500Z"))
        self.assertEqual((last["reason"][:7], len(last["reason"])), ("f:1: xx", 500))
        self.assertEqual(config["restart_required"], ["http.listen"])
