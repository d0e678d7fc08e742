"""micronode.facets.objects, alone and under the media facet."""

from __future__ import annotations

from typing import Any

from blake3 import blake3
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode, NodeError
from micronode.facets.media import MediaFacet
from micronode.facets.objects import Overlay
from tests.support.calls import make_call, operation_of
from tests.support.measures import make_metrics
from tests.support.owners import StubReply, StubStorageOwner
from tests.support.sinks import MemorySink

BODY = b"hello world"
HEX = blake3(BODY).hexdigest()
CID, TAG = f"b3:{HEX}", f'"{HEX}"'


class FindObjectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.storage = StubStorageOwner(StubReply(404, b"{}"))
        self.overlay = StubStorageOwner(StubReply(200, BODY, content_type="text/plain"))
        self.facet = MediaFacet(
            self.storage,
            max_object=1000,
            mismatches=make_metrics().integrity_failures("put"),
            overlay=Overlay(owner=self.overlay, timeout_s=5.0, seconds=self.clock.seconds),
        )

    def ask(self, op: str = "get", *, deadline_s: float | None = None, **args: Any) -> Deferred[Any]:
        operation = operation_of(self.facet, op)
        call = make_call(operation, {"cid": CID, **args}, deadline_s=deadline_s)
        return Deferred.fromCoroutine(operation.handler(call))

    def refused(self, op: str, code: ErrorCode, **args: Any) -> NodeError:
        error = self.failureResultOf(self.ask(op, **args), NodeError).value
        self.assertIs(error.code, code)
        return error

    def test_an_object_that_storage_lacks(self) -> None:
        reply = self.successResultOf(self.ask())
        self.assertTrue(self.storage.reply.dropped)
        asked = {"cid": CID, "byte_range": None, "if_none_match": None}
        self.assertEqual(self.overlay.calls, [("get", asked)])
        head = reply.head
        self.assertEqual((head.status, head.etag, head.length, head.verified), (200, TAG, len(BODY), True))
        sink = MemorySink()
        self.successResultOf(reply.body.relay(head, sink))
        self.assertEqual(sink.body, BODY)

    def test_its_bytes_are_checked(self) -> None:
        self.overlay.reply = StubReply(200, b"hello worlt")
        reply = self.successResultOf(self.ask())
        error = self.failureResultOf(reply.body.relay(reply.head, MemorySink()), NodeError).value
        self.assertIs(error.code, ErrorCode.INTEGRITY_FAILED)

    def test_head(self) -> None:
        head = self.successResultOf(self.ask("head")).head
        self.assertEqual((head.status, head.etag, head.length, head.verified), (200, TAG, len(BODY), None))
        self.assertEqual(self.overlay.calls, [("head", {"cid": CID, "if_none_match": None})])
        self.assertTrue(self.overlay.reply.dropped)

    def test_one_range(self) -> None:
        self.overlay.reply = StubReply(206, BODY[:5], content_range="bytes 0-4/11")
        head = self.successResultOf(self.ask(range="bytes=0-4")).head
        self.assertEqual((head.status, head.range, head.verified), (206, "bytes 0-4/11", False))
        self.assertEqual(self.overlay.calls[0][1]["byte_range"], "bytes=0-4")

    def test_another_range(self) -> None:
        self.overlay.reply = StubReply(206, BODY[:5], content_range="bytes 1-5/11")
        self.assertEqual(self.refused("get", ErrorCode.BAD_GATEWAY, range="bytes=0-4").source, "overlay")

    def test_a_range_that_there_is_not(self) -> None:
        self.overlay.reply = StubReply(416, content_range="bytes */11")
        error = self.refused("get", ErrorCode.RANGE_NOT_SATISFIABLE, range="bytes=20-")
        self.assertEqual((error.source, error.headers), ("overlay", (("Content-Range", "bytes */11"),)))

    def test_not_modified(self) -> None:
        for op in ("get", "head"):
            self.overlay.reply = StubReply(304)
            head = self.successResultOf(self.ask(op, if_none_match=TAG)).head
            self.assertEqual((head.status, head.etag), (304, TAG))
            self.assertEqual(self.overlay.calls.pop()[1]["if_none_match"], TAG)

    def test_nobody_has_it(self) -> None:
        self.overlay.reply = StubReply(404, b"{}")
        for op in ("get", "head"):
            self.refused(op, ErrorCode.NOT_FOUND)
        self.assertTrue(self.overlay.reply.dropped)

    def test_who_cannot_be_asked_has_the_word(self) -> None:
        """Not found would be a lie."""
        for code in (ErrorCode.OWNER_UNAVAILABLE, ErrorCode.OWNER_TIMEOUT, ErrorCode.BAD_GATEWAY):
            self.overlay.reply = NodeError(code, "no", retry_after_s=1.0, source="overlay")
            for op in ("get", "head"):
                self.assertEqual(self.refused(op, code).source, "overlay")
        self.overlay.reply = StubReply(500, b"secret")
        self.assertEqual(self.refused("get", ErrorCode.BAD_GATEWAY).source, "overlay")
        self.overlay.reply = StubReply(503, retry_after="7")
        error = self.refused("get", ErrorCode.OWNER_UNAVAILABLE)
        self.assertEqual((error.source, error.retry_after_s), ("overlay", 7.0))

    def test_only_what_storage_lacks_is_asked_for(self) -> None:
        for reply in (
            StubReply(200, BODY),
            StubReply(410),
            StubReply(500),
            StubReply(503),
            NodeError(ErrorCode.OWNER_UNAVAILABLE, "down", retry_after_s=1.0),
            NodeError(ErrorCode.OWNER_TIMEOUT, "slow", retry_after_s=1.0),
        ):
            self.storage.reply = reply
            for op in ("get", "head"):
                self.ask(op).addErrback(lambda failure: failure.trap(NodeError))
        self.assertEqual(self.overlay.calls, [])

    def test_without_an_overlay(self) -> None:
        self.facet = MediaFacet(self.storage, max_object=1, mismatches=None)
        self.assertEqual(self.refused("get", ErrorCode.NOT_FOUND).source, "storage")

    def test_nothing_is_put_there(self) -> None:
        self.storage.reply = StubReply(404, b"{}")
        operation = operation_of(self.facet, "put")
        putting = Deferred.fromCoroutine(operation.handler(make_call(operation, {})))
        self.assertIs(self.failureResultOf(putting, NodeError).value.code, ErrorCode.NOT_FOUND)
        self.assertEqual(self.overlay.calls, [])

    # Time

    def time_of_the_overlay(self, took_s: float, deadline_s: float | None) -> float:
        """Return the seconds that the overlay has when storage took some of them."""
        seen: list[float | None] = []
        get = self.overlay.get

        def spy(call: Any, cid: str, **asked: Any) -> Any:
            seen.append(call.deadline_s)
            return get(call, cid, **asked)

        self.overlay.get = spy  # type: ignore[method-assign]
        self.storage.waiting = waiting = Deferred[None]()
        asked = self.ask(deadline_s=deadline_s)
        self.clock.advance(took_s)
        waiting.callback(None)
        self.successResultOf(asked)
        self.overlay.get = get  # type: ignore[method-assign]
        (left_s,) = seen
        assert left_s is not None
        return left_s

    def test_both_share_the_timeout(self) -> None:
        self.assertAlmostEqual(self.time_of_the_overlay(2.0, None), 3.0)
        self.assertAlmostEqual(self.time_of_the_overlay(2.0, 2.5), 0.5)
        self.assertAlmostEqual(self.time_of_the_overlay(2.0, 60.0), 3.0)

    def test_cancelling(self) -> None:
        gone: list[str] = []
        for owner, name in ((self.storage, "storage"), (self.overlay, "overlay")):
            owner.waiting = Deferred(lambda _, name=name: gone.append(name))
            asked = self.ask()
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.assertEqual(gone.pop(), name)
