"""A node that takes another configuration while it serves: each key, seen from outside.

:data:`PROBES` has a test for every key that is built and reloads. A new one needs its own.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from micronode import Config, make_node
from micronode.adapters.health import INTERVAL_S
from micronode.bus import ConfigUpdated, Event, HealthChanged, ReloadEnded, ReloadStarted, StateChanged
from micronode.calls.call import Reply, ResponseHead
from micronode.config.hot_reload import Outcome
from micronode.config.problems import ConfigError, Problem
from micronode.config.schema import KEYS, OWNER_NAMES
from micronode.config.sources import Flag, Loaded, merge
from micronode.lifecycle import State
from micronode.node import NodeService
from micronode.oap.wire.profiles import Profile
from micronode.overview import owners
from tests.facets.test_hosted import OwnFacet
from tests.facets.test_hosted import operation as own_operation
from tests.http.support import Wire, get, post, read_answers
from tests.support.certificates import CLIENT, OwnerTls, Signed, make_authority
from tests.support.measures import sample
from tests.support.network import OwnerEnd, response
from tests.support.oap import CallerEnd, MemoryTransport, body, cancel, hello, put, start, subscribe
from tests.test_node import NodeCase

CID = "b3:" + "0" * 64
#: A request of each facet.
ASKED = {
    "search": get("/app/search?q=x"),
    "graph": get("/app/graph/neighbors/klein"),
    "feed": post("/app/feed/jobs/recv", b""),
    "media": get(f"/app/media/{CID}"),
}
#: Which owner each of them is passed on to.
OWNER_OF = {"search": "index", "graph": "index", "feed": "mailbox", "media": "storage"}
FACET_OF = {"index": "search", "mailbox": "feed", "storage": "media"}
HTTP, OAP = 5310, 5312


class HttpCaller:
    """A caller over HTTP."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = Wire()
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> HttpCaller:
        self.protocol.dataReceived(data)
        return self

    def status(self) -> int | None:
        """Return the status of the answer that came, or None."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return read_answers(data)[0].status if data else None

    @property
    def closing(self) -> bool:
        return bool(self.transport.disconnecting) or self.transport.half_closed

    def leave(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class ReloadCase(NodeCase):
    """Has a node in memory that serves every facet and is reloaded from values."""

    def setUp(self) -> None:
        super().setUp()
        self.base: dict[str, Any] = {"facets": {"media": {"enabled": True}}}
        self.node_ = make_node(Config.from_mapping(self.base), self.reactor)
        self.told = self.node_.bus.subscribe()
        self.node_.startService()

    def reload(self, **settings: Any) -> Outcome:
        """Reload to the base and *settings*, by path with ``__`` for the dots."""
        flags = [Flag("facets.media.enabled", "true", "flag --set")]
        flags += [
            Flag(name.replace("__", "."), str(value), f"flag --set {name}")
            for name, value in settings.items()
        ]
        return self.successResultOf(self.node_.reload(merge(flags=flags).config))

    def applied(self, path: str, value: Any) -> None:
        """Reload *path* to *value*, and see that it was taken live."""
        outcome = self.reload(**{path.replace(".", "__"): value})
        self.assertEqual((outcome.outcome, outcome.restart), ("applied", ()), outcome.reason)
        self.assertIn(path, [change.path for change in outcome.changes])

    def http(self, data: bytes = b"") -> HttpCaller:
        return HttpCaller(self.reactor.factories[HTTP].buildProtocol(None)).send(data)

    def oap(self, *, greet: bool = True) -> CallerEnd:
        protocol = self.reactor.factories[OAP].buildProtocol(None)
        end = CallerEnd(protocol, MemoryTransport(self.reactor), self.reactor)
        if greet:
            end.greet()
        return end

    def destination(self) -> tuple[str, int]:
        """Return where the node has connected to last."""
        host, port, *_ = self.reactor.tcpClients[-1]
        return host, port

    def owner(self) -> OwnerEnd:
        """Accept what the node has connected to last."""
        end = OwnerEnd(self.reactor)
        end.protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        assert end.protocol is not None
        end.protocol.makeConnection(end)
        return end

    def assert_answered(self, caller: HttpCaller, status: int) -> None:
        self.assertEqual(caller.status(), status)

    def events(self) -> list[Event]:
        """Return what the bus has told; it is closed by that."""
        self.node_.bus.close()

        async def heard() -> list[Event]:
            return [event async for event in self.told]

        return self.successResultOf(Deferred.fromCoroutine(heard()))


Probe = Callable[[ReloadCase], None]
PROBES: dict[str, Probe] = {}


def probe(*paths: str) -> Callable[[Any], Any]:
    """Add a test of *paths*; where there are several it is called with each."""

    def add(test: Any) -> Any:
        for path in paths:
            PROBES[path] = test if len(paths) == 1 else lambda case, path=path: test(case, path)
        return test

    return add


@probe("node.profile")
def _profile(case: ReloadCase) -> None:
    outcome = case.reload(node__profile="dev")
    case.assertEqual((outcome.outcome, outcome.restart), ("applied", ("log.file_ok",)))
    case.assertEqual(case.node_.probes.version()["runtime"]["profile"], "dev")


@probe("http.idle")
def _http_idle(case: ReloadCase) -> None:
    case.applied("http.idle", "5s")
    caller = case.http(get("/nowhere"))
    case.assert_answered(caller, 404)
    case.reactor.advance(4.9)
    case.assertFalse(caller.closing)
    case.reactor.advance(0.1)
    case.assertTrue(caller.closing)


@probe("limits.max_frame", "limits.max_chunk", "limits.max_inflight")
def _negotiated(case: ReloadCase, path: str) -> None:
    name = path.partition(".")[2]
    before = case.oap(greet=False)
    value = {"max_frame": 65_536, "max_chunk": 4_096, "max_inflight": 2}[name]
    case.applied(path, value)
    before.send(hello())
    told = before.heard()[0].json[name]
    case.assertNotEqual(told, value, "a connection keeps what it began with")
    case.assertEqual(case.oap(greet=False).greet()[name], value)
    case.assertEqual(case.node_.probes.version()["runtime"]["limits"][name], value)


@probe("limits.decompress_ratio")
def _decompress_ratio(case: ReloadCase) -> None:
    packed = gzip.compress(os.urandom(4_000) + bytes(6_000))
    asked = post("/app/media", packed, "Content-Encoding: gzip")
    case.assertIsNone(case.http(asked).status(), "it waits for the owner")
    case.applied("limits.decompress_ratio", 2)
    case.assert_answered(case.http(asked), 413)


@probe("limits.max_object")
def _max_object(case: ReloadCase) -> None:
    case.applied("limits.max_object", "10B")
    case.assert_answered(case.http(post("/app/media", bytes(11))), 413)
    case.assertIsNone(case.http(post("/app/media", bytes(10))).status())


@probe("limits.max_connections")
def _max_connections(case: ReloadCase) -> None:
    """At 90 % of it those go that idle."""
    callers = [case.http(get("/nowhere")) for _ in range(9)]
    case.reactor.advance(1.0)
    case.assertFalse(callers[0].closing)
    case.applied("limits.max_connections", 10)
    case.assertEqual([caller.closing for caller in callers], [True, *[False] * 8])
    case.http(get("/nowhere"))
    case.reactor.advance(0.25)
    case.assertEqual([caller.closing for caller in callers], [True, True, *[False] * 7])


@probe("limits.per_address")
def _per_address(case: ReloadCase) -> None:
    address = IPv4Address("TCP", "192.168.1.1", 54321)  # that of a transport in memory
    caller = case.http()
    case.applied("limits.per_address", 1)
    for port in (HTTP, OAP):
        allowed = port == OAP
        case.assertEqual(case.reactor.factories[port].buildProtocol(address) is not None, allowed)
    caller.leave()
    case.assertIsNotNone(case.reactor.factories[HTTP].buildProtocol(address))
    rejected = sample(case.node_.metrics, "rejected_total", reason="busy_address")
    case.assertEqual(rejected, 1)


@probe("limits.max_handshakes")
def _max_handshakes(case: ReloadCase) -> None:
    case.applied("limits.max_handshakes", 1)
    first, second = case.http(b"GET /"), case.http()
    case.assert_answered(first, 408)
    case.assertFalse(second.closing)
    silent = case.oap(greet=False)
    case.oap()
    case.assertTrue(silent.transport.closing)
    case.assertEqual([frame.code for frame in silent.heard()], [408])


@probe("limits.buffers")
def _buffers(case: ReloadCase) -> None:
    """Bodies that last, and one after them."""
    head = b"POST /app/media HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n"
    first, *_ = [case.http(head).send(bytes(900_000)) for _ in range(15)]
    case.assertFalse(case.node_.status.as_dict()["buffers"]["tight"])
    case.applied("limits.buffers", "16MiB")
    case.assertTrue(case.node_.status.as_dict()["buffers"]["tight"])
    case.assert_answered(case.http(WRITE), 429)
    case.reactor.pump([0.05] * 8)
    case.assert_answered(first, 429)
    case.assertEqual(sample(case.node_.metrics, "rejected_total", reason="busy_buffers"), 3)
    case.assertFalse(case.node_.status.as_dict()["buffers"]["tight"])


WRITE = post("/app/media", b"x")


def _lag(case: ReloadCase, late_s: float, beats: int = 2) -> None:
    """Let the loop be late."""
    case.reactor.pump([0.1 + late_s] * beats)


@probe("overload.lag")
def _overload_lag(case: ReloadCase) -> None:
    case.applied("overload.lag", "100ms")
    _lag(case, 0.15)
    case.assert_answered(case.http(WRITE), 503)
    case.assertIsNone(case.http(ASKED["media"]).status(), "reads go on")
    case.assertTrue(case.node_.probes.readyz()[1]["shedding"])
    _lag(case, 0.25)
    case.assert_answered(case.http(ASKED["media"]), 503)
    case.reload(overload__lag="10s")
    case.reactor.pump([0.1] * 10)
    case.assertIsNone(case.http(WRITE).status())
    case.assertIn(HealthChanged(name="overload", state="all", previous="writes"), case.events())


@probe("overload.rss")
def _overload_rss(case: ReloadCase) -> None:
    """That of the process that runs the test, which is larger."""
    case.applied("overload.rss", "1MiB")
    case.reactor.pump([0.1] * 2)
    case.assert_answered(case.http(WRITE), 503)
    case.reload()
    case.assertIsNone(case.http(WRITE).status(), "nothing is watched any more")
    case.assertFalse(case.node_.probes.readyz()[1]["shedding"])


@probe("overload.unready_after")
def _unready_after(case: ReloadCase) -> None:
    case.reload(overload__lag="100ms")
    _lag(case, 0.15, 10)
    case.assertTrue(case.node_.probes.ready)
    case.reload(overload__lag="100ms", overload__unready_after="1s")
    _lag(case, 0.15, 1)
    status, body, retry_after_s = case.node_.probes.readyz()
    case.assertEqual((status, body["ready"], body["state"]), (503, False, "running"))
    case.assertIsNotNone(retry_after_s)
    case.assertEqual(sample(case.node_.metrics, "ready_state"), 0)
    case.reactor.pump([0.1] * 20)
    case.assertEqual(case.node_.probes.readyz()[0], 200)
    case.assertEqual(sample(case.node_.metrics, "ready_state"), 1)
    told = [event for event in case.events() if isinstance(event, HealthChanged)]
    case.assertIn(HealthChanged(name="readiness", state="unready", previous="ready"), told)
    case.assertEqual(told[-1], HealthChanged(name="readiness", state="ready", previous="unready"))


@probe("timeouts.handshake")
def _handshake(case: ReloadCase) -> None:
    case.applied("timeouts.handshake", "1s")
    caller = case.oap(greet=False)
    case.reactor.advance(1.0)
    case.assertTrue(caller.transport.closing)


@probe("timeouts.read")
def _read(case: ReloadCase) -> None:
    case.applied("timeouts.read", "1s")
    caller = case.http(b"GET /app")
    case.reactor.advance(1.0)
    case.assert_answered(caller, 408)


@probe("timeouts.body")
def _body(case: ReloadCase) -> None:
    case.applied("timeouts.body", "1s")
    caller = case.http(post("/app/media", b"12345")[:-1])
    case.reactor.advance(1.1)
    case.assert_answered(caller, 408)


@probe("timeouts.idle")
def _idle(case: ReloadCase) -> None:
    case.applied("timeouts.idle", "7s")
    caller = case.oap(greet=False)
    case.assertEqual(caller.greet()["idle_timeout_ms"], 7_000)
    case.reactor.advance(6.9)
    case.assertFalse(caller.transport.closing)
    case.reactor.advance(0.1)
    case.assertTrue(caller.transport.closing)


@probe("timeouts.stall")
def _stall(case: ReloadCase) -> None:
    case.applied("timeouts.stall", "1s")
    caller = case.oap()
    caller.send(put(1), body(1, b"x"))
    case.owner().fill()
    case.reactor.advance(0.9)
    case.assertEqual(caller.heard(), [])
    case.reactor.advance(0.1)
    case.assertEqual([frame.code for frame in caller.heard() if frame.ends], [503])


@probe("timeouts.stream_idle")
def _stream_idle(case: ReloadCase) -> None:
    case.applied("timeouts.stream_idle", "1s")
    caller = case.oap()
    caller.send(put(1), body(1, b"x"))
    case.owner()
    case.reactor.advance(1.0)
    case.assertEqual([frame.code for frame in caller.heard() if frame.ends], [408])


@probe("timeouts.write_stall")
def _write_stall(case: ReloadCase) -> None:
    case.applied("timeouts.write_stall", "1s")
    caller = case.http(get("/nowhere"))
    caller.transport.fill()
    case.reactor.pump([0.5] * 4)
    case.assertTrue(caller.transport.disconnected)


@probe(*(f"owners.{name}.url" for name in FACET_OF))
def _url(case: ReloadCase, path: str) -> None:
    case.applied(path, "http://10.0.0.9:7")
    case.http(ASKED[FACET_OF[path.split(".")[1]]])
    case.assertEqual(case.destination(), ("10.0.0.9", 7))


@probe(*(f"owners.{name}.timeout" for name in FACET_OF))
def _owner_timeout(case: ReloadCase, path: str) -> None:
    case.applied(path, "1s")
    caller = case.http(ASKED[FACET_OF[path.split(".")[1]]])
    case.owner()
    case.reactor.advance(0.9)
    case.assertIsNone(caller.status())
    case.reactor.advance(0.1)
    case.assert_answered(caller, 504)


@probe(*(f"owners.{name}.concurrency" for name in FACET_OF))
def _concurrency(case: ReloadCase, path: str) -> None:
    asked = ASKED[FACET_OF[path.split(".")[1]]]
    waits = [case.http(asked), case.http(asked)]
    case.applied(path, 2)
    case.assert_answered(case.http(asked), 503)
    waits[0].leave()
    case.assertIsNone(case.http(asked).status())


POLICY = {"owners__policy__url": "http://10.0.0.5:5"}


def _decision(action: str = "allow", **more: Any) -> bytes:
    said = {"action": action, "rule": "x", "reason": "", "ttl_s": 60, **more}
    return response(json.dumps(said).encode())


@probe("owners.policy.url")
def _policy_url(case: ReloadCase) -> None:
    """Another owner is asked anew; without one, nobody is."""
    for url, port in (("http://10.0.0.5:5", 5), ("http://10.0.0.6:6", 6)):
        case.applied("owners.policy.url", url)
        caller = case.http(ASKED["graph"])
        case.assertEqual(case.destination()[1], port)
        case.owner().send(_decision("deny"))
        case.assert_answered(caller, 403)
        case.assert_answered(case.http(ASKED["graph"]), 403)
    case.assertEqual(case.node_.status.as_dict()["policy"]["known"], 1)
    case.reload()
    case.assertIsNone(case.http(ASKED["graph"]).status(), "nobody is asked any more")
    case.assertEqual(case.destination(), ("127.0.0.1", 5321))
    case.assertIsNone(case.node_.status.as_dict()["policy"])


@probe("owners.policy.timeout")
def _policy_timeout(case: ReloadCase) -> None:
    for timeout, after_s in (("100ms", 0.1), ("5s", 0.25)):
        case.reload(**POLICY, owners__policy__timeout=timeout)
        caller = case.http(ASKED["graph"])
        case.owner()
        case.reactor.advance(after_s - 0.01)
        case.assertIsNone(caller.status())
        case.reactor.advance(0.01)
        case.assert_answered(caller, 503)


@probe("owners.policy.concurrency")
def _policy_concurrency(case: ReloadCase) -> None:
    """One more question waits for its turn."""
    case.reload(**POLICY)
    case.reload(**POLICY, owners__policy__concurrency=1)
    case.http(ASKED["graph"])
    end, connects = case.owner(), len(case.reactor.tcpClients)
    case.http(ASKED["media"])
    case.assertEqual(len(case.reactor.tcpClients), connects)
    end.send(_decision())
    case.assertIn(b'"facet":"media"', end.heard())


@probe("owners.policy.fail")
def _policy_fail(case: ReloadCase) -> None:
    asked = {"read": ASKED["graph"], "write": post("/app/media", b"x")}
    for fail, refused in (("open", ()), ("reads-open", ("write",)), ("closed", ("read", "write"))):
        case.reload(**POLICY, owners__policy__fail=fail)
        for kind, data in asked.items():
            caller = case.http(data)
            case.owner().send(response(b"{}", "Connection: close"))
            if kind in refused:
                case.assert_answered(caller, 503)
            else:
                case.assertIsNone(caller.status(), "it goes on")
                caller.leave()
            deps = case.node_.probes.readyz()[1]
            case.assertIn("policy", deps["degraded"])


@probe("owners.overlay.url", "owners.overlay.timeout", "owners.overlay.concurrency")
def _overlay(case: ReloadCase, path: str) -> None:
    """It is asked for what storage lacks, by calls that begin after the reload."""
    where, absent = {"owners__overlay__url": "http://10.0.0.9:7"}, response(b"", status="404 Not Found")
    name = path.rpartition(".")[2]
    if name != "url":
        case.reload(**where)
    running = case.http(ASKED["media"])
    end = case.owner()
    settings = where | {"timeout": {"owners__overlay__timeout": "1s"}, "url": {}}.get(
        name, {"owners__overlay__concurrency": 1}
    )
    outcome = case.reload(**settings)
    case.assertEqual((outcome.outcome, [each.path for each in outcome.changes]), ("applied", [path]))
    end.send(absent)
    if name == "url":
        case.assert_answered(running, 404)
        case.assertEqual(case.node_.probes.readyz()[1]["deps"]["overlay"], "starting")
    asked = case.http(ASKED["media"])
    end.send(absent)
    case.assertEqual(case.destination(), ("10.0.0.9", 7))
    if name == "timeout":
        case.reactor.advance(1.0)
        case.assert_answered(asked, 504)
    elif name == "concurrency":
        case.assert_answered(asked, 503)
    case.reload()
    case.assertEqual(case.node_.probes.readyz()[1]["deps"]["overlay"], "disabled")


#: A request for which each owner is asked; the overlay after storage, the policy before all.
ASKED_OF = {
    "index": ASKED["search"],
    "mailbox": post("/app/feed/jobs/recv", b""),
    "storage": ASKED["media"],
    "overlay": ASKED["media"],
}


class TlsCase:
    """An owner of *case* that is reached over TLS, by the files of the key that is changed."""

    def __init__(self, case: ReloadCase, path: str) -> None:
        self.case, self.name, self.key = case, *path.split(".")[1:]
        self.questions = [get(f"/app/graph/providers/{CID}"), *ASKED.values()]
        self.folder = Path(case.mktemp())
        self.folder.mkdir()
        self.authority, self.callers = make_authority(), make_authority("callers")
        self.ca = self.authority.save(self.folder, "ca")[0]
        self.files = {"ca": self.ca}
        if self.key != "ca":
            self.node = self.callers.sign("node", usage=CLIENT)
            pair = self.node.save(self.folder, "node")
            self.files |= dict(zip(("certificate", "private_key"), pair, strict=True))

    def reload(self, **files: str) -> Outcome:
        """Reload to a URL of https, and *files* instead of those of before."""
        self.files |= files
        section = f"owners__{self.name}__"
        return self.case.reload(
            **{f"{section}url": "https://10.0.0.9:7"},
            **{section + key: file for key, file in self.files.items()},
        )

    def changed(self, outcome: Outcome) -> None:
        """See that the key has changed, alone."""
        changes = [each.path for each in outcome.changes]
        self.case.assertEqual((outcome.outcome, changes), ("applied", [f"owners.{self.name}.{self.key}"]))

    def call(self, authority: Signed | None = None) -> OwnerTls:
        """Ask for what the owner has; return its end, which shows a certificate of *authority*."""
        # What the policy was asked about it is not asked again while it thinks.
        self.case.http(ASKED_OF.get(self.name) or self.questions.pop())
        if self.name == "overlay":
            self.case.owner().send(response(b"", "Connection: close", status="404 Not Found"))
        self.case.assertEqual(self.case.destination(), ("10.0.0.9", 7))
        shown = (authority or self.authority).sign("10.0.0.9")
        end = OwnerTls(self.case.owner(), shown, callers=None if self.key == "ca" else self.callers)
        end.pump()
        return end


@probe(*(f"owners.{name}.ca" for name in OWNER_NAMES))
def _ca(case: ReloadCase, path: str) -> None:
    owner, other = TlsCase(case, path), make_authority("other")
    owner.reload()
    case.assertIn(b"HTTP/1.1\r\n", owner.call().heard)
    case.assertEqual(owner.call(other).heard, b"")
    owner.changed(owner.reload(ca=other.save(owner.folder, "other")[0]))
    case.assertIn(b"HTTP/1.1\r\n", owner.call(other).heard)
    case.assertEqual(owner.call().heard, b"")


@probe(*(f"owners.{name}.{key}" for name in OWNER_NAMES for key in ("certificate", "private_key")))
def _certificate(case: ReloadCase, path: str) -> None:
    owner = TlsCase(case, path)
    owner.reload()
    case.assertEqual(owner.call().shown(), owner.node.certificate)
    renewed = owner.callers.sign("renewed", usage=CLIENT, key=owner.node.key)
    files = dict(zip(("certificate", "private_key"), renewed.save(owner.folder, "renewed"), strict=True))
    owner.changed(owner.reload(**{owner.key: files[owner.key]}))
    expected = renewed if owner.key == "certificate" else owner.node
    case.assertEqual(owner.call().shown(), expected.certificate)


@probe(*(f"facets.{name}.enabled" for name in ASKED))
def _enabled(case: ReloadCase, path: str) -> None:
    name = path.split(".")[1]
    asked = ASKED[name]
    running = case.http(asked)
    end = case.owner()
    case.applied(path, "false")
    case.assert_answered(case.http(asked), 404)
    case.assertNotIn(name, case.node_.probes.version()["runtime"]["facets"])
    end.send(response(b"", status="404 Not Found"))
    case.assert_answered(running, 404)
    case.assertEqual(sample(case.node_.metrics, "ron_facet_requests_total", facet=name, result="refused"), 1)
    case.reload()
    case.assertIsNone(case.http(asked).status(), "it is served again")


@probe(*(f"facets.{name}.limit" for name in ASKED))
def _limit(case: ReloadCase, path: str) -> None:
    asked = ASKED[path.split(".")[1]]
    waits = case.http(asked)
    case.applied(path, 1)
    case.assert_answered(case.http(asked), 429)
    waits.leave()
    case.assertIsNone(case.http(asked).status())


@probe(*(f"facets.{name}.queue" for name in ASKED))
def _queue(case: ReloadCase, path: str) -> None:
    name = path.split(".")[1]
    asked = ASKED[name]
    case.reload(**{f"facets__{name}__limit": 1})
    first = case.http(asked)
    case.assert_answered(case.http(asked), 429)
    case.reload(**{f"facets__{name}__limit": 1, f"facets__{name}__queue": 1})
    waits = case.http(asked)
    case.assertIsNone(waits.status())
    case.assert_answered(case.http(asked), 429)
    connected = len(case.reactor.tcpClients)
    first.leave()
    case.assertEqual(len(case.reactor.tcpClients), connected + 1, "it is its turn")
    waits.leave()


@probe("limits.max_calls")
def _max_calls(case: ReloadCase) -> None:
    waits = [case.http(ASKED["graph"]), case.http(ASKED["search"])]
    case.applied("limits.max_calls", 2)
    case.assert_answered(case.http(ASKED["media"]), 429)
    waits[0].leave()
    case.assertIsNone(case.http(ASKED["media"]).status())


@probe("limits.min_rate")
def _min_rate(case: ReloadCase) -> None:
    """Of what waits in the caller's buffers a little is taken every few seconds, and that is not enough."""
    for rate, cut in ((0, False), ("1KiB", True)):
        case.reload(timeouts__write_stall="1h", limits__min_rate=rate)
        near, far = socket.socketpair()
        case.addCleanup(near.close)
        case.addCleanup(far.close)
        for _ in range(20):
            near.send(bytes(2_000))
        caller = case.http(get("/nowhere"))
        caller.transport.fileno = near.fileno  # type: ignore[attr-defined]
        caller.transport.fill()
        for _ in range(8):
            far.recv(1_000)
            case.reactor.advance(4.0)
        case.assertEqual(caller.transport.disconnected, cut)


