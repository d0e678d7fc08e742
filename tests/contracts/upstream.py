"""What every IUpstream promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from micronode.errors import ErrorCode, NodeError
from micronode.http.body import BytesBody
from micronode.interfaces import IUpstream
from tests.support.owners import StubReply
from tests.support.policy import READ, WRITE, call_of


class UpstreamContract:
    """Subclasses have ``make_upstream(reply)``: a new one whose service answers with *reply*; and ``sent()``.

    That returns what the service was sent: method, target, fields and body.
    """

    def send(self, reply: StubReply | NodeError, body: BytesBody | None = None) -> Deferred[Any]:
        case: Any = self
        upstream = case.make_upstream(reply)
        verifyObject(IUpstream, upstream)
        method, call = (b"GET", call_of(READ)) if body is None else (b"POST", call_of(WRITE))
        waiting: Deferred[Any] = upstream.send(call, method, b"/x?y", [(b"x-a", b"1")], body)
        return waiting

    def test_passes_it_on(self) -> None:
        case: Any = self
        for body in (None, BytesBody(b"abc")):
            case.successResultOf(self.send(StubReply(), body))
            method, target, fields, sent = case.sent()
            case.assertEqual((method, target), (b"GET" if body is None else b"POST", b"/x?y"))
            case.assertIn((b"x-a", b"1"), fields)
            case.assertIs(sent, body)

    def test_any_status_is_an_answer(self) -> None:
        case: Any = self
        for status in (200, 304, 404, 500):
            reply = StubReply(status)
            case.assertIs(case.successResultOf(self.send(reply)), reply)

    def test_who_cannot_be_asked(self) -> None:
        case: Any = self
        waiting = self.send(NodeError(ErrorCode.OWNER_UNAVAILABLE, "down", retry_after_s=1.0))
        error = case.failureResultOf(waiting, NodeError).value
        case.assertIs(error.code, ErrorCode.OWNER_UNAVAILABLE)
