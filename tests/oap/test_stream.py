"""The OAP side of an answer: what every sink promises, and what it looks like in frames."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.oap.fairness import QUANTUM_BYTES
from micronode.oap.waiting import ENOUGH_BYTES
from micronode.oap.wire.frames import ACK_REQ, END, RESP, START
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from tests.contracts.sink import Outcome, Seen, SinkContract, SpyProducer
from tests.support.oap import Dispatched, SeenFrame, StubNode, body, cancel, put, start

#: The frames of an answer with a body, as metrics call them.
_ANSWER = ("start", "data", "end")


class StreamSink(SinkContract, SynchronousTestCase):
    """The conformance suite."""

    def make_sink(self) -> Any:
        self.node = StubNode()
        self.end = self.node.connect()
        self.end.transport.clear()
        self.frames: list[SeenFrame] = []
        self.end.send(start(1))
        self.sink = self.node.calls[0].sink
        return self.sink

    def seen(self) -> Seen:
        self.node.clock.advance(0)
        self.frames += self.end.heard()
        status: int | None = None
        data, outcome, error = b"", Outcome.OPEN, None
        for frame in self.frames:
            assert outcome is Outcome.OPEN, "a frame after the terminal one"
            if frame.code >= 400:
                outcome = Outcome.FAILED if status is None else Outcome.VOID
                status, error = (frame.code, frame.json["code"]) if status is None else (status, None)
            elif frame.flags & START:
                status = frame.json["status"]
            else:
                data += frame.payload
            if frame.ends and outcome is Outcome.OPEN:
                outcome = Outcome.WHOLE
        return Seen(outcome=outcome, status=status, body=data, error=error)

    def pause(self) -> None:
        self.end.transport.fill()
        # A stream that has its next turns at hand needs no more.
        self.sink.write(bytes(ENOUGH_BYTES))

    def resume(self) -> None:
        self.end.transport.drain()

    def disconnect(self) -> None:
        self.end.hang_up()


class Frames(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = StubNode()
        self.end = self.node.connect()

    def begin(self, *args: Any, **fields: Any) -> Dispatched:
        self.end.send(start(*args, **fields))
        return self.node.calls[-1]

    def test_is_a_consumer(self) -> None:
        verifyObject(IConsumer, self.begin(1).sink)

    def test_head_names_what_is_known(self) -> None:
        call = self.begin(1)
        call.sink.start(
            ResponseHead(
                status=206,
                content_type="text/plain",
                length=3,
                etag='"e"',
                range="bytes 0-2/9",
                verified=False,
                headers=(("x-more", "1"),),
            )
        )
        call.sink.write(b"abc")
        call.sink.finish()
        head, data, end = self.end.heard()
        self.assertEqual((head.flags, head.code), (RESP | START, 200))
        self.assertEqual(
            head.json,
            {
                "status": 206,
                "content_type": "text/plain",
                "length": 3,
                "etag": '"e"',
                "range": "bytes 0-2/9",
                "verified": False,
            },
        )
        self.assertEqual((data.flags, data.code, data.payload), (RESP, 206, b"abc"))
        self.assertEqual((end.flags, end.code, end.payload), (RESP | END, 200, b""))

    def test_head_that_waits_is_not_sent_after_a_cancel_or_a_breach(self) -> None:
        for corr_id, said in ((1, cancel(1)), (2, body(2, b"x", app=Profile.MEDIA))):
            call = self.begin(corr_id)
            call.sink.start(ResponseHead())
            self.end.send(said)
            [terminal] = self.end.heard()
            self.assertEqual((terminal.corr_id, terminal.flags), (corr_id, RESP | END))
            self.assertTrue(call.cancelled)

    def test_unknown_members_are_left_out(self) -> None:
        call = self.begin(1)
        call.sink.start(ResponseHead())
        call.sink.finish()
        [whole] = self.end.heard()
        self.assertEqual((whole.flags, whole.json), (RESP | START | END, {"status": 200}))

    def test_head_and_first_bytes_are_one_write(self) -> None:
        call = self.begin(1)
        self.end.transport.writes.clear()
        call.sink.start(ResponseHead())
        self.assertEqual(self.end.transport.writes, [])
        call.sink.write(b"first")
        self.assertEqual(len(self.end.transport.writes), 1)
        self.assertEqual([frame.payload for frame in self.end.heard()][1], b"first")

    def test_whole_answer_is_one_write(self) -> None:
        call = self.begin(1)
        self.end.transport.writes.clear()
        frames = {kind: self.node.count("oap_frames_total", direction="out", kind=kind) for kind in _ANSWER}
        self.successResultOf(call.sink.answer(ResponseHead(length=5), b"whole"))
        self.assertEqual(len(self.end.transport.writes), 1)
        self.assertEqual(
            [(frame.flags, frame.code) for frame in self.end.heard()],
            [(RESP | START, 200), (RESP, 206), (RESP | END, 200)],
        )
        for kind, count in frames.items():
            self.assertEqual(self.node.count("oap_frames_total", direction="out", kind=kind), count + 1)
        self.assertEqual(self.node.count("bytes_total", ingress="oap", direction="out"), 5)
        labels = {"route": "search.query", "method": "GET"}
        self.assertEqual(self.node.count("request_first_byte_seconds_count", **labels), 1)
        self.assertEqual(self.node.count("oap_streams"), 0)

    def test_whole_answer_has_no_more_than_its_window(self) -> None:
        call = self.begin(1, flags=ACK_REQ)
        finished = call.sink.answer(ResponseHead(length=200_000), bytes(200_000))
        self.assertNoResult(finished)
        self.assertEqual(sum(len(frame.payload) for frame in self.end.heard()[1:]), STREAM_WINDOW_BYTES)

    def test_whole_answer_with_a_malformed_head(self) -> None:
        call = self.begin(1)
        self.successResultOf(call.sink.answer(ResponseHead(content_type="\n", length=1), b"x"))
        [terminal] = self.end.heard()
        self.assertEqual((terminal.flags, terminal.json["code"]), (RESP | END, "bad_gateway"))

    def test_head_does_not_wait_for_a_slow_body(self) -> None:
        call = self.begin(1)
        call.sink.start(ResponseHead(length=5))
        self.assertEqual(self.end.heard(), [])
        self.node.clock.advance(0)
        self.assertEqual([frame.flags for frame in self.end.heard()], [RESP | START])
        call.sink.write(b"later")
        call.sink.finish()
        self.assertEqual([frame.flags for frame in self.end.heard()], [RESP, RESP | END])

    def test_empty_answer_is_one_frame_however_late(self) -> None:
        call = self.begin(1)
        call.sink.start(ResponseHead(length=0))
        self.node.clock.advance(1)
        self.assertEqual(self.end.heard(), [])
        call.sink.finish()
        self.assertEqual([frame.flags for frame in self.end.heard()], [RESP | START | END])

    def test_head_operation_has_a_length_and_no_body(self) -> None:
        call = self.begin(1, Profile.MEDIA, "head")
        call.sink.start(ResponseHead(length=1_000_000))
        call.sink.write(b"dropped")
        call.sink.finish()
        [whole] = self.end.heard()
        self.assertEqual((whole.flags, whole.json["length"]), (RESP | START | END, 1_000_000))

    def test_not_modified_has_no_body(self) -> None:
        call = self.begin(1)
        call.sink.start(ResponseHead(status=304, etag='"e"', length=9))
        call.sink.finish()
        self.assertEqual([frame.json["status"] for frame in self.end.heard()], [304])

    def test_long_writes_become_chunks(self) -> None:
        self.end = self.node.connect(greet=False)
        self.end.greet(max_frame=4096)
        call = self.begin(1)
        call.sink.start(ResponseHead())
        call.sink.write(bytes(10_000))
        sizes = [len(frame.payload) for frame in self.end.heard()[1:]]
        self.assertEqual(sizes, [4058, 4058, 1884])
        self.assertEqual(self.node.count("oap_frames_total", direction="out", kind="data"), 3)
        self.assertEqual(self.node.count("bytes_total", ingress="oap", direction="out"), 10_000)

    def test_broken_length_cancels_the_call_in_the_next_turn(self) -> None:
        call = self.begin(1)
        call.sink.start(ResponseHead(length=1))
        call.sink.write(b"ab")
        self.assertFalse(call.cancelled)
        self.node.clock.advance(0)
        self.assertTrue(call.cancelled)
        self.assertEqual([frame.code for frame in self.end.heard()], [200, 500])

    def test_error_says_when_to_come_back(self) -> None:
        self.begin(1).sink.fail(NodeError(ErrorCode.OWNER_UNAVAILABLE, "down", retry_after_s=2.5))
        [error] = self.end.heard()
        self.assertEqual(
            (error.code, error.json["retry_after_ms"], error.json["retryable"]), (503, 2500, True)
        )

    def test_cancel_while_the_head_waits_for_the_body(self) -> None:
        call = self.begin(1)
        call.sink.start(ResponseHead(length=5))
        self.end.send(cancel(1))
        self.assertEqual([frame.code for frame in self.end.heard()], [499])
        self.node.clock.advance(0)
        self.assertEqual(self.end.heard(), [])
        self.assertTrue(call.cancelled)

    def test_misuse_is_a_defect(self) -> None:
        sink = self.begin(1).sink
        self.assertRaises(RuntimeError, sink.write, b"x")
        self.assertRaises(RuntimeError, sink.finish)
        sink.registerProducer(SpyProducer(), True)
        self.assertRaises(RuntimeError, sink.registerProducer, SpyProducer(), True)
        self.assertRaises(ValueError, sink.registerProducer, SpyProducer(), False)

    def test_first_byte_is_measured_at_the_head(self) -> None:
        call = self.begin(1)
        self.node.clock.advance(0.5)
        call.sink.start(ResponseHead())
        self.node.clock.advance(1)
        call.sink.finish()
        labels = {"route": "search.query", "method": "GET"}
        self.assertEqual(self.node.count("request_first_byte_seconds_count", **labels), 1)
        self.assertEqual(self.node.count("request_latency_seconds_sum", **labels), 1.5)


@implementer(IPushProducer)
class _Eager:
    """Writes as soon as it may, and once more for good measure."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._paused = False

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused:
            self._sink.write(bytes(1000))

    def stopProducing(self) -> None:
        self._paused = True