@probe("limits.rps")
def _rps(case: ReloadCase) -> None:
    case.applied("limits.rps", 2)
    for _ in range(2):
        case.assertIsNone(case.http(ASKED["graph"]).status())
    case.assert_answered(case.http(ASKED["search"]), 429)
    case.reactor.advance(0.5)
    case.assertIsNone(case.http(ASKED["graph"]).status())
    case.reload()
    case.assertIsNone(case.http(ASKED["graph"]).status())


@probe(*(f"facets.{name}.timeout" for name in ASKED))
def _facet_timeout(case: ReloadCase, path: str) -> None:
    asked = ASKED[path.split(".")[1]]
    before = case.http(asked)
    case.owner()
    case.applied(path, "1s")
    after = case.http(asked)
    case.assertIn(b"\r\nx-micronode-deadline-ms: 1000\r\n", case.owner().heard().lower())
    case.reactor.advance(1.0)
    case.assertIsNone(before.status(), "it keeps the time it began with")
    case.assert_answered(after, 504)


@probe("facets.feed.subscriptions")
def _subscriptions(case: ReloadCase) -> None:
    caller = case.oap()
    caller.send(subscribe(1), subscribe(3))
    case.reactor.advance(0)
    caller.heard()
    case.applied("facets.feed.subscriptions", 2)
    caller.send(subscribe(5))
    case.assertEqual([(frame.corr_id, frame.code) for frame in caller.heard()], [(5, 429)])
    caller.send(cancel(1, Profile.FEED))
    caller.heard()
    case.reactor.pump([1.0] * 8)
    caller.send(subscribe(7))
    case.reactor.advance(0)
    case.assertEqual([(frame.corr_id, frame.code) for frame in caller.heard()], [(7, 200)])


