"""micronode.facets.custom: what a proxy passes on and back, and what an echo says."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.calls.call import Call, Ingress
from micronode.calls.operations import Access, BodyRule
from micronode.config.routes import Route
from micronode.errors import ErrorCode, NodeError
from micronode.facets.custom import MAX_ECHO_BYTES, CustomFacet, Forwarding, echo
from micronode.http.body import BytesBody
from micronode.interfaces import IFacet, IUpstream
from tests.contracts.facet import FacetContract
from tests.contracts.upstream import UpstreamContract
from tests.support.owners import StubReply
from tests.support.sinks import MemorySink

ROUTES = (
    Route("GET", "/{rest}", "read"),
    Route("HEAD", "/{rest}", "read"),
    Route("POST", "/{rest}", "write"),
    Route("DELETE", "/v1/{id}", "write"),
)


@implementer(IUpstream)
class StubUpstream:
    """Answers with :attr:`reply`, and keeps what it was sent."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.sent: list[tuple[Any, ...]] = []

    def send(self, call: Any, method: bytes, target: bytes, fields: Any, body: Any) -> Any:
        """See IUpstream."""
        self.sent.append((method, target, fields, body))
        return fail(self.reply) if isinstance(self.reply, NodeError) else succeed(self.reply)


class CustomCase(SynchronousTestCase):
    facet: CustomFacet

    def call(self, method: str = "GET", path: str = "/x?y", **fields: Any) -> Any:
        """Return the reply of one call."""
        headers = fields.pop("headers", {})
        args = {"facet": "own", "method": method, "path": path, "headers": headers}
        (operation,) = {each for each in self.facet.operations() if each.method == method}
        given = {"ingress": Ingress.OAP, "request_id": "r-1", "peer": "192.0.2.7"} | fields
        call = Call(operation=operation, args=operation.bind(args), **given)

        async def reply() -> Any:
            return await operation.handler(call)

        return Deferred.fromCoroutine(reply())


class ProxyTests(CustomCase):
    def setUp(self) -> None:
        self.reply = StubReply(200, b"abc")
        self.upstream = StubUpstream(self.reply)
        self.facet = CustomFacet(
            "own", ROUTES, Forwarding(self.upstream), pass_headers=("cookie",), max_body=10
        )

    def test_declaration(self) -> None:
        verifyObject(IFacet, self.facet)
        verifyObject(IUpstream, self.upstream)
        get, head, post, delete = self.facet.operations()
        self.assertEqual((get.name, get.path, get.profile), ("own.call", "/app/own/{rest}", 0x0501))
        self.assertEqual((get.access, get.body, get.idempotent), (Access.READ, BodyRule.NONE, True))
        self.assertEqual((head.method, head.body, head.max_body), ("HEAD", BodyRule.NONE, 0))
        self.assertEqual((post.access, post.body, post.max_body), (Access.WRITE, BodyRule.STREAMED, 10))
        self.assertEqual((delete.path, delete.body), ("/app/own/v1/{id}", BodyRule.STREAMED))
        self.assertFalse(post.idempotent)

    def test_what_the_service_gets(self) -> None:
        body = BytesBody(b"xyz")
        self.call("POST", "/a%20b?c", body=body, headers={"Cookie": "a=b", "Host": "evil", "X-Own": "1"})
        ((method, target, fields, sent),) = self.upstream.sent
        self.assertEqual((method, target, sent), (b"POST", b"/a%20b?c", body))
        expected = [(b"cookie", b"a=b"), (b"x-own", b"1"), (b"x-forwarded-for", b"192.0.2.7")]
        self.assertEqual(fields, expected)

    def test_what_it_is_told_of_a_caller_over_http(self) -> None:
        self.call(ingress=Ingress.HTTP)
        (*_, fields, body) = self.upstream.sent[0]
        self.assertIsNone(body)
        self.assertEqual(
            dict(fields),
            {
                b"x-forwarded-for": b"192.0.2.7",
                b"x-forwarded-proto": b"http",
                b"x-forwarded-prefix": b"/app/own",
            },
        )

    def test_a_unix_socket_has_no_address(self) -> None:
        self.call(peer="unix")
        self.assertEqual(self.upstream.sent[0][2], [])

    def test_bad_headers_are_refused(self) -> None:
        for headers in ({"a b": "x"}, {"a": "b\r\nc"}):
            error = self.failureResultOf(self.call(headers=headers), NodeError).value
            self.assertIs(error.code, ErrorCode.BAD_REQUEST)
        self.assertEqual(self.upstream.sent, [])

    def test_the_answer_whatever_its_status(self) -> None:
        for status in (200, 204, 302, 404, 418, 500, 503):
            self.upstream.reply = StubReply(
                status,
                b"abc",
                content_type="text/x",
                etag='"e"',
                content_range="bytes 0-2/9",
                location="http://10.0.0.9/y",
                set_cookie="a=b",
                x_own="1",
            )
            reply = self.successResultOf(self.call())
            head = reply.head
            self.assertEqual((head.status, head.length, head.content_type), (status, 3, "text/x"))
            self.assertEqual((head.etag, head.range), ('"e"', "bytes 0-2/9"))
            self.assertEqual(head.headers, (("location", "http://10.0.0.9/y"), ("x-own", "1")))
            sink = MemorySink()
            self.successResultOf(reply.body.relay(head, sink))
            self.assertEqual((sink.body, sink.outcome), (b"abc", "finished"))


class EchoTests(CustomCase):
    def setUp(self) -> None:
        self.facet = CustomFacet("own", ROUTES, echo, max_body=1 << 20)

    def told(self, *args: Any, **fields: Any) -> Any:
        reply = self.successResultOf(self.call(*args, **fields))
        sink = MemorySink()
        self.successResultOf(reply.body.relay(reply.head, sink))
        self.assertEqual((reply.head.status, reply.head.content_type), (200, "application/json"))
        self.assertEqual(reply.head.length, len(sink.body))
        return json.loads(sink.body)

    def test_says_what_a_service_would_be_sent(self) -> None:
        told = self.told("POST", "/a?b", body=BytesBody(b"h\xc3\xa9"), headers={"X-A": "\xe9", "Host": "x"})
        self.assertEqual(
            told,
            {
                "facet": "own",
                "method": "POST",
                "path": "/a?b",
                "headers": [["x-a", "\xe9"], ["x-forwarded-for", "192.0.2.7"]],
                "request_id": "r-1",
                "body_bytes": 3,
                "body": "hé",
            },
        )
        self.assertEqual((self.told()["body"], self.told()["body_bytes"]), ("", 0))

    def test_shows_no_body_that_is_long_or_no_text(self) -> None:
        for data in (b"\xff", b"x" * (MAX_ECHO_BYTES + 1)):
            told = self.told("POST", body=BytesBody(data))
            self.assertEqual((told["body"], told["body_bytes"]), (None, len(data)))
        whole = self.told("POST", body=BytesBody(b"x" * MAX_ECHO_BYTES))
        self.assertEqual(len(whole["body"]), MAX_ECHO_BYTES)


class ContractTests(FacetContract, SynchronousTestCase):
    def make_facet(self) -> CustomFacet:
        return CustomFacet("own", ROUTES, echo, max_body=10)


class StubUpstreamTests(UpstreamContract, CustomCase):
    def make_upstream(self, reply: Any) -> StubUpstream:
        self.upstream = StubUpstream(reply)
        return self.upstream

    def sent(self) -> tuple[Any, ...]:
        return self.upstream.sent[-1]
