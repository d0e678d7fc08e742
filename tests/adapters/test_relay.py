"""micronode.adapters.relay: how a body reaches a caller, and what stops it."""

from __future__ import annotations

from typing import Any

from blake3 import blake3
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.adapters.relay import HOLD_BYTES, Relay
from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerReply, IReplyBody
from tests.support.clients import make_client
from tests.support.measures import make_metrics, sample
from tests.support.network import MemoryNetwork, OwnerEnd
from tests.support.sinks import MemorySink

READ = 65_536


class RelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.metrics = make_metrics()
        self.client = make_client(self.network, name="storage", metrics=self.metrics)

    def reply(self, *fields: str) -> tuple[OwnerEnd, IOwnerReply]:
        """Get a reply whose body has not begun."""
        called = self.client.call(b"GET", b"/o/x")
        end = self.network.serve()
        end.send("\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode())
        return end, self.successResultOf(called)

    def relay(
        self, length: int | None, *fields: str, digest: bytes | None = None, sink: MemorySink | None = None
    ) -> tuple[OwnerEnd, MemorySink, Deferred[None]]:
        if length is not None:
            fields = (f"Content-Length: {length}", *fields)
        end, reply = self.reply(*fields)
        sink = sink or MemorySink()
        body = reply if digest is None else reply.checked(digest)
        return end, sink, body.relay(ResponseHead(length=reply.length, etag='"x"'), sink)

    def failed(self, relaying: Deferred[None], code: ErrorCode) -> None:
        error = self.failureResultOf(relaying, NodeError).value
        self.assertIs(error.code, code)
        self.assertEqual(error.source, "storage")
        self.assertEqual(self.client.inflight, 0)

    def outcome(self, outcome: str) -> float:
        return sample(self.metrics, "owner_requests_total", owner="storage", outcome=outcome)

    def idle(self) -> None:
        """Nothing is left behind: no slot, no timer but those of idle connections, no error in the log."""
        self.network.settle()
        closing = self.client.close()
        self.network.settle()
        self.successResultOf(closing)
        self.assertEqual(self.client.inflight, 0)
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    # Small bodies

    def test_small_body_leaves_whole(self) -> None:
        end, sink, relaying = self.relay(6)
        end.send(b"abc")
        self.assertFalse(sink.started)
        end.send(b"def")
        self.successResultOf(relaying)
        self.assertEqual((sink.head, sink.writes), (ResponseHead(length=6, etag='"x"'), [b"abcdef"]))
        self.assertEqual(sink.outcome, "finished")
        self.assertEqual(self.outcome("ok"), 1)
        self.assertFalse(end.closed)
        self.idle()

    def test_empty_body(self) -> None:
        _, sink, relaying = self.relay(0)
        self.successResultOf(relaying)
        self.assertEqual((sink.head.length, sink.body, sink.outcome), (0, b"", "finished"))
        self.idle()

    def test_length_of_a_small_body_becomes_known(self) -> None:
        end, sink, relaying = self.relay(None, "Transfer-Encoding: chunked")
        end.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        self.successResultOf(relaying)
        self.assertEqual((sink.head.length, sink.body), (5, b"abcde"))
        self.idle()

    def test_body_that_ends_with_the_connection(self) -> None:
        end, sink, relaying = self.relay(None)
        end.send(b"abc")
        end.hang_up()
        self.successResultOf(relaying)
        self.assertEqual((sink.head.length, sink.body), (3, b"abc"))
        self.idle()

    def test_body_that_ends_with_a_reset(self) -> None:
        end, sink, relaying = self.relay(None)
        end.send(b"abc")
        end.hang_up(cleanly=False)
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertFalse(sink.started)
        self.idle()

    def test_body_shorter_than_its_length_is_a_clean_failure(self) -> None:
        end, sink, relaying = self.relay(1000)
        end.send(b"abc")
        end.hang_up()
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertFalse(sink.started)
        self.assertEqual(self.outcome("bad_gateway"), 1)
        self.idle()

    def test_broken_chunks(self) -> None:
        end, sink, relaying = self.relay(None, "Transfer-Encoding: chunked")
        end.send(b"3\r\nabc\r\nzz\r\n")
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertFalse(sink.started)
        self.idle()
        self.assertTrue(end.aborted)

    def test_body_that_came_with_the_head(self) -> None:
        called = self.client.call(b"GET", b"/")
        end = self.network.accept()
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        reply = self.successResultOf(called)
        sink = MemorySink()
        self.successResultOf(reply.relay(ResponseHead(length=reply.length), sink))
        self.assertEqual(sink.body, b"abc")
        self.idle()

    # Large bodies

    def test_large_body_streams(self) -> None:
        end, sink, relaying = self.relay(3 * READ)
        for count in (1, 2):
            end.send(bytes([count]) * READ)
            self.assertEqual([len(piece) for piece in sink.writes], [READ] * count)
        self.assertNoResult(relaying)
        self.assertEqual(sink.head.length, 3 * READ)
        end.send(b"\x03" * READ)
        self.successResultOf(relaying)
        self.assertEqual(sink.body, b"\x01" * READ + b"\x02" * READ + b"\x03" * READ)
        self.assertEqual(sink.outcome, "finished")
        self.idle()

    def test_body_of_unknown_length_streams_once_it_is_large(self) -> None:
        end, sink, relaying = self.relay(None, "Transfer-Encoding: chunked")
        end.send(b"10000\r\n" + b"a" * HOLD_BYTES + b"\r\n")
        self.assertFalse(sink.started)
        end.send(b"1\r\nb\r\n")
        self.assertEqual(sink.writes, [b"a" * HOLD_BYTES + b"b"])
        self.assertIsNone(sink.head.length)
        end.send(b"1\r\nc\r\n0\r\n\r\n")
        self.successResultOf(relaying)
        self.assertEqual(sink.writes[1:], [b"c"])
        self.idle()

    def test_large_body_cut_short_fails_after_the_head(self) -> None:
        end, sink, relaying = self.relay(3 * READ)
        end.send(b"a" * READ)
        end.hang_up()
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        # The sink is the caller's to fail.
        self.assertTrue(sink.started)
        self.assertIsNone(sink.outcome)
        self.assertIsNone(sink.producer)
        self.idle()

    def test_small_body_with_more_behind_it_is_a_clean_failure(self) -> None:
        for fields, body in (
            ("Content-Length: 2", b"abc"),
            ("Content-Length: 0", b"abc"),
            ("Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"),
        ):
            called = self.client.call(b"GET", b"/o/x")
            end = self.network.accept()
            end.send(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode() + body)
            reply = self.successResultOf(called)
            sink = MemorySink()
            relaying = reply.relay(ResponseHead(length=reply.length), sink)
            self.failed(relaying, ErrorCode.BAD_GATEWAY)
            self.assertFalse(sink.started)
            self.assertTrue(end.closed)
        self.assertEqual(self.outcome("bad_gateway"), 3)
        self.idle()

    def test_large_body_with_more_behind_it_is_cut(self) -> None:
        end, sink, relaying = self.relay(2 * READ)
        end.send(b"a" * READ)
        end.send(b"a" * (READ + 1))
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertTrue(sink.started)
        self.assertIsNone(sink.outcome)
        self.assertTrue(end.closed)
        self.idle()

    def test_more_after_the_answer_was_passed_on(self) -> None:
        """It is nobody's: the answer stays what it was."""
        end, sink, relaying = self.relay(2)
        end.send(b"ab")
        self.successResultOf(relaying)
        end.send(b"c")
        self.assertEqual((sink.body, sink.outcome), (b"ab", "finished"))
        self.assertTrue(end.aborted)
        self.idle()

    def test_endless_body_is_cut(self) -> None:
        self.client = make_client(self.network, name="storage", metrics=self.metrics, max_body=3 * READ)
        end, sink, relaying = self.relay(None, "Transfer-Encoding: chunked")
        for _ in range(3):
            end.send(b"10000\r\n" + b"a" * READ + b"\r\n")
        self.assertNoResult(relaying)
        end.send(b"1\r\na\r\n")
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertTrue(end.aborted)
        self.assertEqual(len(sink.body), 3 * READ)
        self.idle()

    # Pace

    def test_pause_reaches_the_owner(self) -> None:
        end, sink, relaying = self.relay(4 * READ, sink=MemorySink(pause_after=2 * READ))
        end.send(b"a" * READ)
        self.assertEqual(end.producerState, "producing")
        end.send(b"b" * READ)
        self.assertEqual(end.producerState, "paused")
        sink.resume()
        self.assertEqual(end.producerState, "producing")
        end.send(b"c" * READ)
        end.send(b"d" * READ)
        self.successResultOf(relaying)
        self.idle()

    def test_pause_while_the_first_bytes_are_delivered(self) -> None:
        called = self.client.call(b"GET", b"/")
        end = self.network.accept()
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * READ) + b"a" * 1000)
        reply = self.successResultOf(called)
        sink = MemorySink(pause_after=1)
        reply.relay(ResponseHead(length=reply.length), sink)
        self.assertEqual(sink.body, b"a" * 1000)
        self.assertEqual(end.producerState, "paused")
        sink.resume()
        self.assertEqual(end.producerState, "producing")

    def test_no_deadline_while_the_caller_does_not_read(self) -> None:
        end, sink, relaying = self.relay(2 * READ)
        end.send(b"a" * READ)
        sink.pause()
        self.network.reactor.advance(1000.0)
        self.assertNoResult(relaying)
        sink.resume()
        self.network.reactor.advance(59.0)
        self.assertNoResult(relaying)
        end.send(b"a" * READ)
        self.successResultOf(relaying)
        self.idle()

    def test_owner_that_stalls_before_the_first_byte(self) -> None:
        end, sink, relaying = self.relay(10)
        self.network.reactor.advance(60.0)
        self.failed(relaying, ErrorCode.OWNER_TIMEOUT)
        self.assertFalse(sink.started)
        self.assertTrue(end.aborted)
        self.assertEqual(self.outcome("timeout"), 1)
        self.idle()

    def test_owner_that_stalls_in_the_middle(self) -> None:
        end, sink, relaying = self.relay(3 * READ)
        for _ in range(2):
            self.network.reactor.advance(59.0)
            end.send(b"a" * READ)
        self.network.reactor.advance(60.0)
        self.failed(relaying, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(sink.started)
        self.assertTrue(end.aborted)
        self.idle()

    def test_late_resume_does_not_touch_the_next_answer(self) -> None:
        end, sink, relaying = self.relay(2 * READ)
        end.send(b"a" * READ)
        producer = sink.producer
        end.send(b"b" * READ)
        self.successResultOf(relaying)
        producer.pauseProducing()
        self.assertEqual(end.producerState, "producing")

    # Where nothing is held

    def stream(
        self, length: int | None, *fields: str, sink: MemorySink | None = None
    ) -> tuple[OwnerEnd, MemorySink, Deferred[None]]:
        """As :meth:`relay`, at once."""
        if length is not None:
            fields = (f"Content-Length: {length}", *fields)
        end, reply = self.reply(*fields)
        sink = sink or MemorySink()
        return end, sink, reply.streamed().relay(ResponseHead(length=reply.length), sink)

    def test_streamed_head_leaves_before_the_body(self) -> None:
        end, sink, relaying = self.stream(None, "Transfer-Encoding: chunked")
        self.assertTrue(sink.started)
        self.assertIsNotNone(sink.producer)
        for piece in (b"data: 1\n\n", b"x"):
            end.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.assertEqual(sink.writes[-1], piece, "passed on before the next one comes")
        self.assertNoResult(relaying)
        end.send(b"0\r\n\r\n")
        self.successResultOf(relaying)
        self.assertEqual((sink.outcome, self.outcome("ok")), ("finished", 1))
        self.idle()

    def test_streamed_body_that_came_with_the_head(self) -> None:
        called = self.client.call(b"GET", b"/o/x")
        end = self.network.serve()
        end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        sink = MemorySink()
        relaying = self.successResultOf(called).streamed().relay(ResponseHead(), sink)
        self.successResultOf(relaying)
        # It is whole, so its length is known.
        self.assertEqual((sink.head, sink.writes), (ResponseHead(length=3), [b"abc"]))
        self.idle()

    def test_streamed_body_cut_short_fails_after_the_head(self) -> None:
        end, sink, relaying = self.stream(10)
        end.send(b"abc")
        end.hang_up()
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertEqual((sink.started, sink.body), (True, b"abc"))
        self.assertIsNone(sink.producer)
        self.idle()

    def test_streamed_body_that_stalls(self) -> None:
        _, sink, relaying = self.stream(10)
        self.network.reactor.advance(60.0)
        self.failed(relaying, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(sink.started)
        self.idle()

    def test_streamed_pause_reaches_the_owner(self) -> None:
        end, sink, relaying = self.stream(4)
        sink.producer.pauseProducing()
        self.assertEqual(end.producerState, "paused")
        self.network.reactor.advance(600.0)
        sink.producer.resumeProducing()
        end.send(b"abcd")
        self.successResultOf(relaying)
        self.idle()

    def test_streamed_to_a_caller_that_had_gone(self) -> None:
        end, reply = self.reply("Content-Length: 4")
        sink = MemorySink()
        sink.go()
        self.successResultOf(reply.streamed().relay(ResponseHead(length=4), sink))
        self.assertTrue(end.aborted)
        self.idle()

    def test_streamed_and_empty(self) -> None:
        _, sink, relaying = self.stream(0)
        self.successResultOf(relaying)
        self.assertEqual((sink.body, sink.outcome), (b"", "finished"))
        self.idle()

    # Callers that go

    def test_caller_that_goes(self) -> None:
        end, sink, relaying = self.relay(3 * READ)
        end.send(b"a" * READ)
        sink.go()
        self.assertTrue(end.aborted)
        self.successResultOf(relaying)
        self.assertEqual(self.outcome("cancelled"), 1)
        self.idle()

    def test_caller_that_had_gone(self) -> None:
        sink = MemorySink()
        sink.go()
        end, sink, relaying = self.relay(3 * READ, sink=sink)
        end.send(b"a" * READ)
        self.assertTrue(end.aborted)
        self.successResultOf(relaying)
        self.assertEqual(sink.writes, [])
        self.idle()

    def test_cancel(self) -> None:
        for begun in (False, True):
            end, sink, relaying = self.relay(3 * READ)
            if begun:
                end.send(b"a" * READ)
            relaying.cancel()
            self.failureResultOf(relaying, CancelledError)
            self.assertTrue(end.aborted)
            self.assertIsNone(sink.producer)
            self.assertIsNone(sink.outcome)
            self.network.settle()
        self.assertEqual(self.outcome("cancelled"), 2)
        self.idle()

    def test_slot_is_free_while_the_sink_finishes(self) -> None:
        end, sink, relaying = self.relay(3, sink=MemorySink(hold_finish=True))
        end.send(b"abc")
        self.assertEqual(self.client.inflight, 0)
        self.assertNoResult(relaying)
        sink.flush()
        self.successResultOf(relaying)

    def test_cancel_while_the_sink_finishes(self) -> None:
        end, sink, relaying = self.relay(3, sink=MemorySink(hold_finish=True))
        end.send(b"abc")
        relaying.cancel()
        self.failureResultOf(relaying, CancelledError)
        self.assertFalse(end.closed)
        sink.flush()
        self.idle()

    def test_defect_of_a_sink_is_ours_not_the_owners(self) -> None:
        class Broken(MemorySink):
            def write(self, data: bytes) -> None:
                raise ZeroDivisionError

        end, _, relaying = self.relay(3 * READ, sink=Broken())
        end.send(b"a" * READ)
        self.assertIs(self.failureResultOf(relaying, NodeError).value.code, ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(end.aborted)
        self.idle()

    def test_defect_of_a_sink_at_the_end(self) -> None:
        class Broken(MemorySink):
            def start(self, head: ResponseHead) -> None:
                raise ZeroDivisionError

        for length in (3, 0):
            end, sink, relaying = self.relay(length, sink=Broken())
            if length:
                end.send(b"a" * length)
            self.assertIs(self.failureResultOf(relaying, NodeError).value.code, ErrorCode.INTERNAL)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertIsNone(sink.outcome)
        self.idle()

    # Checked bodies

    def mismatch(self, relaying: Deferred[None]) -> None:
        self.failed(relaying, ErrorCode.INTEGRITY_FAILED)
        self.assertEqual(sample(self.metrics, "integrity_failure_total", stage="relay"), 1)
        self.assertEqual(self.outcome("bad_gateway"), 1)
        self.idle()

    def test_small_body_that_matches(self) -> None:
        end, sink, relaying = self.relay(3, digest=blake3(b"abc").digest())
        end.send(b"abc")
        self.successResultOf(relaying)
        self.assertEqual(sink.body, b"abc")
        self.assertEqual(sample(self.metrics, "integrity_failure_total", stage="relay"), 0)
        self.idle()

    def test_small_body_that_does_not_match_is_a_clean_failure(self) -> None:
        for length in (3, HOLD_BYTES):
            end, sink, relaying = self.relay(length, digest=blake3(b"abd").digest())
            end.send(b"a" * length)
            self.failureResultOf(relaying, NodeError)
            self.assertFalse(sink.started)
        self.assertEqual(sample(self.metrics, "integrity_failure_total", stage="relay"), 2)
        self.idle()

    def test_empty_body_is_checked_too(self) -> None:
        _, sink, relaying = self.relay(0, digest=blake3(b"abc").digest())
        self.mismatch(relaying)
        self.assertFalse(sink.started)

    def test_large_body_that_matches(self) -> None:
        pieces = [b"a" * READ, b"b" * READ, b"c" * 10]
        whole = b"".join(pieces)
        end, sink, relaying = self.relay(len(whole), digest=blake3(whole).digest())
        for count, piece in enumerate(pieces[:2]):
            end.send(piece)
            self.assertEqual(sink.body, b"".join(pieces[:count]))
        end.send(pieces[2])
        self.successResultOf(relaying)
        self.assertEqual(sink.body, whole)
        self.assertEqual(sink.outcome, "finished")
        self.idle()

    def test_large_body_that_does_not_match_never_leaves_whole(self) -> None:
        end, sink, relaying = self.relay(3 * READ, digest=blake3(b"else").digest())
        for _ in range(3):
            end.send(b"a" * READ)
        self.mismatch(relaying)
        self.assertEqual(len(sink.body), 2 * READ)
        self.assertIsNone(sink.outcome)
        self.assertIsNone(sink.producer)

    def test_large_body_of_unknown_length_that_does_not_match(self) -> None:
        end, sink, relaying = self.relay(None, "Transfer-Encoding: chunked", digest=blake3(b"else").digest())
        end.send(b"10000\r\n" + b"a" * HOLD_BYTES)
        end.send(b"\r\n5\r\nbbbbb\r\n")
        end.send(b"0\r\n\r\n")
        self.mismatch(relaying)
        self.assertEqual(sink.body, b"a" * HOLD_BYTES)

    def test_little_is_held(self) -> None:
        for digest in (None, blake3(b"else").digest()):
            end, sink, relaying = self.relay(100 * READ, digest=digest)
            for count in range(1, 50):
                end.send(b"a" * READ)
                self.assertLessEqual(count * READ - len(sink.body), READ)
            relaying.cancel()
            self.failureResultOf(relaying, CancelledError)

    # Bodies that are to be JSON

    def relay_json(self, *fields: str) -> tuple[OwnerEnd, MemorySink, Deferred[None]]:
        end, reply = self.reply(*fields)
        sink = MemorySink()
        return end, sink, reply.as_json().relay(ResponseHead(length=reply.length), sink)

    def test_json_is_passed_on_byte_for_byte(self) -> None:
        data = b' {"a" : 1.50,\t"a":"\\u0041"}\n'
        end, sink, relaying = self.relay_json(f"Content-Length: {len(data)}")
        end.send(data[:5])
        end.send(data[5:])
        self.successResultOf(relaying)
        self.assertEqual((sink.body, sink.outcome), (data, "finished"))
        self.idle()

    def test_what_is_no_json_is_a_clean_failure(self) -> None:
        for count, data in enumerate((b'{"a": ', b"<html></html>", b"[]", b"{}" + b" " * READ), 1):
            length = HOLD_BYTES if data.startswith(b"{}") else len(data)
            end, sink, relaying = self.relay_json(f"Content-Length: {length}")
            end.send(data[:length])
            if data.startswith(b"{}"):
                self.successResultOf(relaying)
            else:
                self.failed(relaying, ErrorCode.BAD_GATEWAY)
                self.assertFalse(sink.started)
                self.assertEqual(self.outcome("bad_gateway"), count)
                self.assertFalse(end.aborted, "the connection is as good as any")
        self.idle()

    def test_no_json_in_chunks(self) -> None:
        end, sink, relaying = self.relay_json("Transfer-Encoding: chunked")
        end.send(b"3\r\n{} \r\n2\r\n{}\r\n0\r\n\r\n")
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertFalse(sink.started)
        self.idle()

    def test_empty_body_is_no_json(self) -> None:
        _, sink, relaying = self.relay_json("Content-Length: 0")
        self.failed(relaying, ErrorCode.BAD_GATEWAY)
        self.assertFalse(sink.started)
        self.idle()

    def test_more_than_is_held_is_not_looked_at(self) -> None:
        for fields in (f"Content-Length: {HOLD_BYTES + 1}",), ("Transfer-Encoding: chunked",):
            end, sink, relaying = self.relay_json(*fields)
            data = b"x" * (HOLD_BYTES + 1)
            end.send(data if "Length" in fields[0] else b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
            self.successResultOf(relaying)
            self.assertEqual((sink.body, sink.outcome), (data, "finished"))
        self.idle()

    def test_json_nobody_wants(self) -> None:
        end, reply = self.reply("Content-Length: 9")
        reply.as_json().abort()
        self.network.settle()
        self.assertTrue(end.aborted)
        self.idle()

    # Interfaces

    def test_interfaces(self) -> None:
        _, reply = self.reply("Content-Length: 3")
        verifyObject(IOwnerReply, reply)
        verifyObject(IReplyBody, reply.as_json())
        lease: Any = None
        verifyObject(IPushProducer, Relay(lease, ResponseHead(), MemorySink(), None))