@probe("drain.grace")
def _grace(case: ReloadCase) -> None:
    case.applied("drain.grace", "1s")
    stopped = case.node_.stopService()
    case.reactor.advance(0.9)
    case.assertNoResult(stopped)
    case.reactor.advance(0.1)
    case.reactor.advance(0.1)
    case.successResultOf(stopped)


@probe("drain.deadline")
def _deadline(case: ReloadCase) -> None:
    case.applied("drain.deadline", "1s")
    case.http(b"GET /app")
    case.node_.stopService()
    case.reactor.advance(10.0)
    case.assertEqual(case.reactor.open, {5311})
    with capturedLogs() as logs:
        case.reactor.pump([0.05] * 22)
    case.assertEqual(
        [line["log_format"] for line in logs if line["log_format"] == "drain_deadline"], ["drain_deadline"]
    )


@probe("log.level")
def _level(case: ReloadCase) -> None:
    """Whose process it is sets it, when he hears of it."""
    case.applied("log.level", "debug")
    case.assertEqual(case.node_.config.log.level, "debug")
    (updated,) = [event for event in case.events() if isinstance(event, ConfigUpdated)]
    case.assertEqual(updated.changed, ("log.level",))


class LiveKeyTests(ReloadCase):
    """Every key that is built and reloads has its effect after a reload; tests are added below."""

    def test_every_key_has_its_probe(self) -> None:
        live = {path for path, row in KEYS.items() if row.built and row.reload == "live"}
        self.assertEqual(live, set(PROBES), "add a probe for what is new")


