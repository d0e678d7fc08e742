"""micronode.facets.media."""

from __future__ import annotations

from typing import Any

from blake3 import blake3
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import Reply
from micronode.calls.operations import Access, BodyRule
from micronode.errors import ErrorCode, NodeError
from micronode.facets.media import MediaFacet
from micronode.interfaces import IFacet
from tests.adapters.test_owner import SpyBody
from tests.contracts.facet import FacetContract
from tests.support.calls import make_call, operation_of
from tests.support.measures import make_metrics, sample
from tests.support.owners import StubReply, StubStorageOwner
from tests.support.sinks import MemorySink

BODY = b"hello world"
HEX = blake3(BODY).hexdigest()
CID, TAG = f"b3:{HEX}", f'"{HEX}"'


class MediaFacetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.storage = StubStorageOwner(StubReply(200, BODY, content_type="image/png"))
        metrics = make_metrics()
        self.mismatches = lambda: sample(metrics, "integrity_failure_total", stage="put")
        self.facet = MediaFacet(self.storage, max_object=1000, mismatches=metrics.integrity_failures("put"))

    def answer(self, status: int, body: bytes = b"", **fields: Any) -> StubReply:
        self.storage.reply = reply = StubReply(status, body, **fields)
        return reply

    def run_op(self, op: str, args: dict[str, Any], **fields: Any) -> Deferred[Reply]:
        operation = operation_of(self.facet, op)
        return Deferred.fromCoroutine(operation.handler(make_call(operation, args, **fields)))

    def get(self, **args: Any) -> Reply:
        return self.successResultOf(self.run_op("get", {"cid": CID, **args}))

    def refused(self, op: str, args: dict[str, Any], code: ErrorCode) -> NodeError:
        error = self.failureResultOf(self.run_op(op, args), NodeError).value
        self.assertIs(error.code, code)
        return error

    def asked(self) -> dict[str, Any]:
        return self.storage.calls.pop()[1]

    def test_declarations(self) -> None:
        verifyObject(IFacet, self.facet)
        get, head, put = self.facet.operations()
        self.assertEqual((get.method, get.path, get.op), ("GET", "/app/media/{cid}", "get"))
        self.assertEqual((head.method, head.path, head.op), ("HEAD", "/app/media/{cid}", "head"))
        self.assertEqual((put.method, put.path, put.op), ("POST", "/app/media", "put"))
        self.assertEqual([each.access for each in (get, head, put)], [Access.READ, Access.READ, Access.WRITE])
        self.assertEqual((put.body, put.max_body, get.body), (BodyRule.STREAMED, 1000, BodyRule.NONE))
        self.assertEqual({each.profile for each in (get, head, put)}, {0x0101})
        headers = {argument.header for each in (get, put) for argument in each.arguments}
        self.assertEqual(headers, {None, "range", "if-range", "if-none-match", "content-type"})

    # Whole objects

    def test_whole_object_is_checked(self) -> None:
        reply = self.get()
        self.assertEqual(self.asked(), {"cid": CID, "byte_range": None, "if_none_match": None})
        head = reply.head
        self.assertEqual((head.status, head.content_type, head.length), (200, "image/png", len(BODY)))
        self.assertEqual((head.etag, head.range, head.verified), (TAG, None, True))
        self.assertEqual(
            dict(head.headers),
            {"accept-ranges": "bytes", "content-security-policy": "sandbox", "x-micronode-verified": "true"},
        )
        sink = MemorySink()
        self.successResultOf(reply.body.relay(head, sink))
        self.assertEqual(sink.body, BODY)

    def test_object_of_other_bytes(self) -> None:
        self.answer(200, b"hello w0rld")
        reply = self.get()
        sink = MemorySink()
        error = self.failureResultOf(reply.body.relay(reply.head, sink), NodeError).value
        self.assertIs(error.code, ErrorCode.INTEGRITY_FAILED)
        self.assertFalse(sink.started)

    def test_what_a_browser_may_show(self) -> None:
        for content_type, shown in (
            ("image/svg+xml", True),
            ("audio/ogg", True),
            ("Video/MP4", True),
            ("text/plain", True),
            ("text/plain; charset=utf-8", True),
            ("text/plainish", False),
            ("text/html", False),
            ("application/octet-stream", False),
            ("application/image/png", False),
        ):
            self.answer(200, BODY, content_type=content_type)
            headers = dict(self.get().head.headers)
            self.assertEqual(
                headers.get("content-disposition"), None if shown else "attachment", content_type
            )
            self.assertEqual(headers["content-security-policy"], "sandbox")

    def test_type_that_is_none(self) -> None:
        for fields in ({}, {"content_type": "nonsense"}, {"content_type": "a/b\u0000"}, {"content_type": ""}):
            self.answer(200, BODY, **fields)
            self.assertEqual(self.get().head.content_type, "application/octet-stream")

    def test_malformed_address(self) -> None:
        for op in ("get", "head"):
            self.refused(op, {"cid": "b3:xyz"}, ErrorCode.BAD_REQUEST)
        self.assertEqual(self.storage.calls, [])

    def test_refusals(self) -> None:
        for status, code in (
            (404, ErrorCode.NOT_FOUND),
            (500, ErrorCode.BAD_GATEWAY),
            (206, ErrorCode.BAD_GATEWAY),
            (304, ErrorCode.BAD_GATEWAY),
            (416, ErrorCode.BAD_GATEWAY),
            (503, ErrorCode.OWNER_UNAVAILABLE),
        ):
            for op in ("get", "head"):
                reply = self.answer(status, b"secret")
                self.assertNotIn("secret", self.refused(op, {"cid": CID}, code).message)
                self.assertTrue(reply.dropped)

    # Ranges

    def test_range_is_not_checked_and_says_so(self) -> None:
        part = self.answer(206, BODY[:5], content_type="text/plain", content_range="bytes 0-4/11")
        reply = self.get(range="bytes=0-4")
        self.assertEqual(self.asked()["byte_range"], "bytes=0-4")
        head = reply.head
        self.assertEqual((head.status, head.range, head.length), (206, "bytes 0-4/11", 5))
        self.assertEqual((head.verified, head.etag), (False, TAG))
        self.assertEqual(dict(head.headers)["x-micronode-verified"], "false")
        self.assertIs(reply.body, part)

    def test_ignored_range_is_the_whole_object(self) -> None:
        for text in ("bytes=5-4", "bytes=0-1,4-5", "lines=1-2", "nonsense\r\nX: y"):
            reply = self.get(range=text)
            self.assertIsNone(self.asked()["byte_range"])
            self.assertEqual((reply.head.status, reply.head.verified), (200, True))

    def test_owner_that_ignores_the_range(self) -> None:
        reply = self.get(range="bytes=0-4")
        self.assertEqual((reply.head.status, reply.head.verified), (200, True))

    def test_owner_that_answers_another_range(self) -> None:
        for given in ({}, {"content_range": "bytes 1-5/11"}, {"content_range": "bytes 0-3/11"}):
            reply = self.answer(206, BODY[:5], **given)
            self.refused("get", {"cid": CID, "range": "bytes=0-4"}, ErrorCode.BAD_GATEWAY)
            self.assertTrue(reply.dropped)

    def test_range_outside_the_object(self) -> None:
        reply = self.answer(416, b"", content_range="bytes */11")
        error = self.refused("get", {"cid": CID, "range": "bytes=20-"}, ErrorCode.RANGE_NOT_SATISFIABLE)
        self.assertIn("11 bytes", error.message)
        self.assertEqual(error.headers, (("Content-Range", "bytes */11"),))
        self.assertTrue(reply.dropped)
        self.answer(416, b"")
        self.refused("get", {"cid": CID, "range": "bytes=20-"}, ErrorCode.RANGE_NOT_SATISFIABLE)

    def test_if_range(self) -> None:
        for tag, counts in ((TAG, True), ('"other"', False), (f"W/{TAG}", False)):
            self.get(range="bytes=0-4", if_range=tag)
            self.assertEqual(self.asked()["byte_range"], "bytes=0-4" if counts else None)

    # Entity tags

    def test_not_modified(self) -> None:
        for op in ("get", "head"):
            reply304 = self.answer(304)
            operation = self.run_op(op, {"cid": CID, "if_none_match": f'"x", W/{TAG}'})
            reply = self.successResultOf(operation)
            self.assertEqual(self.asked()["if_none_match"], TAG)
            self.assertEqual((reply.head.status, reply.head.etag, reply.head.length), (304, TAG, None))
            self.assertIsNone(reply.body)
            self.assertTrue(reply304.dropped)

    def test_other_tags_stay_here(self) -> None:
        self.get(if_none_match='"other"\r\nX: y')
        self.assertIsNone(self.asked()["if_none_match"])

    # Head

    def test_head(self) -> None:
        self.answer(200, length=123, content_type="text/html")
        reply = self.successResultOf(self.run_op("head", {"cid": CID}))
        self.assertIsNone(reply.body)
        head = reply.head
        self.assertEqual((head.status, head.length, head.etag, head.verified), (200, 123, TAG, None))
        self.assertEqual(dict(head.headers)["content-disposition"], "attachment")
        self.assertNotIn("x-micronode-verified", dict(head.headers))

    # Put

    def put(self, *pieces: bytes, **args: Any) -> Deferred[Reply]:
        """Put a body of *pieces*, which the owner takes whole before it answers."""
        body = SpyBody()
        self.wire = StringTransport()
        self.storage.waiting = waiting = Deferred[None]()
        putting = self.run_op("put", args, body=body)
        sending = self.storage.calls[-1][1]["body"].startProducing(self.wire)
        for piece in pieces:
            body.consumer.write(piece)
        body.done.callback(None)
        self.successResultOf(sending)
        waiting.callback(None)
        return putting

    def put_fails(self, code: ErrorCode) -> NodeError:
        error = self.failureResultOf(self.put(BODY), NodeError).value
        self.assertIs(error.code, code)
        self.assertEqual(error.source, "storage")
        return error

    def test_put(self) -> None:
        for status, said in ((200, f'{{ "cid":"{CID}", "new": true }}'), (201, f'{{"cid":"{CID}"}}')):
            self.answer(status, said.encode(), content_type="application/json")
            reply = self.successResultOf(self.put(b"hello ", b"world", content_type="text/x-rst"))
            self.assertEqual(self.asked()["content_type"], "text/x-rst")
            self.assertEqual(self.wire.value(), BODY)
            head = reply.head
            self.assertEqual(
                (head.status, head.content_type, head.length), (201, "application/json", len(said))
            )
            sink = MemorySink()
            self.successResultOf(reply.body.relay(head, sink))
            self.assertEqual(sink.body, said.encode())
        self.assertEqual(self.mismatches(), 0)

    def test_put_of_nothing(self) -> None:
        self.answer(201, f'{{"cid":"b3:{blake3(b"").hexdigest()}"}}'.encode())
        self.successResultOf(self.run_op("put", {}))
        self.assertEqual(self.asked()["body"].length, 0)

    def test_put_that_became_another_object(self) -> None:
        other = blake3(b"other").hexdigest()
        self.answer(201, f'{{"cid":"b3:{other}"}}'.encode())
        self.assertNotIn(other, self.put_fails(ErrorCode.INTEGRITY_FAILED).message)
        self.assertEqual(self.mismatches(), 1)

    def test_put_whose_answer_has_no_address(self) -> None:
        for said in (
            "",
            "{}",
            "[]",
            "nonsense",
            '{"cid":null}',
            '{"cid":7}',
            f'{{"cid":"{CID}x"}}',
            f'{{"cid":"{CID.upper()}"}}',
            f'{{"cid":"{CID}","cid":"{CID}"}}',
            "[" * 60_000,
            f'{{"cid":"{CID}","x":"{"x" * 65_536}"}}',
        ):
            self.answer(201, said.encode(), content_type="application/json")
            body = SpyBody()
            error = self.failureResultOf(self.run_op("put", {}, body=body), NodeError).value
            self.assertIs(error.code, ErrorCode.BAD_GATEWAY, said[:80])
        self.assertEqual(self.mismatches(), 0)

    def test_put_whose_answer_says_much(self) -> None:
        self.answer(201, f'{{"cid":"{CID}","x":"{"x" * 60_000}"}}'.encode())
        self.successResultOf(self.put(BODY))

    def test_put_without_a_type(self) -> None:
        self.answer(201, f'{{"cid":"{CID}"}}'.encode())
        self.successResultOf(self.put(BODY))
        self.assertEqual(self.asked()["content_type"], "application/octet-stream")

    def test_put_of_a_type_that_is_none(self) -> None:
        for text in ("text", "text/plain\r\nX: y", "téxt/plain", "a/b;\u0001"):
            self.refused("put", {"content_type": text}, ErrorCode.BAD_REQUEST)
        self.assertEqual(self.storage.calls, [])

    def test_put_of_too_much(self) -> None:
        self.answer(413, b"secret")
        self.assertNotIn("secret", self.refused("put", {}, ErrorCode.BODY_TOO_LARGE).message)


class ContractTests(FacetContract, SynchronousTestCase):
    def make_facet(self) -> MediaFacet:
        return MediaFacet(StubStorageOwner(StubReply()), max_object=1000, mismatches=None)
