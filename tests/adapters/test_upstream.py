"""micronode.adapters.upstream: what a service of the user's own is sent, on the wire."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.adapters.upstream import UpstreamClient
from micronode.calls.call import Ingress
from micronode.errors import NodeError
from micronode.http.body import BytesBody
from micronode.interfaces import IUpstream
from tests.contracts.upstream import UpstreamContract
from tests.support.custom import AUTHORITY, CustomNode
from tests.support.network import response
from tests.support.owners import StubOwnerClient, StubReply


def call(method: str, path: str, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"facet": "own", "method": method, "path": path, "headers": named}


class UpstreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = CustomNode()

    def lines(self) -> list[str]:
        head, end, body = self.node.heard().partition(b"\r\n\r\n")
        self.assertEqual((end, body), (b"\r\n\r\n", b""))
        return head.decode("ascii").split("\r\n")

    def test_interface(self) -> None:
        verifyObject(IUpstream, UpstreamClient(self.node.client))

    def test_request(self) -> None:
        self.node.oap(call("GET", "/a%20b?c=%zz", accept="x", accept_encoding="br", host="evil"))
        self.assertEqual(
            self.lines(),
            [
                "GET /a%20b?c=%zz HTTP/1.1",
                f"Host: {AUTHORITY}",
                "accept: x",
                "accept-encoding: br",
                "x-forwarded-for: 192.0.2.7",
                "x-request-id: r-1",
                "x-micronode-deadline-ms: 5000",
            ],
        )

    def test_on_whose_behalf(self) -> None:
        self.node.oap(
            call("GET", "/", x_micronode_tenant="evil", traceparent="evil"),
            ingress=Ingress.HTTP,
            tenant=bytes(15) + b"\1",
            token_id="f" * 32,
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        )
        lines = self.lines()
        self.assertIn("accept-encoding: identity", lines)
        self.assertIn("traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01", lines)
        self.assertIn("x-micronode-tenant: " + "0" * 31 + "1", lines)
        self.assertIn("x-micronode-token-id: " + "f" * 32, lines)
        self.assertNotIn("evil", " ".join(lines))

    def test_body(self) -> None:
        self.node.oap(call("POST", "/x", content_length="99"), body=BytesBody(b"abc"))
        sent = self.node.heard()
        self.assertEqual(sent.lower().count(b"content-length"), 1)
        self.assertIn(b"\r\nContent-Length: 3\r\n", sent)
        self.assertTrue(sent.endswith(b"\r\n\r\nabc"))

    def test_only_reads_are_asked_twice(self) -> None:
        for method, again in (("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False)):
            node = CustomNode()
            called = node.oap(call(method, "/v1/x"), body=BytesBody(b"") if not again else None)
            called.addErrback(lambda _: None)
            node.network.serve().hang_up(cleanly=False)
            node.network.reactor.advance(1.0)
            self.assertEqual(node.network.connects, 2 if again else 1, method)
            called.cancel()

    def test_answer(self) -> None:
        called = self.node.oap(call("GET", "/"))
        end = self.node.network.serve()
        data = response(b"abc", "Connection: x-hop", "X-Hop: 1", "Set-Cookie: a=b", "Link: a", "Link: b")
        end.send(data.replace(b"\r\nLink: a", b"\r\nX-A: \xe9\r\nLink: a"))
        reply = self.successResultOf(called)
        self.assertEqual(reply.head.status, 200)
        self.assertEqual(reply.head.headers, (("x-a", "\udce9"), ("link", "a"), ("link", "b")))
        reply.body.abort()


class ContractTests(UpstreamContract, SynchronousTestCase):
    def make_upstream(self, reply: StubReply | NodeError) -> UpstreamClient:
        self.owner = StubOwnerClient("own", reply)
        return UpstreamClient(self.owner)

    def sent(self) -> tuple[Any, ...]:
        made = self.owner.calls[-1]
        return made["method"], made["path"], made["headers"], made["body"]