def _add_tests() -> None:
    for path, run in PROBES.items():

        def test(self: ReloadCase, run: Probe = run) -> None:
            run(self)

        name = f"test_{path.replace('.', '_')}"
        test.__name__ = name
        setattr(LiveKeyTests, name, test)


_add_tests()


class ReloadTests(ReloadCase):
    """Reloads of a whole node."""

    def test_what_version_says(self) -> None:
        before = self.node_.probes.version()["runtime"]
        self.reload(drain__grace="3s")
        after = self.node_.probes.version()["runtime"]
        self.assertNotEqual(before["config_sha"], after["config_sha"])
        self.assertEqual(after["config_sha"], self.node_.config.sha())
        self.assertEqual(after["overrides"], {"facets.media.enabled": "flag", "drain.grace": "flag"})

    def test_where_values_come_from_is_taken_over(self) -> None:
        self.reload(facets__graph__limit=7)
        base = Config.from_values({"facets.media.enabled": True, "facets.graph.limit": 7}, {})
        for source in ("env MICRONODE_FACETS_GRAPH_LIMIT", "f.toml:3"):
            config = attrs.evolve(base, sources={"facets.graph.limit": source})
            self.assertEqual(self.successResultOf(self.node_.reload(config)).outcome, "unchanged")
            self.assertEqual(self.node_.config.source("facets.graph.limit"), source)

    def test_what_readyz_looks_at(self) -> None:
        self.reload(facets__graph__limit=7)
        deps = self.node_.probes.readyz()[1]["deps"]
        self.assertEqual((deps["config"], deps["listeners"]), ("ok", "ok"))
        watched = [name for name, state in deps.items() if state != "disabled"][2:]
        self.assertEqual(watched, ["index", "mailbox", "storage"])

    def test_owners_that_no_facet_asks_are_left_alone(self) -> None:
        def deps() -> dict[str, str]:
            told: dict[str, str] = self.node_.probes.readyz()[1]["deps"]
            return told

        self.reload(facets__media__enabled="false")
        self.assertEqual((deps()["storage"], deps()["mailbox"]), ("disabled", "starting"))
        self.reload(facets__media__enabled="false", facets__feed__enabled="false")
        self.assertEqual((deps()["mailbox"], deps()["index"]), ("disabled", "starting"))
        off = {f"facets__{name}__enabled": "false" for name in ("media", "feed", "graph", "search")}
        self.reload(**off)
        self.assertEqual(self.node_.probes.readyz()[1]["degraded"], [])
        self.assertEqual((list(owners(self.node_._parts)), self.node_._owners.health), ([], {}))
        before = len(self.reactor.tcpClients)
        self.reactor.advance(INTERVAL_S * 2)
        self.assertEqual(len(self.reactor.tcpClients), before)
        self.reload(**off | {"facets__search__enabled": "true"})
        watched = [name for name, state in deps().items() if state == "starting"]
        self.assertEqual(watched, ["index"])
        caller = self.http(ASKED["search"])
        self.owner().send(response(b'{"query":"a","hits":[],"total":0}'))
        self.assert_answered(caller, 200)

    def test_ready_throughout(self) -> None:
        for settings in (
            {"facets__graph__enabled": "false"},
            {"owners__index__url": "http://10.0.0.9:7"},
            {},
        ):
            self.reload(**settings)
            status, body, _ = self.node_.probes.readyz()
            self.assertEqual((status, body["state"]), (200, "running"))
            self.assertEqual(sample(self.node_.metrics, "ready_state"), 1)
        self.assertEqual(self.reactor.open, {5310, 5311, 5312})

    def test_keys_that_need_a_restart_are_named_and_kept(self) -> None:
        outcome = self.reload(http__listen="127.0.0.1:7000", drain__grace="3s")
        self.assertEqual((outcome.outcome, outcome.restart), ("applied", ("http.listen",)))
        self.assertEqual(self.node_.config.http.listen, "127.0.0.1:5310")
        self.assertEqual(self.node_.reloader.restart_required, ("http.listen",))
        self.assertEqual(self.node_.addresses["http"], "127.0.0.1:5310")

    def test_a_switched_off_facet_over_an_old_connection(self) -> None:
        """What a connection did not negotiate holds for its new calls; its old ones end as they began."""
        caller = self.oap()
        caller.send(start(1))
        end = self.owner()
        self.reload(facets__search__enabled="false")
        caller.send(start(3))
        self.assertEqual([(frame.corr_id, frame.code) for frame in caller.heard()], [(3, 501)])
        end.send(response(b"{}", "Content-Type: application/json"))
        self.reactor.advance(0)
        self.assertEqual([(frame.corr_id, frame.code) for frame in caller.heard() if frame.ends], [(1, 200)])

    def test_a_subscription_goes_on(self) -> None:
        """It asks the owner that is in force; switched off, it ends."""
        caller = self.oap()
        caller.send(subscribe(1))
        self.reactor.advance(0)
        self.assertEqual([(frame.corr_id, frame.code) for frame in caller.heard()], [(1, 200)])
        self.assertEqual(self.destination(), ("127.0.0.1", 5322))
        end = self.owner()
        self.assertIn(b"POST /v1/recv HTTP/1.1\r\n", end.heard())
        self.reload(owners__mailbox__url="http://10.0.0.9:7")
        end.send(response(b'{"messages": []}', "Content-Type: application/json"))
        self.reactor.advance(0.1)
        self.assertEqual(self.destination(), ("10.0.0.9", 7))
        end = self.owner()
        message = b'{"msg_id": "1", "ts": 1, "attempt": 1, "attrs": {}, "payload_b64": ""}'
        end.send(response(b'{"messages": [%b]}' % message, "Content-Type: application/json"))
        (event,) = caller.heard()
        self.assertEqual((event.corr_id, event.json["msg_id"]), (1, "1"))
        self.reload(owners__mailbox__url="http://10.0.0.9:7", facets__feed__enabled="false")
        (ended,) = caller.heard()
        self.assertEqual((ended.corr_id, ended.code), (1, 404))

    def test_polls_leave_permits_to_calls(self) -> None:
        self.reload(facets__feed__limit=4, facets__feed__subscriptions=8)
        caller = self.oap()
        caller.send(*(subscribe(corr_id) for corr_id in range(1, 17, 2)))
        self.reactor.advance(0)
        gate = self.node_._parts.dispatcher.serving.bounds["feed"].gate
        self.assertEqual((gate.limit, gate.in_use), (4, 1))
        self.assertIsNone(self.http(ASKED["feed"]).status(), "it waits for the owner")
        self.assertEqual(gate.in_use, 2)

    def test_what_appears_is_shown_at_zero(self) -> None:
        node = make_node(Config(), self.reactor)
        count = node.metrics.registry.get_sample_value
        labels = {"facet": "media", "result": "ok"}
        self.assertIsNone(count("ron_facet_requests_total", labels))
        self.successResultOf(node.reload(Config.from_mapping(self.base)))
        self.assertEqual(count("ron_facet_requests_total", labels), 0)
        self.assertEqual(count("inflight_requests", {"route": "media.put"}), 0)

    def test_before_the_start(self) -> None:
        node = make_node(Config(), self.reactor)
        config = Config.from_mapping({"owners": {"index": {"url": "http://10.0.0.9:7"}}})
        self.assertEqual(self.successResultOf(node.reload(config)).outcome, "applied")
        self.assertEqual((node.state, node.probes.readyz()[0]), (State.STARTING, 503))

    def test_a_part_that_cannot_be_built_changes_nothing(self) -> None:
        """What was prepared before it is dropped, and what runs is as it was."""
        clash = OwnFacet(
            "own",
            own_operation(path="/app/media"),
            own_operation(name="own.x", op="x", method="POST", path="/app/media"),
        )
        node = make_node(Config(), self.reactor, facets=[clash])
        parts = node._parts

        def in_force() -> tuple[Any, ...]:
            return (
                node.config,
                parts.dispatcher.serving,
                parts.http.settings,
                parts.admin.settings,
                parts.oap.services,
                dict(parts.owners.clients),
                parts.owners.clients["index"].settings,
                node.probes.version(),
            )

        before = in_force()
        wanted = {
            "facets": {"media": {"enabled": True}, "graph": {"limit": 1}},
            "owners": {"index": {"url": "http://10.0.0.9:7"}},
        }
        outcome = self.successResultOf(node.reload(Config.from_mapping(wanted)))
        self.assertEqual(outcome.outcome, "failed")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(in_force(), before)
        self.assertEqual(parts.dispatcher.serving.bounds["graph"].gate.limit, 128)
        preview = self.successResultOf(node.reload(Config()))
        self.assertEqual(preview.outcome, "unchanged")

    def test_what_follows_a_reload_may_fail_without_undoing_it(self) -> None:
        def broken(names: Any) -> None:
            raise ZeroDivisionError

        self.node_.metrics.add_facets = broken  # type: ignore[method-assign]
        with capturedLogs() as logs:
            self.applied("owners.index.url", "http://10.0.0.9:7")
        self.assertIn("reload_unfinished", [line["log_format"] for line in logs])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.http(ASKED["search"])
        self.assertEqual(self.destination(), ("10.0.0.9", 7))

    def test_hosted_facets_stay(self) -> None:
        waits: Deferred[Reply] = Deferred()
        facet = OwnFacet("own", own_operation(handler=lambda call: waits))
        node = make_node(Config(), self.reactor, facets=[facet])
        node.startService()
        caller = self.http(get("/app/own"))
        self.successResultOf(node.reload(Config.from_mapping({"facets": {"graph": {"enabled": False}}})))
        self.assertEqual(node.probes.version()["runtime"]["facets"], ["search", "feed", "own"])
        waits.callback(Reply(head=ResponseHead(length=0)))
        self.assert_answered(caller, 200)

    def test_an_owners_health_goes_on(self) -> None:
        self.reload(owners__index__url="http://10.0.0.9:7")
        self.reactor.pump([INTERVAL_S] * 2)  # The questions of before have had their time by the first.
        asked = {client[:2] for client in self.reactor.tcpClients[-3:]}
        self.assertEqual(asked, {("10.0.0.9", 7), ("127.0.0.1", 5322), ("127.0.0.1", 5323)})