class Turns(SynchronousTestCase):
    """While the caller does not read an answer waits, and its stream with it."""

    def setUp(self) -> None:
        self.node = StubNode(max_inflight=2)
        self.end = self.node.connect()

    def begin(self, corr_id: int = 1, **fields: Any) -> Dispatched:
        self.end.send(start(corr_id, **fields))
        return self.node.calls[-1]

    def flags(self) -> list[int]:
        return [frame.flags for frame in self.end.heard()]

    def test_small_answer_waits(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        call.sink.start(ResponseHead(length=3))
        call.sink.write(b"abc")
        finished = call.sink.finish()
        self.node.clock.advance(1)
        self.assertNoResult(finished)
        self.assertEqual((self.end.heard(), self.node.count("oap_streams")), ([], 1))
        self.end.transport.drain()
        self.assertIsNone(self.successResultOf(finished))
        head, data, end = self.end.heard()
        self.assertEqual((head.flags, data.payload, end.flags), (RESP | START, b"abc", RESP | END))
        self.assertEqual(self.node.count("oap_streams"), 0)
        self.assertEqual(self.node.access[0]["latency_ms"], 1000.0)

    def test_whole_answer_waits(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        finished = call.sink.answer(ResponseHead(length=3), b"abc")
        self.assertNoResult(finished)
        self.assertEqual((self.end.heard(), self.node.count("oap_streams")), ([], 1))
        self.end.transport.drain()
        self.assertIsNone(self.successResultOf(finished))
        self.assertEqual(self.flags(), [RESP | START, RESP, RESP | END])

    def test_answer_without_body_waits(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        call.sink.start(ResponseHead(status=304))
        finished = call.sink.finish()
        self.assertNoResult(finished)
        self.assertEqual(self.flags(), [])
        self.end.transport.drain()
        self.successResultOf(finished)
        self.assertEqual(self.flags(), [RESP | START | END])

    def test_head_waits(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        call.sink.start(ResponseHead(length=3))
        self.node.clock.advance(0)
        self.assertEqual(self.flags(), [])
        self.end.transport.drain()
        self.assertEqual(self.flags(), [RESP | START])

    def test_end_waits_behind_the_body_that_filled_the_transport(self) -> None:
        call = self.begin()
        call.sink.start(ResponseHead())
        call.sink.write(b"large")
        self.end.transport.fill()
        finished = call.sink.finish()
        self.assertNoResult(finished)
        self.assertEqual(self.flags(), [RESP | START, RESP])
        self.end.transport.drain()
        self.successResultOf(finished)
        self.assertEqual(self.flags(), [RESP | END])

    def test_turn_is_a_quantum(self) -> None:
        calls = [self.begin(1), self.begin(2)]
        self.end.transport.fill()
        for call in calls:
            call.answer(bytes(2 * QUANTUM_BYTES - 100))
        self.end.transport.full_at = 1
        turns = []
        for _ in range(4):
            self.end.transport.drain()
            frames = self.end.heard()
            turns += [(frame.corr_id, len(frame.payload)) for frame in frames if len(frame.payload) > 1000]
        self.assertEqual(turns[:2], [(1, QUANTUM_BYTES), (2, QUANTUM_BYTES)])
        self.assertEqual([corr_id for corr_id, _ in turns[2:]], [1, 2])
        # Heads and headers count, too: what a turn was too long by is taken off the next.
        self.assertLess(turns[2][1], QUANTUM_BYTES - 100)

    def test_small_answer_does_not_wait_for_a_long_one(self) -> None:
        long, short = self.begin(1), self.begin(2)
        long.sink.start(ResponseHead())
        self.end.transport.full_at = 65_536
        long.sink.write(bytes(1 << 20))
        self.end.transport.clear()
        short.answer(b"short")
        self.end.transport.drain()
        frames = self.end.heard()
        ends = [number for number, frame in enumerate(frames) if frame.corr_id == 2 and frame.ends]
        before = sum(len(frame.payload) for frame in frames[: ends[0]] if frame.corr_id == 1)
        self.assertLessEqual(before, QUANTUM_BYTES)

    def test_producer_that_writes_when_it_is_resumed_waits_for_its_next_turn(self) -> None:
        calls = [self.begin(1), self.begin(2)]
        self.end.transport.full_at = 65_536
        for call in calls:
            call.sink.start(ResponseHead())
            call.sink.registerProducer(_Eager(call.sink), True)
        self.end.transport.fill()
        for call in calls:
            call.sink.write(bytes(ENOUGH_BYTES))
        got = {1: 0, 2: 0}
        for _ in range(50):
            for frame in self.end.heard():
                if frame.code == 206:
                    got[frame.corr_id] += len(frame.payload)
            self.end.transport.drain()
        self.assertLessEqual(abs(got[1] - got[2]), QUANTUM_BYTES)
        self.assertGreater(got[1], 1_000_000)

    def test_waiting_stream_has_its_place(self) -> None:
        calls = [self.begin(1), self.begin(2)]
        self.end.transport.fill()
        for call in calls:
            call.answer(b"abc")
        self.end.send(start(3))
        self.end.transport.drain()
        refused, *answers = self.end.heard()
        self.assertEqual(refused.json["code"], "busy")
        self.assertEqual([frame.corr_id for frame in answers], [1, 1, 1, 2, 2, 2])
        self.begin(4)
        self.assertEqual(len(self.node.calls), 3)

    def test_only_the_first_end_counts(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        call.sink.start(ResponseHead(length=3))
        call.sink.write(b"abc")
        call.sink.finish()
        call.sink.write(b"more")
        call.sink.fail(NodeError(ErrorCode.INTERNAL, "late"))
        call.sink.finish()
        self.end.transport.drain()
        self.assertEqual([frame.code for frame in self.end.heard()], [200, 206, 200])

    def test_error_does_not_wait_and_the_answer_is_void(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        call.sink.start(ResponseHead(content_type="x" * 2000))
        call.sink.write(b"abc")
        call.sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "stalled"))
        self.assertEqual(self.node.count("oap_streams"), 0)
        self.end.transport.drain()
        [error] = self.end.heard()
        self.assertEqual((error.flags, error.json["code"]), (RESP | END, "owner_timeout"))

    def test_cancel_frees_an_answer_that_waits(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        call.sink.start(ResponseHead(length=3))
        call.sink.write(b"abc")
        finished = call.sink.finish()
        self.end.send(cancel(1))
        self.assertIsNone(self.successResultOf(finished))
        self.assertTrue(call.cancelled)
        self.end.transport.drain()
        self.assertEqual([frame.code for frame in self.end.heard()], [499])

    def test_caller_that_takes_nothing_is_cut_and_the_answer_freed(self) -> None:
        call = self.begin()
        self.end.transport.fill()
        call.sink.start(ResponseHead())
        finished = call.sink.finish()
        self.node.clock.pump([7.5] * 4)
        self.assertTrue(self.end.transport.aborted)
        self.node.clock.advance(0)
        self.assertIsNone(self.successResultOf(finished))
        self.assertEqual(self.node.count("oap_streams"), 0)

    def test_request_is_let_go_while_the_answer_waits(self) -> None:
        """Its deadline and its bounds are no reason any more to spoil what was answered."""
        self.end.send(put(1))
        call = self.node.calls[0]
        self.end.send(body(1, bytes(65_536)), body(1, bytes(65_536)))
        self.assertEqual(self.end.transport.producerState, "paused")
        self.end.transport.fill()
        call.answer(b"enough")
        self.assertEqual(self.end.transport.producerState, "producing")
        for _ in range(80):
            self.end.send(body(1, bytes(65_536)))
        self.node.clock.pump([10, 10, 9.9])
        self.end.transport.drain()
        self.assertEqual([frame.code for frame in self.end.heard()], [200, 206, 200])

    def test_what_may_be_out_is_bounded(self) -> None:
        """However often a caller asks that does not read, by itself or by cancelling what it asked."""
        self.node = StubNode(lambda dispatched: dispatched.answer(bytes(65_536)), max_inflight=64)
        self.end = self.node.connect()
        self.end.transport.full_at = 65_536
        for number in range(1, 1000):
            self.end.send(start(number), cancel(number) if number > 32 else b"")
            if self.end.transport.aborted:
                break
        self.assertLess(len(self.end.transport.value()), 262_144)
