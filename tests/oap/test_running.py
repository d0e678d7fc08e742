"""The call behind a stream, when one of the two ends before the other. Its errors are in ``test_session``."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from tests.support.oap import Dispatched, StubNode, cancel, start


class RunningTests(SynchronousTestCase):
    def test_stream_that_ended_while_it_was_dispatched_is_cancelled(self) -> None:
        def refuse(dispatched: Dispatched) -> None:
            dispatched.sink.fail(NodeError(ErrorCode.BUSY, "no more"))

        node = StubNode(refuse)
        node.connect().send(start(1))
        self.assertTrue(node.calls[0].cancelled)

    def test_call_that_is_over_is_not_cancelled(self) -> None:
        node = StubNode(lambda dispatched: dispatched.answer(b"done"))
        end = node.connect()
        end.send(start(1), cancel(1))
        self.assertFalse(node.calls[0].cancelled)

    def test_call_that_ends_while_its_answer_waits_is_a_defect(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        call = node.calls[0]
        call.sink.start(ResponseHead())
        end.transport.fill()
        waits: Deferred[None] = call.sink.finish()
        call.over.callback(None)
        self.assertIsNone(self.successResultOf(waits))
        end.transport.drain()
        self.assertEqual([frame.json["code"] for frame in end.heard()], ["internal"])