class PolicyTests(ReloadCase):
    """What is known of the policy's decisions across reloads, and where it shows."""

    def deny(self) -> None:
        self.reload(**POLICY)
        caller = self.http(ASKED["graph"])
        self.owner().send(_decision("deny"))
        self.assert_answered(caller, 403)

    def test_decisions_outlive_a_reload_that_leaves_the_owner(self) -> None:
        self.deny()
        self.reload(**POLICY, owners__policy__fail="open", owners__policy__timeout="1s")
        self.assert_answered(self.http(ASKED["graph"]), 403)

    def test_and_no_other(self) -> None:
        self.deny()
        self.reload()
        self.reload(**POLICY)
        self.assertIsNone(self.http(ASKED["graph"]).status(), "it is asked again")
        self.assertEqual(self.destination(), ("10.0.0.5", 5))

    def test_a_question_of_before_is_answered_to_who_waits(self) -> None:
        self.reload(**POLICY)
        caller = self.http(ASKED["graph"])
        end = self.owner()
        self.reload()
        end.send(_decision("deny"))
        self.assert_answered(caller, 403)

    def test_where_it_shows(self) -> None:
        self.assertEqual(self.node_.probes.readyz()[1]["deps"]["policy"], "disabled")
        self.deny()
        self.assertEqual(self.node_.probes.readyz()[1]["deps"]["policy"], "starting")
        told = {"fail": "closed", "known": 1, "failing": False, "last_failure": None}
        self.assertEqual(self.node_.status.as_dict()["policy"], told)
        caller = self.http(ASKED["media"])
        self.reactor.advance(0.25)
        self.assert_answered(caller, 503)
        self.reactor.advance(1.5)
        policy = self.node_.status.as_dict()["policy"]
        self.assertEqual((policy["failing"], policy["last_failure"]["ago_s"]), (True, 1.5))
        self.assertIn("policy", self.node_.probes.readyz()[1]["degraded"])

    def test_the_node_stops_while_it_is_asked(self) -> None:
        """Nothing of the question is left."""
        self.reload(**POLICY, drain__grace="0s", drain__deadline="100ms")
        self.http(ASKED["graph"])
        end = self.owner()
        stopped = self.node_.stopService()
        self.reactor.pump([0.05] * 30)
        self.successResultOf(stopped)
        self.assertTrue(end.closed)
        self.assertEqual(self.node_._parts.policy.decider.asking, 0)  # type: ignore[union-attr]


