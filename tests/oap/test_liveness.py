"""Deadlines of a connection: HELLO, whole frames, silence; and how often PINGs are echoed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import EVENT, Control, encode_frame
from tests.support.oap import Dispatched, StubNode, body, put, start


def echo(call: Dispatched) -> None:
    call.answer(b"answer")


class Handshake(SynchronousTestCase):
    def test_silence_is_bad_hello(self) -> None:
        node = StubNode(handshake=3.0)
        end = node.connect(greet=False)
        node.clock.advance(2.99)
        self.assertFalse(end.transport.closing)
        node.clock.advance(0.02)
        [error] = end.heard()
        self.assertEqual(error.json["code"], "bad_hello")
        self.assertTrue(end.transport.half_closed)

    def test_greeted_connection_outlives_the_handshake(self) -> None:
        node = StubNode(handshake=3.0)
        end = node.connect()
        node.clock.advance(10)
        self.assertFalse(end.transport.closing)


class FrameTimer(SynchronousTestCase):
    def test_trickled_frame_has_one_deadline(self) -> None:
        node = StubNode(echo, read=5.0)
        end = node.connect()
        for byte in start(1)[:6]:
            self.assertFalse(end.transport.closing)
            end.send(bytes([byte]))
            node.clock.advance(0.99)
        [error] = end.heard()
        self.assertEqual((error.code, error.json["code"]), (408, "frame_timeout"))
        self.assertTrue(end.transport.half_closed)

    def test_each_frame_has_its_own(self) -> None:
        node = StubNode(echo, read=5.0)
        end = node.connect()
        data = b"".join(start(number) for number in range(1, 6))
        half = len(start(1)) // 2
        end.send(data[:half])
        for number in range(4):
            node.clock.advance(4)
            at = half + number * len(start(1))
            end.send(data[at : at + len(start(1))])
        self.assertFalse(end.transport.closing)
        node.clock.advance(5)
        self.assertTrue(end.transport.half_closed)

    def test_whole_frames_stop_it(self) -> None:
        node = StubNode(echo, read=5.0, idle=60.0)
        end = node.connect()
        data = start(1)
        end.send(data[:20])
        node.clock.advance(4)
        end.send(data[20:])
        node.clock.advance(30)
        self.assertFalse(end.transport.closing)

    def test_skipped_frame_has_it_too(self) -> None:
        node = StubNode(read=5.0)
        end = node.connect()
        end.send(put(1))
        end.send(body(1, bytes(70_000))[:50_000])
        self.assertEqual([frame.json["code"] for frame in end.heard()], ["chunk_too_large"])
        node.clock.advance(5)
        self.assertEqual([frame.json["code"] for frame in end.heard()], ["frame_timeout"])


class Idle(SynchronousTestCase):
    def test_silence_without_streams_ends_in_goaway(self) -> None:
        node = StubNode(echo, idle=60.0)
        end = node.connect()
        node.clock.advance(59)
        end.send(start(1))
        end.heard()
        node.clock.advance(59)
        self.assertFalse(end.transport.closing)
        node.clock.advance(1)
        [goaway] = end.heard()
        self.assertEqual((goaway.flags, goaway.code), (EVENT, Control.GOAWAY))
        self.assertEqual(goaway.json, {"retry_after_ms": 0, "last_corr_id": "1"})
        self.assertTrue(end.transport.half_closed)

    def test_open_stream_keeps_it(self) -> None:
        node = StubNode(idle=60.0)
        end = node.connect()
        end.send(start(1))
        for _ in range(10):
            node.clock.advance(60)
            [asked] = end.heard()
            self.assertEqual((asked.flags, asked.code, asked.corr_id), (EVENT, Control.PING, 0))
            node.clock.advance(1)
            end.send(encode_frame(EVENT, Control.PONG, 0, 0))
            node.clock.advance(10)
            self.assertFalse(end.transport.closing)
        node.calls[0].answer(b"at last")
        node.clock.advance(59)
        self.assertFalse(end.transport.closing)
        node.clock.advance(1)
        self.assertTrue(end.transport.half_closed)

    def test_silent_caller_that_answers_no_ping(self) -> None:
        node = StubNode(idle=60.0, read=5.0)
        end = node.connect()
        end.send(start(1))
        node.clock.advance(60)
        self.assertEqual([frame.code for frame in end.heard()], [Control.PING])
        node.clock.pump([4.5, 1, 0])
        self.assertTrue(end.transport.aborted)
        self.assertTrue(node.calls[0].cancelled)


class Pings(SynchronousTestCase):
    def test_pings_beyond_ten_a_second_are_dropped(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(*[PING] * 25)
        self.assertEqual(len(end.heard()), 10)
        self.assertEqual(node.count("oap_rejects_total", reason="ping"), 15)
        node.clock.advance(1)
        end.send(*[PING] * 11)
        self.assertEqual(len(end.heard()), 10)


PING = encode_frame(EVENT, Control.PING, 0, 7, b"are you there")
