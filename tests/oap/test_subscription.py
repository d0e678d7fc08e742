"""Subscriptions: what every event sink promises, what it looks like in frames, and when it ends."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IEventSink
from micronode.oap.wire.frames import ACK_REQ, END, EVENT, RESP, START, encode_frame
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.contracts.events import EventWindowContract
from tests.contracts.sink import SpyProducer
from tests.oap.test_stream import StreamSink
from tests.support.oap import SeenFrame, StubNode, body, cancel, start, subscribe

JSON = ResponseHead(content_type="application/json")


class SubscriptionSink(EventWindowContract, StreamSink):
    """The conformance suite."""

    def make_sink(self) -> Any:
        self.node = StubNode()
        self.end = self.node.connect()
        self.frames: list[SeenFrame] = []
        self.told: list[bytes] = []
        self.taken = 0
        self.end.send(subscribe(1))
        self.sink = self.node.calls[0].sink
        return self.sink

    def listen(self) -> None:
        self.node.clock.advance(0)
        for frame in self.end.heard():
            if frame.flags == EVENT:
                self.assertEqual((frame.code, frame.app, frame.corr_id), (206, Profile.FEED, 1))
                self.told.append(frame.payload)
            else:
                self.frames.append(frame)

    def seen(self) -> Any:
        self.listen()
        # What is left for the suite of all sinks is the answer around the messages.
        heard, self.end.heard = self.end.heard, list  # type: ignore[method-assign]
        try:
            return super().seen()
        finally:
            self.end.heard = heard  # type: ignore[method-assign]

    def messages(self) -> list[bytes]:
        self.listen()
        return self.told

    def take(self, size: int) -> None:
        self.taken += size
        self.end.send(credit_frame(1, self.taken))


class Frames(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = StubNode()
        self.end = self.node.connect()

    def begin(self, *args: Any, **fields: Any) -> Any:
        self.end.send(subscribe(*args, **fields))
        sink = self.node.calls[-1].sink
        sink.start(JSON)
        return sink

    def test_messages_stand_between_head_and_end(self) -> None:
        sink = self.begin(1, tenant=b"t" * 16)
        sink.write_event(b'{"msg_id":"1"}')
        sink.write_event(b'{"msg_id":"2"}')
        sink.finish()
        frames = self.end.heard()
        self.assertEqual(
            [(frame.flags, frame.code) for frame in frames],
            [(RESP | START, 200), (EVENT, 206), (EVENT, 206), (RESP | END, 200)],
        )
        about = {(frame.app, frame.tenant, frame.corr_id) for frame in frames}
        self.assertEqual(about, {(Profile.FEED, b"t" * 16, 1)})

    def test_head_does_not_wait_for_a_message(self) -> None:
        self.begin(1)
        self.node.clock.advance(0)
        self.assertEqual([frame.flags for frame in self.end.heard()], [RESP | START])

    def test_needs_windows(self) -> None:
        self.end.send(subscribe(1, flags=0))
        [error] = self.end.heard()
        self.assertEqual((error.flags, error.code, error.json["code"]), (RESP | END, 400, "bad_request"))
        self.assertIn("ACK_REQ", error.json["message"])
        self.assertEqual(self.node.calls, [])

    def test_messages_wait_for_the_end_of_the_request(self) -> None:
        sink = self.begin(1, ended=False)
        waiting = sink.when_room(2)
        self.assertNoResult(waiting)
        self.end.send(body(1, b"", ended=True, app=Profile.FEED))
        self.successResultOf(waiting)
        sink.write_event(b"{}")
        self.assertEqual(self.end.heard()[-1].flags, EVENT)

    def test_takes_no_body(self) -> None:
        self.begin(1, ended=False)
        self.end.send(body(1, b"x", app=Profile.FEED))
        error, credit = self.end.heard()
        self.assertEqual((error.json["code"], credit.corr_id), ("bad_request", 0))
        self.assertTrue(self.node.calls[0].cancelled)

    def test_message_is_no_longer_than_a_chunk(self) -> None:
        end = self.node.connect(greet=False)
        self.assertEqual(end.greet(max_frame=4096)["max_chunk"], 4058)
        end.send(subscribe(1))
        self.assertEqual(self.node.calls[-1].sink.max_event, 4058)

    def test_messages_are_compressed_for_who_accepts_it(self) -> None:
        end = self.node.connect(greet=False)
        end.greet(accept=["zstd"])
        end.send(subscribe(1))
        sink = self.node.calls[-1].sink
        sink.start(JSON)
        before = sink.event_room
        sink.write_event(json.dumps({"payload_b64": "abcd" * 1000}).encode())
        self.assertEqual(sink.event_room, before - 4019)
        message = end.heard()[-1]
        self.assertEqual(message.flags & EVENT, EVENT)
        self.assertLess(len(message.payload), 500)

    def test_a_second_producer_is_refused(self) -> None:
        sink = self.begin(1)
        sink.registerProducer(SpyProducer(), True)
        self.assertRaises(RuntimeError, sink.registerProducer, SpyProducer(), True)
        self.assertRaises(ValueError, self.begin(2).registerProducer, SpyProducer(), False)

    def test_counts(self) -> None:
        sink = self.begin(1)
        before = self.node.count("oap_frames_total", direction="out", kind="event")
        sink.write_event(b"12345")
        self.assertEqual(self.node.count("oap_frames_total", direction="out", kind="event"), before + 1)
        self.assertEqual(self.node.count("bytes_total", ingress="oap", direction="out"), 5)

    def test_is_in_no_latency_histogram(self) -> None:
        sink = self.begin(1)
        sink.write_event(b"{}")
        sink.finish()
        self.end.send(start(2))
        self.node.calls[1].answer(b"answer")
        for name in ("request_latency_seconds_count", "request_first_byte_seconds_count"):
            self.assertEqual(self.node.count(name, route="feed.subscribe", method="GET"), 0)
            self.assertEqual(self.node.count(name, route="search.query", method="GET"), 1)
        self.assertEqual([line["route"] for line in self.node.access], ["feed.subscribe", "search.query"])


class Ending(SynchronousTestCase):
    """What ends a subscription, and what does not."""

    def setUp(self) -> None:
        self.node = StubNode(idle=60.0, write_stall=30.0, stream_idle=30.0, read=5.0)
        self.end = self.node.connect()
        self.end.send(subscribe(1))
        self.call = self.node.calls[0]
        self.sink = self.call.sink
        self.sink.start(JSON)

    def fill(self) -> Deferred[None]:
        """Fill the window, and wait for room."""
        while self.sink.event_room:
            self.sink.write_event(bytes(65_536))
        self.end.heard()
        waiting: Deferred[None] = self.sink.when_room(1)
        return waiting

    def test_cancel(self) -> None:
        waiting = self.fill()
        self.end.send(cancel(1, app=Profile.FEED))
        self.assertTrue(self.call.cancelled)
        [over] = self.end.heard()
        self.assertEqual((over.flags, over.code, over.payload), (RESP | END, 499, b""))
        self.failureResultOf(waiting, NodeError)

    def test_caller_that_closes(self) -> None:
        """A close is seen as the end of input alone: nothing else would end it."""
        self.end.half_close()
        self.assertTrue(self.call.cancelled)
        self.assertEqual(self.node.access[-1]["reason"], "cancelled")
        self.assertTrue(self.end.transport.closing)

    def test_end_of_input_leaves_other_calls_alone(self) -> None:
        self.end.send(start(2))
        self.end.half_close()
        self.assertFalse(self.node.calls[1].cancelled)
        self.node.calls[1].answer(b"answer")
        self.assertEqual([frame.corr_id for frame in self.end.heard()][-1], 2)
        self.assertTrue(self.end.transport.closing)

    def test_slow_consumer_is_waited_for(self) -> None:
        """With a full window; what is written by then has been taken by the transport."""
        waiting = self.fill()
        for _ in range(10):
            self.node.clock.pump([20.0] * 2)
            self.end.send(credit_frame(1, 0))
        self.assertNoResult(waiting)
        self.assertFalse(self.call.cancelled)
        self.end.send(credit_frame(1, STREAM_WINDOW_BYTES))
        self.successResultOf(waiting)

    def test_quiet_topic_is_kept_by_a_caller_that_answers_ping(self) -> None:
        self.node.clock.advance(0)
        self.end.heard()
        for _ in range(5):
            self.node.clock.advance(60)
            [ping] = self.end.heard()
            self.assertEqual((ping.flags, ping.code, ping.app), (EVENT, 102, 0))
            self.end.send(credit_frame(1, 0))
        self.assertFalse(self.call.cancelled)

    def test_caller_that_has_gone_without_a_word(self) -> None:
        waiting = self.fill()
        self.node.clock.advance(60)
        self.node.clock.advance(5)
        self.node.clock.advance(0)
        self.assertTrue(self.end.transport.aborted)
        self.assertTrue(self.call.cancelled)
        self.failureResultOf(waiting, NodeError)

    def test_credit_violation(self) -> None:
        self.end.send(credit_frame(1, 1))
        self.assertEqual(self.end.heard()[-1].json["code"], "credit_violation")
        self.assertTrue(self.call.cancelled)

    def test_an_event_of_the_caller(self) -> None:
        self.end.send(encode_frame(EVENT, 206, Profile.FEED, 1, b"{}"))
        self.assertEqual(self.end.heard()[-1].json["code"], "bad_sequence")
        self.assertTrue(self.call.cancelled)

    def test_failing(self) -> None:
        self.sink.write_event(b"{}")
        self.sink.fail(NodeError(ErrorCode.DRAINING, "the node is stopping", retry_after_s=5.0))
        error = self.end.heard()[-1]
        self.assertEqual(
            (error.code, error.json["code"], error.json["retry_after_ms"]), (503, "draining", 5000)
        )

    def test_has_its_place_among_the_streams(self) -> None:
        node = StubNode(max_inflight=1)
        end = node.connect()
        end.send(subscribe(1), start(2))
        self.assertEqual([frame.json["code"] for frame in end.heard()], ["busy"])


class Turns(SynchronousTestCase):
    """Several subscriptions and a transport that fills."""

    def test_no_more_than_a_turn_is_written(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(*(subscribe(number) for number in range(1, 9)))
        end.transport.full_at = 65_536

        def write_on(sink: Any) -> None:
            if sink.event_room:
                sink.write_event(bytes(16_384))
            sink.when_room(16_384).addCallbacks(lambda _: write_on(sink), lambda _: None)

        for call in node.calls:
            call.sink.start(JSON)
            write_on(call.sink)
        self.assertLess(len(end.transport.value()), 65_536 + 2 * 16_384)
        told: dict[int, int] = {}
        for _ in range(64):
            for frame in end.heard():
                if frame.flags == EVENT:
                    told[frame.corr_id] = told.get(frame.corr_id, 0) + len(frame.payload)
            end.transport.drain()
        self.assertEqual(told, dict.fromkeys(range(1, 9), STREAM_WINDOW_BYTES))

    def test_flag_on_other_operations_changes_nothing(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1, flags=ACK_REQ))
        self.assertFalse(IEventSink.providedBy(node.calls[0].sink))