class FileTests(ReloadCase):
    """What is in files that the configuration names may change while their names stay."""

    def setUp(self) -> None:
        super().setUp()
        self.tls = TlsCase(self, "owners.index.ca")
        self.tls.reload()

    def test_a_file_that_says_something_else(self) -> None:
        before = self.tls.call()
        self.assertIn(b"GET /", before.heard)
        other = make_authority("other")
        other.save(self.tls.folder, "ca")
        self.tls.changed(self.tls.reload())
        self.assertIn(b"GET /", self.tls.call(other).heard)
        self.assertEqual(self.tls.call().heard, b"")

    def test_one_that_says_the_same(self) -> None:
        self.tls.authority.save(self.tls.folder, "ca")
        end = self.tls.call()
        end.send(response(b"{}"))
        made = len(self.reactor.tcpClients)
        self.assertEqual(self.tls.reload().outcome, "unchanged")
        self.http(ASKED["search"])
        self.assertEqual(end.pump().count(b"GET /search"), 2)
        self.assertEqual(len(self.reactor.tcpClients), made)

    def test_one_that_is_of_no_use(self) -> None:
        """What was read before stays."""
        for data in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\0" * 5):
            Path(self.tls.ca).write_bytes(data)
            outcome = self.tls.reload()
            self.assertEqual((outcome.outcome, outcome.changes), ("refused", ()))
            self.assertRegex(
                outcome.reason, "^flag --set owners__index__ca: .* is no PEM file of certificates"
            )
        Path(self.tls.ca).unlink()
        self.assertRegex(self.tls.reload().reason, "cannot read .*: no such file or directory")
        self.assertIn(b"GET /", self.tls.call().heard)


