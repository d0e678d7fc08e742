"""The OAP side of an answer: what every sink promises, and what it looks like in frames."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IConsumer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.oap.wire.frames import END, RESP, START
from micronode.oap.wire.profiles import Profile
from tests.contracts.sink import Outcome, Seen, SinkContract, SpyProducer
from tests.support.oap import Dispatched, SeenFrame, StubNode, start


class StreamSink(SinkContract, SynchronousTestCase):
    """The conformance suite."""

    def make_sink(self) -> Any:
        self.node = StubNode()
        self.end = self.node.connect()
        self.end.transport.clear()
        self.frames: list[SeenFrame] = []
        self.end.send(start(1))
        return self.node.calls[0].sink

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

    def test_head_that_is_no_text_is_bad_gateway(self) -> None:
        for content_type in ("text/\n", "\ud800", "x" * 5000):
            with self.subTest(content_type=content_type[:9]):
                self.setUp()
                call = self.begin(1)
                call.sink.start(ResponseHead(content_type=content_type))
                call.sink.write(b"ignored")
                self.assertEqual([frame.json["code"] for frame in self.end.heard()], ["bad_gateway"])

    def test_error_says_when_to_come_back(self) -> None:
        self.begin(1).sink.fail(NodeError(ErrorCode.OWNER_UNAVAILABLE, "down", retry_after_s=2.5))
        [error] = self.end.heard()
        self.assertEqual(
            (error.code, error.json["retry_after_ms"], error.json["retryable"]), (503, 2500, True)
        )

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
        labels = {"route": "search.query", "method": "OTHER"}
        self.assertEqual(self.node.count("request_first_byte_seconds_count", **labels), 1)
        self.assertEqual(self.node.count("request_latency_seconds_sum", **labels), 1.5)
