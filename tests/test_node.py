"""The node as a service: listeners all or none, an ordered drain, several in one process."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode import Config, make_node
from micronode.calls.call import Reply
from micronode.concurrency.listening import ListenError
from micronode.concurrency.shutdown import ABORT_S
from micronode.config.problems import ConfigError
from micronode.facets.hosted import FacetSettings
from micronode.http.admin import ADMIN_ROUTES
from micronode.lifecycle import State
from micronode.node import NodeService
from micronode.observability.metrics import MAX_SERIES, method_label
from tests.facets.test_hosted import OwnFacet
from tests.facets.test_hosted import operation as own_operation


class ListeningReactor(MemoryReactorClock):
    """A memory reactor whose TCP ports can be taken, and which tells which are open.

    :ivar taken: ports that another program listens on.
    :ivar open: ports listened on now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[int] = set()
        self.open: set[int] = set()
        self.factories: dict[int, Any] = {}

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
        listening = super().listenTCP(port, factory, backlog, interface)
        listening.getHost = lambda: IPv4Address("TCP", interface, port)
        self.open.add(port)
        self.factories[port] = factory
        listening.stopListening = lambda: self.open.discard(port)
        return listening


class NodeCase(SynchronousTestCase):
    """Has a node on a reactor in memory; ports are the defaults."""

    def setUp(self) -> None:
        self.reactor = ListeningReactor()

    def node(self, **sections: Any) -> NodeService:
        return make_node(Config.from_mapping(sections), self.reactor)

    def started(self, **sections: Any) -> NodeService:
        node = self.node(**sections)
        node.privilegedStartService()
        node.startService()
        return node

    def connect(self, port: int) -> tuple[Any, StringTransport]:
        """Connect a caller to *port*; return the node's protocol and what it writes to."""
        protocol = self.reactor.factories[port].buildProtocol(None)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[attr-defined]
        transport.loseWriteConnection = lambda: None  # type: ignore[attr-defined]
        protocol.makeConnection(transport)
        return protocol, transport


class StartTests(NodeCase):
    def test_is_a_service(self) -> None:
        self.assertTrue(verifyObject(IService, self.node()))

    def test_what_is_not_built_is_refused_not_ignored(self) -> None:
        config = Config.from_mapping({"pq": {"mode": "required"}})
        error = self.assertRaises(ConfigError, make_node, config, self.reactor)
        self.assertIn('pq.mode = "required" is not available yet', str(error))

    def test_nothing_is_bound_before_the_start(self) -> None:
        node = self.node()
        self.assertEqual((self.reactor.open, node.addresses, node.state), (set(), {}, State.STARTING))
        self.assertEqual(node.probes.readyz()[0], 503)

    def test_listens_and_is_ready(self) -> None:
        node = self.started()
        self.assertEqual(self.reactor.open, {5310, 5311, 5312})
        self.assertEqual(node.addresses["http"], "127.0.0.1:5310")
        self.assertEqual(node.state, State.RUNNING)
        self.assertEqual(node.probes.readyz()[0], 200)
        self.assertEqual(node.metrics.registry.get_sample_value("ready_state"), 1.0)

    def test_a_listener_that_is_off(self) -> None:
        node = self.started(oap={"listen": "off"})
        self.assertEqual(self.reactor.open, {5310, 5311})
        self.assertNotIn("oap", node.addresses)

    def test_a_taken_port_binds_none_and_says_which(self) -> None:
        self.reactor.taken.add(5310)
        node = self.node()
        error = self.assertRaises(ListenError, node.privilegedStartService)
        self.assertIn("http.listen 127.0.0.1:5310: address already in use", str(error))
        self.assertEqual((self.reactor.open, node.addresses), (set(), {}))

    def test_a_parent_starts_and_stops_it(self) -> None:
        parent = MultiService()
        node = self.node(drain={"grace": "0s"})
        node.setServiceParent(parent)
        parent.privilegedStartService()
        parent.startService()
        self.assertEqual(node.state, State.RUNNING)
        self.successResultOf(parent.stopService())
        self.assertEqual((node.state, self.reactor.open), (State.STOPPED, set()))

    def test_two_nodes_share_nothing(self) -> None:
        one = self.started()
        two = self.started(
            http={"listen": "127.0.0.1:6310"},
            admin={"listen": "127.0.0.1:6311"},
            oap={"listen": "127.0.0.1:6312"},
            drain={"grace": "0s"},
        )
        self.successResultOf(two.stopService())
        self.assertEqual((one.state, two.state), (State.RUNNING, State.STOPPED))
        self.assertEqual(one.probes.readyz()[0], 200)