class AboutTests(ReloadCase):
    """What the application plane tells of itself is what is in force."""

    def page(self, path: str, caller: HttpCaller | None = None) -> Any:
        """Return the JSON that *path* answers with."""
        caller = caller or self.http()
        caller.transport.clear()
        (answer,) = read_answers(caller.send(get(path)).transport.value())
        self.assertEqual(answer.status, 200)
        return answer.json

    def listed(self, meta: Any) -> dict[str, Any]:
        return {each["name"]: each for facet in meta["facets"] for each in facet["operations"]}

    def documented(self, document: Any) -> set[str]:
        operations = [one for path in document["paths"].values() for one in path.values()]
        return {one["operationId"] for one in operations if "tags" in one}

    def test_every_operation_is_told_of_and_is_there(self) -> None:
        listed = self.listed(self.page("/app/_meta"))
        table = self.node_._parts.dispatcher.table
        self.assertEqual(set(listed), {operation.name for operation in table})
        self.assertEqual(self.documented(self.page("/openapi.json")), set(listed))
        document = self.page("/openapi.json")
        for name, each in listed.items():
            operation = table.by_op(**each["oap"])
            self.assertEqual((operation.name, operation.access.value), (name, each["access"]))
            found = document["paths"][each["path"]][each["method"].lower()]
            self.assertEqual(found["operationId"], name)
            self.assertEqual(found["x-micronode-oap"], each["oap"])

    def test_methods_that_the_document_lacks_are_refused(self) -> None:
        for path, operations in self.page("/openapi.json")["paths"].items():
            raw = path.replace("{", "").replace("}", "")
            documented = {method.upper() for method in operations}
            for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - documented:
                caller = self.http(get(raw, method=method))
                heads = (0,) if method == "HEAD" else ()
                (answer,) = read_answers(caller.transport.value(), heads=heads)
                self.assertEqual((answer.status, set(answer.fields["allow"].split(", "))), (405, documented))

    def test_they_follow_a_switch_on_an_old_connection(self) -> None:
        kept = self.http()
        for enabled in ("false", "true"):
            self.reload(facets__search__enabled=enabled)
            names = set(self.listed(self.page("/app/_meta", kept)))
            self.assertEqual("search.query" in names, enabled == "true")
            self.assertIn("media.get", names)
            self.assertEqual(self.documented(self.page("/openapi.json", kept)), names)

    def test_limits_follow_a_reload(self) -> None:
        self.reload(facets__graph__limit=5, facets__graph__timeout="3s", limits__max_chunk="8KiB")
        meta = self.page("/app/_meta")
        (graph,) = (facet for facet in meta["facets"] if facet["name"] == "graph")
        self.assertEqual((graph["limit"], graph["timeout_s"]), (5, 3.0))
        self.assertEqual(meta["limits"]["oap"]["chunk"], 8 << 10)

    def test_the_limits_are_those_of_hello(self) -> None:
        limits = self.page("/app/_meta")["limits"]["oap"]
        caller = self.oap(greet=False)
        caller.send(hello())
        said = caller.heard()[0].json
        self.assertEqual(
            limits,
            {"frame": said["max_frame"], "chunk": said["max_chunk"], "streams": said["max_inflight"]},
        )

    def test_they_come_back_with_the_configuration(self) -> None:
        before = self.page("/app/_meta"), self.page("/openapi.json")
        outcome = self.successResultOf(self.node_.reload(Config.from_mapping({"drain": {"grace": "1s"}})))
        self.assertEqual(outcome.outcome, "applied")
        self.assertNotEqual((self.page("/app/_meta"), self.page("/openapi.json")), before)
        self.reload()
        self.assertEqual((self.page("/app/_meta"), self.page("/openapi.json")), before)

    def test_a_facet_of_the_host(self) -> None:
        self.node_ = make_node(Config(), self.reactor, facets=[OwnFacet()])
        parts = self.node_._parts
        meta = HttpCaller(parts.http.buildProtocol(None))
        self.assertIn("own.say", self.listed(self.page("/app/_meta", meta)))
        document = self.page("/openapi.json", meta)
        self.assertEqual(document["paths"]["/app/own"]["get"]["tags"], ["own"])

    def test_they_are_measured(self) -> None:
        count = self.node_.metrics.registry.get_sample_value
        for name, path in (("meta", "/app/_meta"), ("openapi", "/openapi.json")):
            self.page(path)
            labels = {"route": name, "method": "GET", "status": "200"}
            self.assertEqual(count("http_requests_total", labels), 1)


