"""A node and a real policy owner: what it decides, and what becomes of calls while it does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from blake3 import blake3
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from micronode import Config, make_node
from micronode.facets.cid import make_cid
from micronode.oap.client import OAPError, connect
from micronode.oap.wire.profiles import Profile
from tests.integration.test_owner_services import Owners
from tests.support.measures import sample

BANNED = "ba" * 16
RULES = f"""
[default]
ttl_s = 0

[[rule]]
name = "banned"
tenant = "{BANNED}"
action = "deny"
reason = "ask the office"
ttl_s = 0

[[rule]]
name = "no graph"
facet = "graph"
action = "deny"
reason = "ask the office"
ttl_s = 0

[[rule]]
name = "small uploads"
facet = "media"
op = "put"
action = "allow"
max_bytes = 1000
ttl_s = 0

[[rule]]
name = "no listening"
op = "subscribe"
action = "deny"
ttl_s = 0
"""


class PolicyCase(TestCase):
    timeout = 60

    async def start(self, *words: str, **policy: str) -> None:
        """Start owners, started with *words*, and a node that asks them."""
        # Only what it cannot do without is shared with other tests: that class wants no more of a case.
        self.owners = Owners(self, *words)  # type: ignore[arg-type]
        self.node = make_node(self.config(**policy), reactor)
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    def config(self, **policy: str) -> Config:
        loopback = {"listen": "127.0.0.1:0"}
        owners: dict[str, Any] = {name: {"url": url} for name, url in self.owners.urls.items()}
        owners["policy"].update(policy)
        return Config.from_mapping(
            {
                **dict.fromkeys(("http", "admin", "oap"), loopback),
                "owners": owners,
                "facets": {"media": {"enabled": True}},
                "drain": {"grace": "0s"},
            }
        )

    async def http(
        self, path: str, body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> tuple[int, Any, str | None]:
        """Return status, JSON and Retry-After of a request; with *body* it is a POST."""
        url = f"http://{self.node.addresses['http']}{path}".encode()
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        headers = Headers({name: [value] for name, value in (fields or {}).items()})
        method = b"GET" if body is None else b"POST"
        response = await Agent(reactor).request(method, url, headers, producer)
        (retry_after,) = response.headers.getRawHeaders("retry-after", [None])
        data = await readBody(response)
        return response.code, json.loads(data) if data.startswith(b"{") else data, retry_after

    async def oap(self, profile: Profile, op: str, args: dict[str, Any], **more: Any) -> OAPError | bytes:
        """Return the body of the answer, or how it failed."""
        client = await connect(reactor, f"oap://{self.node.addresses['oap']}")
        try:
            answer = await client.call(profile, op, args, **more)
            return await answer.read(100_000)
        except OAPError as error:
            return error
        finally:
            await client.close()

    async def stop(self) -> None:
        """Stop the node; nothing of it is left, and nothing bad was logged."""
        await self.node.stopService()
        self.assertEqual(self.node._parts.owners.clients["policy"].inflight, 0)
        self.assertEqual(self.flushLoggedErrors(), [])


class RulesTests(PolicyCase):
    async def start_with(self, rules: str) -> None:
        self.file = Path(self.mktemp())
        self.file.write_text(rules)
        await self.start("--rules", str(self.file.resolve()))

    async def test_through_both_doors(self) -> None:
        await self.start_with(RULES)
        status, _, _ = await self.http("/app/search?q=hello")
        self.assertEqual(status, 200)
        self.assertIsInstance(await self.oap(Profile.SEARCH, "query", {"q": "hello"}), bytes)
        fields = {"x-tenant-id": BANNED}
        status, error, _ = await self.http("/app/search?q=hello", fields=fields)
        self.assertEqual((status, error["code"]), (403, "forbidden"))
        self.assertEqual(error["message"], "policy rule 'banned' forbids this: ask the office")
        status, error, _ = await self.http("/app/graph/neighbors/hello.md")
        self.assertEqual((status, error["code"], error["retryable"]), (403, "forbidden", False))
        failed = await self.oap(Profile.GRAPH, "neighbors", {"node": "hello.md"})
        assert isinstance(failed, OAPError)
        self.assertEqual((failed.code, failed.name), (403, "forbidden"))
        self.assertIn(error["message"], str(failed))
        await self.stop()

    async def test_a_body_that_is_too_long(self) -> None:
        """Nothing of it is stored."""
        await self.start_with(RULES)
        good, long = b"g" * 1000, b"b" * 1001
        status, said, _ = await self.http("/app/media", good)
        self.assertEqual((status, said["cid"]), (201, make_cid(blake3(good).digest())))
        status, error, _ = await self.http("/app/media", long)
        self.assertEqual((status, error["code"]), (413, "body_too_large"))
        self.assertIsInstance(await self.oap(Profile.MEDIA, "put", {}, body=good), bytes)
        failed = await self.oap(Profile.MEDIA, "put", {}, body=b"b" * 300_000)
        assert isinstance(failed, OAPError)
        self.assertEqual((failed.code, failed.name), (413, "body_too_large"))
        for data in (long, long[:1000], b"b" * 300_000):
            status, _, _ = await self.http(f"/app/media/{make_cid(blake3(data).digest())}")
            self.assertEqual(status, 404)
        await self.stop()

    async def test_a_subscription(self) -> None:
        await self.start_with(RULES)
        status, error, _ = await self.http("/app/feed/topic/events")
        self.assertEqual((status, error["code"]), (403, "forbidden"))
        client = await connect(reactor, f"oap://{self.node.addresses['oap']}")
        with self.assertRaises(OAPError) as refused:
            async for _ in client.subscribe("topic"):
                self.fail("it was refused")
        self.assertEqual(refused.exception.name, "forbidden")
        await client.close()
        await self.stop()

    async def test_other_rules_count_after_their_time(self) -> None:
        await self.start_with(RULES)
        self.file.write_text("[default]\naction = 'deny'\nreason = 'closed'\nttl_s = 300\n")
        status, error, _ = await self.http("/app/search?q=hello")
        self.assertEqual((status, error["message"]), (403, "policy rule 'default' forbids this: closed"))
        self.file.write_text("")
        status, _, _ = await self.http("/app/search?q=hello")
        self.assertEqual(status, 403, "that was to hold for longer")
        status, _, _ = await self.http("/app/search?q=hello", fields={"x-tenant-id": BANNED})
        self.assertEqual(status, 200, "another question")
        await self.stop()


class FaultTests(PolicyCase):
    """Of the policy owner: a 503 by both doors, never a 500, and other answers by ``fail``."""

    async def check(self, fault: str) -> None:
        await self.start("--fault", f"policy={fault}")
        status, error, retry_after = await self.http("/app/search?q=hello")
        self.assertEqual((status, error["code"]), (503, "owner_unavailable"), error)
        self.assertIsNotNone(retry_after)
        self.assertNotIn("127.0.0.1", error["message"])
        failed = await self.oap(Profile.SEARCH, "query", {"q": "hello"})
        assert isinstance(failed, OAPError)
        self.assertEqual((failed.code, failed.name), (503, "owner_unavailable"))
        self.assertIn("policy", self.node.probes.readyz()[1]["degraded"])
        for fail, answers in (("reads-open", (200, 503)), ("open", (200, 201))):
            outcome = await self.node.reload(self.config(fail=fail))
            self.assertEqual(outcome.outcome, "applied")
            statuses = [
                (await self.http(path, body))[0]
                for path, body in (("/app/search?q=hello", None), ("/app/media", b"x"))
            ]
            self.assertEqual(tuple(statuses), answers, fail)
            self.assertIn("policy", self.node.probes.readyz()[1]["degraded"])
        await self.stop()

    async def test_stall(self) -> None:
        await self.check("stall")

    async def test_refuse(self) -> None:
        await self.check("refuse")

    async def test_bad_json(self) -> None:
        await self.check("bad-json")

    async def test_its_breaker_opens_and_no_gate_is_held(self) -> None:
        await self.start("--fault", "policy=stall")
        asked: list[Deferred[Any]] = []
        for number in range(20):
            tenant = {"x-tenant-id": f"{number:032x}"}
            asked.append(Deferred.fromCoroutine(self.http("/app/search?q=x", fields=tenant)))
        found = await gatherResults(asked)
        self.assertEqual({status for status, _, _ in found}, {503})
        self.assertEqual(sample(self.node.metrics, "owner_breaker_open", owner="policy"), 1)
        gates = self.node.status.as_dict()["gates"]
        self.assertEqual({each["in_use"] for each in gates}, {0})
        await self.stop()