class VersionTests(NodeCase):
    def test_shows_what_is_in_force(self) -> None:
        node = self.node(facets={"media": {"enabled": True}, "graph": {"enabled": False}})
        runtime = node.probes.version()["runtime"]
        self.assertEqual(runtime["facets"], ["search", "feed", "media"])
        self.assertEqual(runtime["config_sha"], node.config.sha())
        self.assertEqual(runtime["limits"]["decompress_ratio"], 10)

    def test_a_disabled_facet_is_not_served(self) -> None:
        self.started(facets={"graph": {"enabled": False}})
        protocol, transport = self.connect(5310)
        protocol.dataReceived(b"GET /app/graph/neighbors/klein HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 404 "), transport.value())


class DrainTests(NodeCase):
    def test_order_of_a_stop(self) -> None:
        node = self.started()  # grace 10 s, deadline 5 s
        stopped = node.stopService()
        self.assertEqual(node.state, State.DRAINING)
        status, body, retry_after_s = node.probes.readyz()
        self.assertEqual((status, body["state"]), (503, "draining"))
        self.assertIsNotNone(retry_after_s)

        self.reactor.advance(9.9)
        self.assertEqual(self.reactor.open, {5310, 5311, 5312}, "callers are still served during the grace")
        self.reactor.advance(0.2)
        self.assertEqual(self.reactor.open, set(), "nobody was connected, so all is over")
        self.successResultOf(stopped)
        self.assertEqual(node.state, State.STOPPED)

    def test_waits_for_connections_until_the_deadline(self) -> None:
        node = self.started(drain={"grace": "0s", "deadline": "5s"})
        protocol, caller = self.connect(5310)
        # Half a head: the connection is busy, and neither finishes nor leaves.
        protocol.dataReceived(b"GET /app/sea")
        stopped = node.stopService()
        self.assertEqual(self.reactor.open, {5311}, "the admin listener closes last")
        for _ in range(102):
            self.reactor.advance(0.05)
        self.assertIn(b'"code":"draining"', caller.value())
        self.assertFalse(caller.disconnecting, "it reads that, and closes")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.reactor.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.open, set())

    def test_a_call_that_never_ends_does_not_keep_it(self) -> None:
        node = self.started(drain={"grace": "0s", "deadline": "0s"})
        # A handler that does not let itself be cancelled; no facet of ours is one.
        node._dispatcher.active += 1
        with capturedLogs() as events:
            stopped = node.stopService()
            self.reactor.advance(ABORT_S - 0.01)
            self.assertNoResult(stopped)
            self.reactor.advance(0.01)
            self.successResultOf(stopped)
        self.assertEqual(node.state, State.STOPPED)
        self.assertEqual(
            [event["calls"] for event in events if event["log_format"] == "stop_unfinished"], [1]
        )

    def test_is_not_waited_for_when_hurried(self) -> None:
        node = self.started()
        stopped = node.stopService()
        self.assertNoResult(stopped)
        node.hurry()
        self.successResultOf(stopped)
        self.assertEqual((node.state, self.reactor.open), (State.STOPPED, set()))

    def test_hurry_before_a_stop_makes_it_short(self) -> None:
        node = self.started()
        node.hurry()
        self.successResultOf(node.stopService())

    def test_stopping_twice_is_one_stop(self) -> None:
        node = self.started()
        first, second = node.stopService(), node.stopService()
        node.hurry()
        self.successResultOf(first)
        self.successResultOf(second)

    def test_leaves_no_timer_behind(self) -> None:
        node = self.started(drain={"grace": "0s"})
        self.successResultOf(node.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class HostedFacetTests(NodeCase):
    """Facets that the host brings along."""

    def make(self, *facets: Any, **sections: Any) -> NodeService:
        return make_node(Config.from_mapping(sections), self.reactor, facets=facets)

    def test_is_served_beside_the_others(self) -> None:
        node = self.make(OwnFacet())
        runtime = node.probes.version()["runtime"]
        self.assertEqual(runtime["facets"], ["graph", "search", "feed", "own"])
        count = node.metrics.registry.get_sample_value
        self.assertEqual(count("ron_facet_requests_total", {"facet": "own", "result": "ok"}), 0)
        self.assertEqual(count("inflight_requests", {"route": "own.say"}), 0)

    def test_is_called(self) -> None:
        node = self.make(OwnFacet())
        node.startService()
        protocol, caller = self.connect(5310)
        protocol.dataReceived(b"GET /app/own HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertTrue(caller.value().startswith(b"HTTP/1.1 200 "), caller.value())
        count = node.metrics.registry.get_sample_value
        self.assertEqual(count("ron_facet_requests_total", {"facet": "own", "result": "ok"}), 1)

    def test_settings_hold(self) -> None:
        waits = Deferred[Reply]()
        facet = OwnFacet("own", own_operation(handler=lambda call: waits))
        node = self.make((facet, FacetSettings(limit=1, timeout=0.5)))
        node.startService()
        first, second = (self.ask() for _ in range(2))
        self.assertIn(b" 429 ", second.value()[:20])
        self.assertEqual(first.value(), b"")
        self.reactor.advance(0.5)
        self.assertIn(b" 504 ", first.value()[:20])

    def ask(self) -> StringTransport:
        protocol, caller = self.connect(5310)
        protocol.dataReceived(b"GET /app/own HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return caller

    def test_names_and_operations_must_be_free(self) -> None:
        for facet, said in (
            (OwnFacet("media", own_operation()), "'media': a facet of the node's own"),
            (OwnFacet("own", own_operation(path="/app/search")), "operation own.say is declared twice"),
            (OwnFacet("own", own_operation(profile=0x0402, op="query")), "operation own.say is declared"),
            (OwnFacet("own", own_operation(path="/app/_meta")), "/app/_meta is the node's own"),
            (OwnFacet("own", own_operation(method="POST", path="/openapi.json")), "is the node's own"),
            (OwnFacet("_meta", own_operation()), "'_meta': a name is a lower-case letter"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                self.make(facet)


class SeriesTests(NodeCase):
    """What a scrape of a whole node has, with every operation used."""

    def used(self, **sections: Any) -> tuple[NodeService, set[tuple[str, str, str]]]:
        """Return a node of which every operation was called, and the calls: route, method, status."""
        node = self.node(**sections)
        calls = set()
        for operation in node._dispatcher.table:
            method = method_label(operation.method)
            for status in (200, 404, 429, 503):
                node.metrics.requests(operation.name, method, status).inc()
                calls.add((operation.name, method, str(status)))
                if not operation.subscribes:
                    node.metrics.first_byte(operation.name, method).observe(0.1)
                    node.metrics.latency(operation.name, method).observe(0.1)
        for route in ADMIN_ROUTES:
            node.metrics.requests(route, "GET", 200).inc()
        for status in (400, 404, 405, 408):
            node.metrics.requests("other", "OTHER", status).inc()
        return node, calls

    def count(self, node: NodeService, name: str) -> int:
        """Return how many series *name* has; "" is all."""
        lines = node.metrics.render().decode("utf-8").splitlines()
        return sum(line.startswith(name) and line[0] != "#" for line in lines)

    def assert_told(self, node: NodeService, calls: set[tuple[str, str, str]]) -> None:
        for route, method, status in calls:
            labels = {"route": route, "method": method, "status": status}
            self.assertEqual(node.metrics.registry.get_sample_value("http_requests_total", labels), 1, labels)
        self.assertLessEqual(self.count(node, ""), MAX_SERIES)

    def test_default(self) -> None:
        node, calls = self.used()
        self.assert_told(node, calls)
        # Eight operations that are timed.
        for name in ("request_latency_seconds_count", "request_first_byte_seconds_count"):
            self.assertEqual(self.count(node, name), 8)

    def test_all_facets(self) -> None:
        node, calls = self.used(node={"profile": "dev"})
        self.assert_told(node, calls)
        self.assertEqual(self.count(node, "request_latency_seconds_count"), 11)

    def test_five_custom_facets(self) -> None:
        """Of each route every status, though hardly any histogram of its own."""
        routes = [
            {"method": "GET", "path": "/{rest}", "access": "read"},
            {"method": "POST", "path": "/{rest}", "access": "write"},
        ]
        node, calls = self.used(
            node={"profile": "dev"},
            facets={
                f"own{number}": {"kind": "proxy", "upstream": "http://127.0.0.1:7000", "routes": routes}
                for number in range(5)
            },
        )
        self.assertEqual(len(calls), (12 + 5 * 2) * 4)
        self.assert_told(node, calls)
        self.assertEqual(self.count(node, "owner_latency_seconds_count"), 3 + 5)
