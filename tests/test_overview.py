"""The status of a node: what its parts say."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

import micronode.node as module
from micronode.calls.call import Call, Ingress
from micronode.config.problems import ConfigError, Problem
from micronode.config.schema import Config
from micronode.config.sources import Loaded
from micronode.lifecycle import State
from micronode.node import NodeService, make_node
from tests.http.support import get, read_answers
from tests.support.sinks import MemorySink
from tests.test_node import NodeCase

URLS = ["http://owner-a.internal:1", "http://owner-b.internal:2"]
SETTINGS: dict[str, Any] = {
    "owners": {"index": {"url": URLS, "concurrency": 7}},
    "facets": {"search": {"limit": 5}},
}


class OverviewCase(NodeCase):
    def setUp(self) -> None:
        super().setUp()
        self.wanted: Config | ConfigError = Config.from_mapping(SETTINGS)

    def running(self) -> NodeService:
        node = self.made()
        node.startService()
        return node

    def made(self) -> NodeService:
        def read() -> Deferred[Loaded]:
            if isinstance(self.wanted, ConfigError):
                raise self.wanted
            return succeed(Loaded(self.wanted))

        return make_node(Config.from_mapping(SETTINGS), self.reactor, read=read)


class OverviewTests(OverviewCase):
    def test_before_the_start(self) -> None:
        status = self.made().status.as_dict()
        self.assertEqual((status["state"], status["ready"], status["listeners"]), ("starting", False, {}))

    def test_while_it_runs(self) -> None:
        node = self.running()
        status = node.status.as_dict()
        self.assertEqual((status["state"], status["ready"]), ("running", True))
        self.assertEqual(set(status["listeners"]), {"http", "admin", "oap"})
        self.assertEqual(status["config"]["sha"], node.config.sha())
        self.assertIn({"facet": "search", "in_use": 0, "limit": 5}, status["gates"])
        endpoints = {"count": 2, "healthy": 0}
        index = {"name": "index", "state": "starting", "in_flight": 0, "limit": 7, "endpoints": endpoints}
        self.assertIn(index, status["owners"])
        self.assertEqual(status["connections"], {"http": 0, "admin": 0, "oap": 0})
        self.assertEqual(status["subscriptions"], [{"facet": "feed", "in_use": 0, "limit": 1024}])
        self.assertNotIn("owner-a", str(status))
        node.hurry()
        self.successResultOf(node.stopService())
        status = node.status.as_dict()
        self.assertEqual((status["state"], status["listeners"]), ("stopped", {}))

    def test_what_calls_hold(self) -> None:
        node = self.running()
        dispatcher = node._dispatcher
        (query,) = (each for each in dispatcher.table if each.name == "search.query")
        args = {"q": "x", "limit": 1, "offset": 0}
        call = Call(operation=query, args=args, ingress=Ingress.HTTP, request_id="r")
        running = dispatcher.dispatch(call, MemorySink())
        status = node.status.as_dict()
        self.assertIn({"facet": "search", "in_use": 1, "limit": 5}, status["gates"])
        self.assertEqual(status["owners"][0]["in_flight"], 1)
        # It shows yet when its facet is switched off, and no longer when it is over.
        self.wanted = Config.from_mapping({**SETTINGS, "facets": {"search": {"enabled": False}}})
        self.successResultOf(node.reload())
        gates = {each["facet"]: each["in_use"] for each in node.status.as_dict()["gates"]}
        self.assertEqual(gates, {"graph": 0, "search": 1, "feed": 0})
        running.cancel()
        gates = {each["facet"]: each["in_use"] for each in node.status.as_dict()["gates"]}
        self.assertEqual(gates, {"graph": 0, "feed": 0})

    def test_reloads(self) -> None:
        node = self.running()
        self.assertIsNone(node.status.as_dict()["config"]["last_reload"])
        self.wanted = Config.from_mapping({**SETTINGS, "http": {"listen": "127.0.0.1:1", "idle": "3s"}})
        self.successResultOf(node.reload())
        config = node.status.as_dict()["config"]
        self.assertEqual((config["reloads"]["applied"], config["last_reload"]["outcome"]), (1, "applied"))
        self.assertEqual(config["restart_required"], ["http.listen"])
        self.wanted = ConfigError([Problem("node.toml:1", "x is unknown", "remove it")])
        self.successResultOf(node.reload())
        config = node.status.as_dict()["config"]
        self.assertEqual((config["reloads"]["applied"], config["reloads"]["refused"]), (1, 1))
        self.assertEqual(config["last_reload"]["reason"], "node.toml:1: x is unknown; remove it")
        self.assertEqual((config["sha"], config["restart_required"]), (node.config.sha(), ["http.listen"]))


class AdminPlaneTests(OverviewCase):
    """The node's own admin plane, through to the node."""

    def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        protocol, transport = self.connect(5311)
        protocol.dataReceived(get(path, method=method, host="localhost"))
        (answer,) = read_answers(transport.value())
        return answer.status, answer.json

    def test_looking(self) -> None:
        node = self.running()
        status, body = self.ask("/api/v1/status")
        self.assertEqual((status, body["connections"]["admin"]), (200, 1))
        self.wanted = Config.from_mapping({**SETTINGS, "drain": {"grace": "1s"}})
        status, body = self.ask("/api/v1/reload")
        self.assertEqual((status, body["outcome"]), (200, "would_apply"))
        self.assertEqual([each["path"] for each in body["changes"]], ["drain.grace"])
        self.assertEqual(node.config.drain.grace, 10.0)

    def test_nobody_may_steer_yet(self) -> None:
        node = self.running()
        for path in ("/api/v1/reload", "/api/v1/drain"):
            self.assertEqual(self.ask(path, "POST")[0], 401)
        self.assertEqual((node.state, node.reloader.last), (State.RUNNING, None))

    def test_steering(self) -> None:
        self.patch(module, "refuse_everybody", lambda head: None)
        node = self.running()
        self.wanted = Config.from_mapping({**SETTINGS, "drain": {"grace": "1s"}})
        status, body = self.ask("/api/v1/reload", "POST")
        self.assertEqual((status, body["outcome"], node.config.drain.grace), (200, "applied", 1.0))
        self.wanted = ConfigError([Problem("f:1", "x", "y")])
        self.assertEqual(self.ask("/api/v1/reload", "POST")[0], 422)
        for _ in range(2):
            self.assertEqual(self.ask("/api/v1/drain", "POST"), (200, {"state": "draining"}))
        self.assertEqual(node.state, State.DRAINING)
        status, body = self.ask("/api/v1/reload", "POST")
        self.assertEqual((status, body["code"], body["outcome"]), (409, "conflict", "draining"))
        self.assertEqual(self.ask("/api/v1/status")[1]["state"], "draining")