class SourceTests(NodeCase):
    """Where a node reads its configuration again."""

    def make(self, *results: Any) -> NodeService:
        given = list(results)

        async def read() -> Loaded:
            result = given.pop(0)
            if isinstance(result, Exception):
                raise result
            return Loaded(Config.from_mapping(result))

        return make_node(Config(), self.reactor, read=read)

    def test_read_again(self) -> None:
        node = self.make({"drain": {"grace": 3}}, ConfigError([Problem("f:1", "wrong", "fix")]), {})
        self.assertEqual(self.successResultOf(node.preview()).outcome, "would_apply")
        self.assertEqual(node.config, Config())
        self.assertEqual(self.successResultOf(node.reload()).problems[0].where, "f:1")
        self.assertEqual(self.successResultOf(node.reload()).outcome, "unchanged")

    def test_nothing_to_read(self) -> None:
        node = make_node(Config(), self.reactor)
        for waiting in (node.reload(), node.preview()):
            outcome = self.successResultOf(waiting)
            self.assertEqual(outcome.outcome, "refused")
            self.assertIn("nothing to read again", outcome.reason)


class LifeTests(ReloadCase):
    """The bus, and reloads while the node stops."""

    def test_what_the_bus_tells(self) -> None:
        self.reload(drain__grace="0s")
        self.node_.stopService()
        self.reactor.advance(3.0)
        kinds = [event for event in self.events() if not isinstance(event, HealthChanged)]
        self.assertEqual(
            kinds,
            [
                StateChanged(state="running", previous="starting"),
                ReloadStarted(),
                ConfigUpdated(
                    config_sha=self.node_.config.sha(),
                    previous_sha=Config.from_mapping(self.base).sha(),
                    changed=("drain.grace",),
                    restart=(),
                ),
                ReloadEnded(outcome="applied"),
                StateChanged(state="draining", previous="running"),
                StateChanged(state="stopped", previous="draining"),
            ],
        )
        self.assertEqual(self.node_.state, State.STOPPED)

    def test_the_bus_tells_of_owners(self) -> None:
        self.reactor.advance(2.0)
        health = [event for event in self.events() if isinstance(event, HealthChanged)]
        self.assertEqual(
            {(event.name, event.state) for event in health},
            {("index", "down"), ("mailbox", "down"), ("storage", "down")},
        )

    def test_the_bus_ends_with_the_node(self) -> None:
        self.reload(drain__grace="0s")
        self.successResultOf(self.node_.stopService())
        listening = Deferred.fromCoroutine(self.node_.bus.subscribe().__anext__())
        self.failureResultOf(listening, StopAsyncIteration)

    def test_lost_events_are_counted(self) -> None:
        for _ in range(600):
            self.node_.bus.publish(ReloadStarted())
        self.assertGreater(sample(self.node_.metrics, "bus_lagged_total"), 80)

    def test_a_crash_is_counted_and_told(self) -> None:
        class Broken:
            def set(self, value: float) -> None:
                raise ZeroDivisionError

        self.node_._parts.heartbeat._gauge = Broken()  # type: ignore[assignment]
        self.reactor.advance(1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(sample(self.node_.metrics, "service_restarts_total"), 1)
        (crash,) = [event for event in self.events() if type(event).__name__ == "ServiceCrashed"]
        self.assertEqual((crash.name, crash.reason), ("heartbeat", "ZeroDivisionError: "))  # type: ignore[union-attr]

    def test_a_stop_ends_a_reload_that_is_under_way(self) -> None:
        reading: Deferred[Loaded] = Deferred()
        node = make_node(Config(), self.reactor, read=lambda: reading)
        told = node.bus.subscribe()
        node.startService()
        waiting = node.reload()
        node.stopService()
        self.assertEqual(self.successResultOf(waiting).outcome, "draining")
        self.assertEqual(self.successResultOf(node.reload()).outcome, "draining")
        self.assertEqual(self.successResultOf(node.preview()).outcome, "draining")
        node.hurry()
        self.reactor.advance(3.0)
        node.bus.close()

        async def heard() -> list[Event]:
            return [event async for event in told if not isinstance(event, HealthChanged)]

        events = self.successResultOf(Deferred.fromCoroutine(heard()))
        self.assertEqual(
            [type(event) for event in events],
            [StateChanged, ReloadStarted, ReloadEnded, StateChanged, StateChanged],
            "a reload ends before the drain begins",
        )
