"""micronode.adapters.whole: an answer that came in one piece takes the short way, with the same end."""

from __future__ import annotations

from typing import Any

from blake3 import blake3
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerReply
from tests.support.clients import make_client
from tests.support.measures import make_metrics, sample
from tests.support.network import MemoryNetwork, OwnerEnd
from tests.support.sinks import MemorySink

JSON = b'{"a":1}'


class Broken(MemorySink):
    def start(self, head: ResponseHead) -> None:
        raise ZeroDivisionError


class RelayWholeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.metrics = make_metrics()

    def answered(self, answer: bytes, **changes: Any) -> tuple[OwnerEnd, IOwnerReply]:
        """Get a reply all of which came at once."""
        self.client = make_client(self.network, metrics=self.metrics, **changes)
        called = self.client.call(b"GET", b"/")
        end = self.network.accept()
        end.send(answer)
        return end, self.successResultOf(called)

    def plain(self, data: bytes, surplus: bytes = b"") -> tuple[OwnerEnd, IOwnerReply]:
        return self.answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s" % (len(data), data, surplus)
        )

    def failed(self, relaying: Deferred[None], code: ErrorCode) -> str:
        error = self.failureResultOf(relaying, NodeError).value
        self.assertIs(error.code, code)
        self.assertEqual(self.client.inflight, 0)
        return error.message

    def outcome(self, outcome: str) -> float:
        return sample(self.metrics, "owner_requests_total", owner="index", outcome=outcome)

    def test_in_one_write(self) -> None:
        """It leaves in one write, the slot is free, the connection kept, and no timer left."""
        end, reply = self.plain(JSON)
        sink = MemorySink()
        self.successResultOf(reply.as_json().relay(ResponseHead(length=reply.length), sink))
        self.assertEqual((sink.writes, sink.outcome, sink.registrations), ([JSON], "finished", 0))
        self.assertEqual((self.client.inflight, self.outcome("ok")), (0, 1))
        self.assertFalse(end.closed)
        self.client.close()
        self.network.settle()
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])
        with self.assertRaises(RuntimeError):
            reply.read(10)

    def test_length_becomes_known(self) -> None:
        """Chunks that are all there are as good as a length."""
        _, reply = self.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        sink = MemorySink()
        self.successResultOf(reply.relay(ResponseHead(etag='"x"'), sink))
        self.assertEqual((sink.head, sink.body), (ResponseHead(length=3, etag='"x"'), b"abc"))

    def test_nothing(self) -> None:
        _, reply = self.plain(b"")
        sink = MemorySink()
        self.successResultOf(reply.relay(ResponseHead(length=0), sink))
        self.assertEqual((sink.writes, sink.outcome), ([], "finished"))

    def test_no_json(self) -> None:
        """A clean failure, of an owner whose connection is as good as any."""
        for count, data in enumerate((b"[]", b'{"a":', b""), 1):
            end, reply = self.plain(data)
            sink = MemorySink()
            self.failed(reply.as_json().relay(ResponseHead(), sink), ErrorCode.BAD_GATEWAY)
            self.assertFalse(sink.started)
            self.assertFalse(end.closed)
            self.assertEqual(self.outcome("bad_gateway"), count)

    def test_more_than_it_may(self) -> None:
        """No length said so, so it is found out by what came."""
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        _, reply = self.answered(answer, max_body=2)
        sink = MemorySink()
        said = self.failed(reply.relay(ResponseHead(), sink), ErrorCode.BAD_GATEWAY)
        self.assertIn("more than it may", said)
        self.assertFalse(sink.started)
        self.assertEqual(self.outcome("bad_gateway"), 1)

    def test_more_behind_it(self) -> None:
        """Of its length and its body one is wrong, and nobody gets either."""
        end, reply = self.plain(JSON, b"x")
        sink = MemorySink()
        said = self.failed(reply.relay(ResponseHead(length=len(JSON)), sink), ErrorCode.BAD_GATEWAY)
        self.assertIn("sent more than its answer", said)
        self.assertFalse(sink.started)
        self.assertTrue(end.aborted)

    def test_digest(self) -> None:
        """What must match a digest is held against it."""
        for wanted, well in ((JSON, True), (b"other", False)):
            _, reply = self.plain(JSON)
            sink = MemorySink()
            relaying = reply.checked(blake3(wanted).digest()).relay(ResponseHead(), sink)
            if well:
                self.successResultOf(relaying)
            else:
                self.failed(relaying, ErrorCode.INTEGRITY_FAILED)
            self.assertEqual(sink.started, well)

    def test_defect_of_the_sink(self) -> None:
        """It is the node's, logged, and none of the owner's."""
        end, reply = self.plain(JSON)
        self.failed(reply.relay(ResponseHead(), Broken()), ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.outcome("ok"), 1)
        self.assertFalse(end.closed)

    def test_cancelled_while_the_sink_finishes(self) -> None:
        """The owner has no part in it any more."""
        end, reply = self.plain(JSON)
        sink = MemorySink(hold_finish=True)
        relaying = reply.relay(ResponseHead(), sink)
        self.assertEqual(self.client.inflight, 0)
        self.assertNoResult(relaying)
        relaying.cancel()
        self.failureResultOf(relaying, CancelledError)
        sink.flush()
        self.assertFalse(end.closed)
