"""What every IReplyBody promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.interfaces import IReplyBody
from tests.support.sinks import MemorySink


class ReplyBodyContract:
    """Subclasses have ``make_body(data)``: a body that is *data*."""

    @property
    def case(self) -> Any:
        return self

    def test_relay(self) -> None:
        """Head and body reach the sink, which is finished; after that there is nothing to throw away."""
        for data in (b"", b"abc", bytes(100_000)):
            body, sink = self.case.make_body(data), MemorySink()
            verifyObject(IReplyBody, body)
            head = ResponseHead(status=200, content_type="text/x", length=len(data))
            self.case.assertIsNone(self.case.successResultOf(body.relay(head, sink)))
            self.case.assertEqual((sink.head, sink.body, sink.outcome), (head, data, "finished"))
            body.abort()
            self.case.assertEqual(sink.outcome, "finished")

    def test_throwing_it_away(self) -> None:
        body = self.case.make_body(b"abc")
        for _ in range(2):
            self.case.assertIsNone(body.abort())
