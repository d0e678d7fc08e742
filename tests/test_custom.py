"""Custom facets of a node in memory: what configuration and reloads make of them, and what /readyz says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from micronode import Config, make_node
from micronode.adapters.health import INTERVAL_S
from micronode.config.problems import ConfigError
from micronode.oap.wire.profiles import Profile
from micronode.overview import owners
from tests.facets.test_hosted import OwnFacet
from tests.http.support import get, post, read_answers
from tests.support.certificates import CLIENT, OwnerTls, make_authority
from tests.support.measures import sample
from tests.support.network import OwnerEnd, response
from tests.support.oap import body, start
from tests.test_assembly import HttpCaller, ReloadCase

ROUTES = [{"method": "GET", "access": "read"}, {"method": "POST", "path": "/v1/{id}", "access": "write"}]


class CustomCase(ReloadCase):
    """Has a node with nothing but the custom facets that a test asks for."""

    def setUp(self) -> None:
        super().setUp()
        self.others = {name: {"enabled": False} for name in ("graph", "search", "feed", "media")}
        self.load()

    def load(self, hosted: Any = (), **facets: Any) -> None:
        """Reload to *facets* alone."""
        outcome = self.successResultOf(self.node_.reload(self.config(**facets)))
        self.assertEqual(outcome.outcome, "applied", outcome.reason)

    def config(self, **facets: Any) -> Config:
        owned = {
            name: {"kind": "proxy", "upstream": "http://10.0.0.7:80", "routes": ROUTES} for name in facets
        }
        own = {name: owned[name] | given for name, given in facets.items()}
        return Config.from_mapping({"facets": self.others | own})

    def serve(self, data: bytes) -> OwnerEnd:
        """Answer what the node has asked last with *data*, on a new connection."""
        end = self.owner()
        end.send(data)
        return end

    def upstreams(self) -> list[str]:
        """Return where the node has connected to, but for the owners."""
        return [host for host, *_ in self.reactor.tcpClients if host != "127.0.0.1"]

    def answer(self, caller: HttpCaller) -> Any:
        (answer,) = read_answers(caller.transport.value())
        caller.transport.clear()
        return answer


class ReloadTests(CustomCase):
    def test_facets_come_change_and_go(self) -> None:
        kept = self.http(get("/app/own/x"))
        self.assert_answered(kept, 404)
        self.load(own={})
        kept.send(get("/app/own/x"))
        self.assertEqual(self.destination(), ("10.0.0.7", 80))
        self.serve(response(b"one"))
        self.assertEqual(self.answer(kept).body, b"one")
        self.assertEqual(self.node_.probes.version()["runtime"]["facets"], ["own"])
        # Another upstream, for what comes from now on.
        kept.send(get("/app/own/x"))
        before = self.reactor.tcpClients[-1]
        self.load(own={"upstream": "http://10.0.0.8:81"})
        asked = self.http(get("/app/own/x"))
        self.assertEqual(self.destination(), ("10.0.0.8", 81))
        self.serve(response(b"two"))
        self.assertEqual(self.answer(asked).body, b"two")
        self.assertIsNot(self.reactor.tcpClients[-1], before)
        self.load()
        self.assert_answered(self.http(get("/app/own/x")), 404)

    def test_routes(self) -> None:
        self.load(own={})
        self.assert_answered(self.http(post("/app/own/x", b"")), 405)
        self.load(own={"routes": [{"method": "POST", "access": "write"}]})
        self.assertIsNone(self.http(post("/app/own/x", b"")).status(), "it waits for the upstream")
        self.assert_answered(self.http(get("/app/own/x")), 405)

    def test_limit_and_timeout(self) -> None:
        self.load(own={"limit": 1, "timeout": "3s"})
        waiting = self.http(get("/app/own/x"))
        self.assert_answered(self.http(get("/app/own/x")), 429)
        self.reactor.advance(3.0)
        self.assert_answered(waiting, 504)
        self.load(own={"limit": 2})
        for _ in range(2):
            self.assertIsNone(self.http(get("/app/own/x")).status())
        self.assert_answered(self.http(get("/app/own/x")), 429)

    def test_max_body(self) -> None:
        self.load(own={"max_body": 3})
        self.assert_answered(self.http(post("/app/own/v1/x", b"abcd")), 413)
        self.load(own={"max_body": 4})
        self.assertIsNone(self.http(post("/app/own/v1/x", b"abcd")).status())

    def test_pass_headers(self) -> None:
        for passed in ([], ["cookie"]):
            self.load(own={"pass_headers": passed, "upstream": f"http://10.0.0.{len(passed)}"})
            self.http(get("/app/own/x", "Cookie: a=b"))
            self.assertEqual(b"cookie: a=b" in self.owner().heard(), bool(passed))

    def test_whom_it_trusts_and_what_it_shows(self) -> None:
        """The same files with something else in them are a reload, too; a file cut short is refused."""
        folder = Path(self.mktemp())
        folder.mkdir()
        callers = make_authority("callers")
        files: dict[str, str] = {"ca": str(folder / "ca.pem")}
        for name in ("one", "two"):
            authority, node = make_authority(name), callers.sign("node", usage=CLIENT)
            authority.save(folder, "ca")
            pair = node.save(folder, "node")
            files |= dict(zip(("certificate", "private_key"), pair, strict=True))
            self.load(own={"upstream": "https://10.0.0.9", **files})
            self.http(get("/app/own/x"))
            upstream = OwnerTls(self.owner(), authority.sign("10.0.0.9"), callers=callers)
            self.assertIn(b"GET /x ", upstream.pump())
            self.assertEqual(upstream.shown(), node.certificate)
        whole = Path(files["ca"]).read_bytes()
        Path(files["ca"]).write_bytes(whole + whole[:100])
        config = self.config(own={"upstream": "https://10.0.0.9", **files})
        refused = self.successResultOf(self.node_.reload(config))
        self.assertEqual(refused.outcome, "refused")
        self.assertRegex(refused.reason, "^facets.own.ca: .*cut short")

    def test_kind_and_switch(self) -> None:
        self.load(own={"kind": "echo", "upstream": ""})
        self.assertEqual(self.answer(self.http(get("/app/own/x?y"))).json["path"], "/x?y")
        self.assertEqual(self.upstreams(), [])
        self.load(own={"enabled": False})
        self.assert_answered(self.http(get("/app/own/x")), 404)

    def test_a_hosts_facet_keeps_its_name(self) -> None:
        node = make_node(self.config(), self.reactor, facets=[OwnFacet()])
        node.startService()
        outcome = self.successResultOf(node.reload(self.config(own={})))
        self.assertEqual(outcome.outcome, "refused")
        self.assertIn("has the name of a facet that the host program brings along", outcome.reason or "")
        self.assertRaises(ConfigError, make_node, self.config(own={}), self.reactor, facets=[OwnFacet()])

    def test_what_is_told_of_them(self) -> None:
        self.load(own={}, other={"kind": "echo", "upstream": "", "timeout": "2s"})
        caller = self.http(get("/app/_meta"))
        meta = self.answer(caller).json
        self.assertEqual([each["name"] for each in meta["facets"]], ["other", "own"])
        other, own = meta["facets"]
        self.assertEqual(other["timeout_s"], 2.0)
        told = [
            (each["method"], each["path"], each["access"], each["max_body"]) for each in own["operations"]
        ]
        self.assertEqual(
            told,
            [
                ("GET", "/app/own/{rest}", "read", {"http": 0, "oap": 0}),
                ("POST", "/app/own/v1/{id}", "write", {"http": 1 << 20, "oap": 1 << 20}),
            ],
        )
        self.assertEqual(own["operations"][0]["oap"], {"profile": 0x0501, "op": "call"})
        self.load(own={"routes": ROUTES[:1]})
        (own,) = self.answer(caller.send(get("/app/_meta"))).json["facets"]
        self.assertEqual(len(own["operations"]), 1)
        document = self.answer(caller.send(get("/openapi.json"))).json
        self.assertIn("/app/own/{rest}", document["paths"])
        self.assertNotIn("/app/own/v1/{id}", document["paths"])


class HealthTests(CustomCase):
    def asked(self) -> list[Any]:
        """Return where the node has asked since the last time."""
        asked = self.upstreams()
        del self.reactor.tcpClients[:]
        return asked

    def degraded(self) -> list[str]:
        """Return what is not well; the owners, which nothing asks, are no part of it."""
        return list(self.node_.probes.readyz()[1]["degraded"])

    def test_nobody_is_asked_unless_a_path_is_named(self) -> None:
        self.load(own={})
        self.reactor.advance(INTERVAL_S * 3)
        self.assertEqual((self.asked(), self.degraded()), ([], []))
        self.assertNotIn("own", self.node_.probes.readyz()[1]["deps"])

    def test_a_path_is_asked_and_what_it_says_is_shown(self) -> None:
        self.load(own={"health": "/up"})
        self.assertEqual(self.degraded(), ["own"])
        self.probed("/up", "503 No")
        self.assertEqual((self.degraded(), self.node_.probes.readyz()[0]), (["own"], 200))
        self.reactor.advance(INTERVAL_S)
        self.probed("/up", "200 OK")
        self.assertEqual(self.degraded(), [])
        # Another path, and then none.
        self.load(own={"health": "/other"})
        self.reactor.advance(INTERVAL_S)
        self.probed("/other", "500 No")
        self.assertEqual(self.degraded(), ["own"])
        self.load(own={})
        self.assertEqual(self.degraded(), [])
        self.asked()
        self.reactor.advance(INTERVAL_S)
        self.assertEqual(self.asked(), [])

    def probed(self, path: str, status: str) -> None:
        """Answer the question at *path*."""
        end = OwnerEnd(self.reactor)
        factory = [each[2] for each in self.reactor.tcpClients if each[0] == "10.0.0.7"][-1]
        end.protocol = factory.buildProtocol(None)
        end.protocol.makeConnection(end)
        self.assertIn(f"GET {path} HTTP/1.1".encode(), end.heard())
        end.send(response(b"", status=status))
        self.reactor.advance(0)

    def test_status_shows_how_it_is(self) -> None:
        self.load(own={})
        told = {each.name: each for each in owners(self.node_._parts)}["own"]
        self.assertEqual((told.state, told.endpoints), ("unwatched", {"count": 1, "healthy": 1}))

    def test_the_breaker_of_one_is_no_others(self) -> None:
        self.load(one={}, two={"upstream": "http://10.0.0.8:80"})
        caller = self.http()
        for _ in range(30):
            caller.send(post("/app/one/v1/x", b""))
            if caller.transport.value():
                break
            self.owner().hang_up(cleanly=False)
            caller.transport.clear()
        self.assertEqual(self.answer(caller).json["code"], "owner_unavailable")
        metrics = self.node_._parts.metrics
        self.assertEqual(sample(metrics, "owner_breaker_open", owner="one"), 1)
        self.assertEqual(sample(metrics, "owner_breaker_open", owner="two"), 0)
        self.assertEqual(self.degraded(), ["one"])
        told = {each.name: each.state for each in owners(self.node_._parts)}
        self.assertEqual((told["one"], told["two"]), ("degraded", "unwatched"))
        asked = self.http(get("/app/two/x"))
        self.serve(response(b"fine"))
        self.assertEqual(self.answer(asked).body, b"fine")


class OapTests(CustomCase):
    def call(self, facet: str, method: str = "GET", path: str = "/x", **args: Any) -> Any:
        end = self.oap()
        args = {"facet": facet, "method": method, "path": path} | args
        end.send(start(1, Profile.CUSTOM, "call", args))
        return end

    def test_any_status_is_in_the_head(self) -> None:
        self.load(own={})
        end = self.call("own", path="/x?y", headers={"accept": "z"})
        upstream = self.owner()
        heard = upstream.heard()
        self.assertIn(b"GET /x?y HTTP/1.1\r\nHost: 10.0.0.7\r\n", heard)
        self.assertIn(b"\r\naccept: z\r\n", heard)
        upstream.send(response(b"gone", 'ETag: "e"', "Content-Type: text/x", "X-Own: 1", status="410 Gone"))
        self.reactor.advance(0)
        first, *_ = frames = end.heard()
        self.assertEqual(first.json, {"status": 410, "content_type": "text/x", "etag": '"e"', "length": 4})
        self.assertEqual((first.code, frames[-1].code), (200, 200))

    def test_refusals(self) -> None:
        end = self.call("own")
        self.assertEqual(end.heard()[0].json["code"], "unknown_app", "there is no custom facet at all")
        self.load(own={})
        for args, code in (
            ({"facet": "other"}, "not_found"),
            ({"facet": "own", "method": "PUT"}, "not_found"),
            ({"facet": "own", "method": "POST"}, "not_found"),
            ({"facet": "own", "path": "/../x"}, "bad_request"),
            ({"facet": "own", "path": "x"}, "bad_request"),
            ({"facet": "own", "headers": {"a b": "x"}}, "bad_request"),
            ({"facet": "own", "headers": {"a": 1}}, "bad_request"),
        ):
            end = self.call(**args)  # type: ignore[arg-type]
            self.assertEqual(end.heard()[0].json["code"], code, args)
        self.assertEqual(self.upstreams(), [])

    def test_body_rule_is_the_routes(self) -> None:
        self.load(own={"max_body": 3})
        for method, data, code in (
            ("POST", b"abcd", "body_too_large"),
            ("GET", b"a", "bad_request"),
        ):
            end = self.oap()
            args = {"facet": "own", "method": method, "path": "/v1/x"}
            end.send(start(1, Profile.CUSTOM, "call", args, ended=False))
            end.send(body(1, data, app=Profile.CUSTOM, ended=True))
            self.assertEqual(end.heard()[-1].json["code"], code)
