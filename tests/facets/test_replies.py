"""micronode.facets.replies: owners' statuses in the node's words."""

from __future__ import annotations

from typing import Any

from blake3 import blake3
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.facets.replies import HeldBody, json_reply, read_object, refusal
from micronode.interfaces import IReplyBody
from tests.contracts.reply_body import ReplyBodyContract
from tests.support.owners import StubReply
from tests.support.sinks import MemorySink


class RefusalTests(SynchronousTestCase):
    def test_table(self) -> None:
        for status, code in (
            (400, ErrorCode.BAD_REQUEST),
            (422, ErrorCode.BAD_REQUEST),
            (404, ErrorCode.NOT_FOUND),
            (409, ErrorCode.CONFLICT),
            (413, ErrorCode.BODY_TOO_LARGE),
            (429, ErrorCode.OWNER_UNAVAILABLE),
            (503, ErrorCode.OWNER_UNAVAILABLE),
            (500, ErrorCode.BAD_GATEWAY),
            (502, ErrorCode.BAD_GATEWAY),
            (504, ErrorCode.BAD_GATEWAY),
            (204, ErrorCode.BAD_GATEWAY),
            (206, ErrorCode.BAD_GATEWAY),
            (301, ErrorCode.BAD_GATEWAY),
            (304, ErrorCode.BAD_GATEWAY),
            (401, ErrorCode.BAD_GATEWAY),
            (416, ErrorCode.BAD_GATEWAY),
        ):
            reply = StubReply(status, b'{"message":"secret"}')
            error = refusal(reply, "index")
            self.assertIs(error.code, code, status)
            self.assertEqual(error.source, "index")
            self.assertNotIn("secret", error.message)
            self.assertTrue(reply.dropped)

    def test_own_words(self) -> None:
        messages = {ErrorCode.NOT_FOUND: "no such node"}
        self.assertEqual(refusal(StubReply(404), "index", messages).message, "no such node")
        self.assertNotEqual(refusal(StubReply(409), "index", messages).message, "no such node")

    def test_retry_after(self) -> None:
        for said, seconds in (
            ("7", 7.0),
            ("0", 1.0),
            ("999999999", 3600.0),
            ("-1", 1.0),
            ("soon", 1.0),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
        ):
            for status in (429, 503):
                error = refusal(StubReply(status, retry_after=said), "index")
                self.assertEqual(error.retry_after_s, seconds, said)
        self.assertEqual(refusal(StubReply(503), "index").retry_after_ms, 1000)
        self.assertIsNone(refusal(StubReply(500, retry_after="7"), "index").retry_after_s)


class JSONReplyTests(SynchronousTestCase):
    def test_status(self) -> None:
        reply = json_reply(StubReply(200, b"{}"), "storage")
        self.assertEqual((reply.head.status, reply.head.length), (200, 2))
        self.assertRaises(NodeError, json_reply, StubReply(201, b"{}"), "index")

    def test_what_is_no_json(self) -> None:
        for fields in (
            {"content_type": "text/html"},
            {"content_type": "application/json", "content_encoding": "gzip"},
        ):
            stub = StubReply(200, b"{}", **fields)
            error = self.assertRaises(NodeError, json_reply, stub, "index")
            self.assertIs(error.code, ErrorCode.BAD_GATEWAY)
            self.assertTrue(stub.dropped)

    def test_forms_of_the_type(self) -> None:
        for content_type in ("application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"):
            stub = StubReply(200, b"{}", content_type=content_type, content_encoding="identity")
            self.assertEqual(json_reply(stub, "index").head.content_type, "application/json")


class ReadObjectTests(SynchronousTestCase):
    def read(self, stub: StubReply) -> Deferred[tuple[dict[str, Any], bytes]]:
        return Deferred.fromCoroutine(read_object(stub, "storage", expected=(200, 201)))

    def refused(self, stub: StubReply, code: ErrorCode) -> None:
        error = self.failureResultOf(self.read(stub), NodeError).value
        self.assertIs(error.code, code)

    def test_object_and_bytes(self) -> None:
        for status in (200, 201):
            data = b'{ "a": 1 }'
            self.assertEqual(self.successResultOf(self.read(StubReply(status, data))), ({"a": 1}, data))

    def test_what_is_none(self) -> None:
        for body in (b"", b"[]", b"1", b"{", b'{"a":1,"a":2}', b"[" * 65_536, b"{" * 60_000, b"\xff"):
            self.refused(StubReply(200, body), ErrorCode.BAD_GATEWAY)
        self.refused(StubReply(200, b"{}", content_type="text/html"), ErrorCode.BAD_GATEWAY)
        self.refused(StubReply(204, b"{}"), ErrorCode.BAD_GATEWAY)
        self.refused(StubReply(404, b"{}"), ErrorCode.NOT_FOUND)

    def test_bound(self) -> None:
        whole = b'{"a":"%s"}' % (b"x" * (65_536 - 8))
        self.assertEqual(self.successResultOf(self.read(StubReply(200, whole)))[1], whole)
        self.refused(StubReply(200, whole + b" "), ErrorCode.BAD_GATEWAY)


class HeldBodyTests(SynchronousTestCase):
    def test_relay(self) -> None:
        body, sink, head = HeldBody(b"{}"), MemorySink(), ResponseHead(status=201, length=2)
        verifyObject(IReplyBody, body)
        self.successResultOf(body.relay(head, sink))
        self.assertEqual((sink.head, sink.body), (head, b"{}"))
        body.abort()


class HeldBodyContractTests(ReplyBodyContract, SynchronousTestCase):
    def make_body(self, data: bytes) -> HeldBody:
        return HeldBody(data)


class StubCheckedBodyTests(ReplyBodyContract, SynchronousTestCase):
    def make_body(self, data: bytes) -> IReplyBody:
        return StubReply(200, data).checked(blake3(data).digest())
