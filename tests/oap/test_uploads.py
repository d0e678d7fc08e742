"""The request bodies of a connection: how they are passed on, how much they may hold, which of them fails."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import ACK_REQ
from micronode.oap.wire.limits import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES
from tests.support.oap import CallerEnd, SpyConsumer, StubNode, body, put, start

CHUNK = bytes(65_536)


class Uploads(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = StubNode(stall=5.0, stream_idle=30.0, read=5.0, idle=60.0)
        self.end = self.node.connect()

    def upload(self, corr_id: int) -> Any:
        self.end.send(put(corr_id))
        return self.node.calls[-1].call.body

    def errors(self, end: CallerEnd) -> list[tuple[int, str]]:
        return [(frame.corr_id, frame.json["code"]) for frame in end.heard() if frame.code >= 400]

    def test_body_reaches_the_consumer(self) -> None:
        upload, consumer = self.upload(1), SpyConsumer()
        self.end.send(body(1, b"before "))
        done = upload.startProducing(consumer)
        self.end.send(body(1, b"after "), body(1, b"end", ended=True))
        self.successResultOf(done)
        self.successResultOf(self.node.calls[0].call.body_done)
        self.assertEqual(consumer.data, b"before after end")
        self.assertEqual(self.node.count("bytes_total", ingress="oap", direction="in"), 16)

    def test_body_that_is_none_is_at_hand(self) -> None:
        self.end.send(put(1, ended=True))
        call = self.node.calls[0].call
        self.assertIsNone(call.body_done)
        assert call.body is not None
        self.assertEqual(call.body.length, 0)
        self.successResultOf(call.body.startProducing(SpyConsumer()))

    def test_more_than_the_operation_takes_ends_the_stream(self) -> None:
        upload, consumer = self.upload(1), SpyConsumer()
        upload.startProducing(consumer)
        for _ in range(64):
            self.end.send(body(1, CHUNK))
        self.assertEqual(self.end.heard(), [])
        self.end.send(body(1, b"x"), body(1, CHUNK))
        self.assertEqual(self.errors(self.end), [(1, "body_too_large")])
        self.assertTrue(self.node.calls[0].cancelled)
        self.assertEqual(len(consumer.data), 4 << 20)

    def test_full_buffer_stops_the_reading(self) -> None:
        upload = self.upload(1)
        self.end.send(body(1, CHUNK))
        self.assertEqual(self.end.transport.producerState, "producing")
        # All in one read: what follows the chunk that filled the buffer is not taken.
        self.end.send(body(1, CHUNK), body(1, b"more"), start(2))
        self.assertEqual(self.end.transport.producerState, "paused")
        self.assertEqual(upload.held, STREAM_WINDOW_BYTES)
        self.assertEqual(len(self.node.calls), 1)
        consumer = SpyConsumer()
        upload.startProducing(consumer)
        self.assertEqual(self.end.transport.producerState, "producing")
        self.assertEqual(len(consumer.data), STREAM_WINDOW_BYTES + 4)
        self.assertEqual(len(self.node.calls), 2)

    def test_input_that_comes_while_paused_waits(self) -> None:
        upload = self.upload(1)
        self.end.send(body(1, CHUNK), body(1, CHUNK))
        self.end.send(body(1, b"a")[:40])
        self.end.send(body(1, b"a")[40:])
        self.assertEqual(upload.held, STREAM_WINDOW_BYTES)
        upload.startProducing(consumer := SpyConsumer())
        self.assertEqual(len(consumer.data), STREAM_WINDOW_BYTES + 1)

    def test_tiny_chunks_cost_what_they_hold(self) -> None:
        upload = self.upload(1)
        frame = body(1, b"x")
        while self.end.transport.producerState == "producing":
            self.end.send(frame * 1000)
            # It is read again in its next turn, unless it is full.
            self.node.clock.advance(0)
        self.assertEqual(upload.held, STREAM_WINDOW_BYTES)

    def test_consumer_that_pauses_fills_the_buffer(self) -> None:
        upload, consumer = self.upload(1), SpyConsumer()
        upload.startProducing(consumer)
        upload.pauseProducing()
        self.end.send(body(1, CHUNK), body(1, CHUNK))
        self.assertEqual((self.end.transport.producerState, consumer.data), ("paused", b""))
        upload.resumeProducing()
        self.assertEqual((self.end.transport.producerState, upload.held), ("producing", 0))

    def test_last_chunk_does_not_stop_the_reading(self) -> None:
        self.upload(1)
        self.end.send(body(1, CHUNK), body(1, CHUNK, ended=True))
        self.assertEqual(self.end.transport.producerState, "producing")

    def test_stalled_stream_fails_alone(self) -> None:
        self.upload(1)
        self.end.send(start(2))
        self.end.send(body(1, CHUNK), body(1, CHUNK), body(1, b"dropped"), start(3))
        self.node.clock.advance(4.9)
        self.assertEqual(self.end.heard(), [])
        self.node.clock.advance(0.1)
        self.assertEqual(self.errors(self.end), [(1, "owner_unavailable")])
        self.assertEqual(self.end.transport.producerState, "producing")
        self.assertEqual([call.cancelled for call in self.node.calls], [True, False, False])
        self.end.send(body(1, CHUNK, ended=True))
        self.assertEqual(self.end.heard(), [])
        self.assertFalse(self.end.transport.closing)

    def test_stalled_stream_that_is_cancelled_by_its_owner_does_not_keep_the_rest(self) -> None:
        upload = self.upload(1)
        self.end.send(body(1, CHUNK), body(1, CHUNK), start(2))
        upload.stopProducing()
        self.assertEqual(self.end.transport.producerState, "producing")
        self.assertEqual(len(self.node.calls), 2)

    def test_answer_before_the_body_is_whole_frees_the_connection(self) -> None:
        self.upload(1)
        self.end.send(body(1, CHUNK), body(1, CHUNK), body(1, b"rest", ended=True), start(2))
        self.node.calls[0].answer(b"enough")
        self.assertEqual([frame.corr_id for frame in self.end.heard()], [1, 1, 1])
        self.assertEqual(len(self.node.calls), 2)
        self.assertEqual(self.end.transport.producerState, "producing")

    def test_deadlines_stand_still_while_nothing_is_read(self) -> None:
        node = StubNode(stall=100.0, stream_idle=30.0, read=5.0, idle=60.0)
        end = node.connect()
        end.send(put(1), put(2))
        end.send(body(1, CHUNK), body(1, CHUNK), body(1, b"half")[:20])
        node.clock.advance(90)
        self.assertEqual(end.heard(), [])
        upload: Any = node.calls[0].call.body
        upload.startProducing(SpyConsumer())
        node.clock.advance(4.9)
        self.assertEqual(end.heard(), [])
        node.clock.advance(0.1)
        self.assertEqual(self.errors(end), [(0, "frame_timeout")])

    def test_all_streams_together_are_bounded(self) -> None:
        uploads = [self.upload(number) for number in range(1, 17)]
        held = STREAM_WINDOW_BYTES - 10_000
        for number in range(1, 17):
            for size in (60_000, held - 60_000):
                if self.end.transport.producerState == "producing":
                    self.end.send(body(number, bytes(size)))
        self.assertEqual(self.end.transport.producerState, "paused")
        total = sum(upload.held for upload in uploads)
        self.assertGreaterEqual(total, CONNECTION_WINDOW_BYTES)
        self.assertLess(total, CONNECTION_WINDOW_BYTES + 65_536)
        # One stalled stream makes room for the others.
        self.node.clock.advance(5)
        [(_, error)] = self.errors(self.end)
        self.assertEqual(error, "owner_unavailable")
        self.assertEqual(self.end.transport.producerState, "producing")

    def test_silent_body_is_a_timeout(self) -> None:
        self.upload(1)
        self.node.clock.advance(29)
        self.end.send(body(1, b"x"))
        self.node.clock.advance(29.9)
        self.assertEqual(self.end.heard(), [])
        self.node.clock.advance(0.1)
        [error] = self.end.heard()
        self.assertEqual((error.code, error.json["code"]), (408, "timeout"))
        self.assertTrue(self.node.calls[0].cancelled)
        self.assertFalse(self.end.transport.closing)

    def test_whole_body_has_no_such_deadline(self) -> None:
        self.upload(1)
        self.end.send(body(1, b"x", ended=True))
        self.node.clock.advance(59)
        self.assertEqual(self.end.heard(), [])

    def test_body_that_nobody_takes_ends_in_the_end(self) -> None:
        for flags, data, ended in (
            (0, b"x", True),
            (ACK_REQ, b"x", True),
            (ACK_REQ, b"x", False),
            (0, b"", True),
        ):
            with self.subTest(flags=flags, data=data, ended=ended):
                self.setUp()
                self.end.send(put(1, flags=flags), body(1, data, ended=ended))
                for seconds in (30, 29.9):
                    self.node.clock.advance(seconds)
                    self.assertEqual(self.errors(self.end), [])
                self.node.clock.advance(0.1)
                self.assertEqual(self.errors(self.end), [(1, "owner_unavailable")])
                self.assertTrue(self.node.calls[0].cancelled)

    def test_body_that_is_taken_slowly_goes_on(self) -> None:
        self.end.send(put(1, flags=ACK_REQ))
        upload, consumer = self.node.calls[0].call.body, SpyConsumer()
        assert upload is not None
        upload.startProducing(consumer)
        for _ in range(3):
            upload.pauseProducing()
            self.end.send(body(1, b"x"))
            self.end.heard()
            self.node.clock.advance(29)
            upload.resumeProducing()
            upload.pauseProducing()
            self.end.send(body(1, b"y"))
            self.node.clock.advance(31)
            self.assertEqual(self.errors(self.end), [])
            upload.resumeProducing()
        self.end.send(body(1, b"", ended=True))
        # All was passed on: what follows is the facet's.
        self.node.clock.advance(59)
        self.assertEqual(self.errors(self.end), [])
        self.assertEqual(consumer.data, b"xy" * 3)
