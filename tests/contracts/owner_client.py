"""What every IOwnerClient promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from blake3 import blake3
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerClient, IOwnerReply, IReplyBody
from tests.contracts.reply_body import ReplyBodyContract
from tests.support.sinks import MemorySink


class OwnerClientContract(ReplyBodyContract):
    """Subclasses make the client and play the owner.

    ``make_client()`` returns a new IOwnerClient; ``answer(status, fields, body)`` lets its owner answer the
    call that waits, or the next one; ``refuse()`` likewise lets it be unreachable.
    """

    def ask(self, status: int, fields: dict[str, str], body: bytes, method: bytes = b"GET") -> IOwnerReply:
        case: Any = self
        client = case.make_client()
        return self._call(client, method, lambda: case.answer(status, fields, body))

    def make_body(self, data: bytes) -> IReplyBody:
        return self.ask(200, {}, data)

    def _call(self, client: Any, method: bytes, act: Any) -> Any:
        case: Any = self
        before = case.acts_before
        if before:
            act()
        called = client.call(method, b"/x", idempotent=False)
        if not before:
            act()
        return case.successResultOf(called)

    def test_interfaces(self) -> None:
        case: Any = self
        verifyObject(IOwnerClient, case.make_client())
        verifyObject(IOwnerReply, self.ask(200, {}, b"abc"))

    def test_any_status_is_a_reply(self) -> None:
        case: Any = self
        for status in (200, 302, 404, 500, 503):
            reply = self.ask(status, {"x-thing": "one"}, b"abc")
            case.assertEqual((reply.status, reply.length), (status, 3))
            case.assertEqual(reply.header("X-Thing"), "one")
            case.assertIsNone(reply.header("x-other"))
            reply.abort()

    def test_every_field_of_a_reply(self) -> None:
        case: Any = self
        reply = self.ask(200, {"x-thing": "one", "connection": "x-hop", "x-hop": "gone"}, b"abc")
        fields = dict(reply.headers())
        case.assertEqual(fields["x-thing"], "one")
        if not case.acts_before:
            case.assertFalse({"connection", "x-hop", "content-length"} & set(fields), fields)
        reply.abort()

    def test_unreachable(self) -> None:
        case: Any = self
        client = case.make_client()
        if case.acts_before:
            case.refuse()
        called: Deferred[Any] = client.call(b"GET", b"/x", idempotent=False)
        if not case.acts_before:
            case.refuse()
        error = case.failureResultOf(called, NodeError).value
        case.assertIs(error.code, ErrorCode.OWNER_UNAVAILABLE)
        case.assertIsNotNone(error.retry_after_ms)

    def test_read(self) -> None:
        case: Any = self
        case.assertEqual(case.successResultOf(self.ask(200, {}, b"abc").read(3)), b"abc")
        error = case.failureResultOf(self.ask(200, {}, b"abc").read(2), NodeError).value
        case.assertIs(error.code, ErrorCode.BAD_GATEWAY)

    def test_read_what_is_of_no_use(self) -> None:
        case: Any = self

        def refuse(data: bytes) -> None:
            raise NodeError(ErrorCode.BAD_GATEWAY, data.decode())

        reading = self.ask(200, {}, b"abc").read(3, within_s=1.0, check=refuse)
        case.assertEqual(case.failureResultOf(reading, NodeError).value.message, "abc")
        reading = self.ask(200, {}, b"abc").read(3, within_s=1.0, check=len)
        case.assertEqual(case.successResultOf(reading), b"abc")

    def test_relay(self) -> None:
        case: Any = self
        sink, head = MemorySink(), ResponseHead(status=201, length=3, content_type="text/plain")
        case.successResultOf(self.ask(200, {}, b"abc").relay(head, sink))
        case.assertEqual((sink.head, sink.body, sink.outcome), (head, b"abc", "finished"))

    def test_streamed_relay(self) -> None:
        case: Any = self
        sink, head = MemorySink(), ResponseHead(status=201, length=3, content_type="text/plain")
        case.successResultOf(self.ask(200, {}, b"abc").streamed().relay(head, sink))
        case.assertEqual((sink.head, sink.body, sink.outcome), (head, b"abc", "finished"))
        self.ask(200, {}, b"abc").streamed().abort()

    def test_checked_relay(self) -> None:
        case: Any = self
        good, bad = MemorySink(), MemorySink()
        head = ResponseHead(length=3)
        case.successResultOf(self.ask(200, {}, b"abc").checked(blake3(b"abc").digest()).relay(head, good))
        case.assertEqual((good.body, good.outcome), (b"abc", "finished"))
        relaying = self.ask(200, {}, b"abc").checked(blake3(b"abd").digest()).relay(head, bad)
        error = case.failureResultOf(relaying, NodeError).value
        case.assertIs(error.code, ErrorCode.INTEGRITY_FAILED)
        case.assertFalse(bad.started)

    def test_throwing_a_body_away(self) -> None:
        for _ in range(2):
            reply = self.ask(200, {}, b"abc")
            reply.discard()
            reply.discard()
            reply.abort()
            reply = self.ask(200, {}, b"abc")
            reply.abort()
            reply.abort()
            reply.checked(bytes(32)).abort()

    def test_probe(self) -> None:
        case: Any = self
        for status, state in ((200, "ok"), (503, "down")):
            client = case.make_client()
            if case.acts_before:
                case.answer(status, {}, b"{}")
            asked = client.probe(b"/readyz")
            if not case.acts_before:
                case.answer(status, {}, b"{}")
            case.assertEqual(case.successResultOf(asked), state)
