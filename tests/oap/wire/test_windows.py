"""Windows by themselves, and at the caller; at the node they are in the ``flow`` vectors."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.caller import CallerConnection, CallerEvent, CreditGranted, NodePinged
from micronode.oap.wire.compression import InflateError
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import ConnectionFailed, FrameIgnored, HelloReceived
from micronode.oap.wire.frames import ACK_REQ, COMP, EVENT, REQ, RESP, START, Control, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.states import IllegalSendError
from micronode.oap.wire.windows import Inflow, RequestWindows, credit_frame

APP = 0x0101
HEAD = encode_frame(RESP | START, 200, APP, 1, b"{}")


def chunk(data: bytes) -> bytes:
    return encode_frame(RESP, 206, APP, 1, data)


class CallerWindows(SynchronousTestCase):
    def setUp(self) -> None:
        self.caller = CallerConnection(windows=True)
        self.caller.hello(None)
        reply = {"flags_supported": 255, "ack_window": 8, "conn_window": 12, "max_chunk": 128}
        self.hear(encode_frame(RESP, 200, 0, 0, dump_object(reply)))
        self.caller.open(APP, {}, ended=False)

    def hear(self, *frames: bytes) -> list[CallerEvent]:
        return list(self.caller.receive(b"".join(frames)))

    def assert_fails(self, code: ErrorCode, *frames: bytes) -> None:
        last = self.hear(*frames)[-1]
        assert isinstance(last, ConnectionFailed)
        self.assertIs(last.code, code)

    def test_request_waits_for_both_windows(self) -> None:
        self.caller.body(1, b"12345678")
        self.assertRaises(IllegalSendError, self.caller.body, 1, b"9")
        self.assertEqual(self.hear(credit_frame(1, 8)), [CreditGranted(1)])
        self.assertEqual(self.caller.room(1), 4)
        self.assertEqual(self.hear(credit_frame(0, 8)), [CreditGranted(0)])
        self.assertEqual(self.caller.room(1), 8)
        self.assertIsNone(self.caller.room(2))

    def test_what_is_not_sent_is_not_counted(self) -> None:
        corr_id, _ = self.caller.open(APP, {}, ended=False)
        room = self.caller.room(corr_id)
        self.assertRaises(TypeError, self.caller.body, corr_id, "text")
        self.assertEqual(self.caller.room(corr_id), room)

    def test_answer_is_credited_when_half_of_the_window_is_used(self) -> None:
        self.hear(HEAD, chunk(b"123"))
        self.caller.taken(1, 3)
        self.assertEqual(self.caller.credits(), b"")
        self.hear(chunk(b"45"))
        self.caller.taken(1, 1)
        self.assertEqual(self.caller.credits(), credit_frame(1, 4))
        self.caller.taken(9, 100)
        self.assertEqual(self.caller.credits(), b"")

    def test_node_that_sends_too_much(self) -> None:
        self.assert_fails(ErrorCode.CREDIT_VIOLATION, HEAD, chunk(b"123456789"))

    def test_node_that_credits_what_was_not_sent(self) -> None:
        self.assert_fails(ErrorCode.CREDIT_VIOLATION, credit_frame(1, 1))

    def test_credit_of_a_wrong_length(self) -> None:
        self.assert_fails(ErrorCode.BAD_REQUEST, encode_frame(EVENT, Control.CREDIT, 0, 1, b"1"))

    def test_credit_for_a_closed_stream(self) -> None:
        self.hear(encode_frame(RESP | 16, 404, APP, 1))
        self.assertEqual(self.hear(credit_frame(1, 1)), [FrameIgnored("credit")])

    def test_ping(self) -> None:
        [ping] = self.hear(encode_frame(EVENT, Control.PING, 0, 3, b"abc"))
        assert isinstance(ping, NodePinged)
        self.assertEqual(self.caller.pong(ping), encode_frame(EVENT, Control.PONG, 0, 3, b"abc"))
        self.assert_fails(ErrorCode.BAD_REQUEST, encode_frame(EVENT, Control.PING, 0, 3, bytes(64) + b"x"))


class NodeWindows(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = NodeConnection(ack_window=8, conn_window=16, inflate=self.inflate)
        [hello] = self.node.receive(encode_frame(REQ, 0, 0, 1, b"{}"))
        assert isinstance(hello, HelloReceived)
        self.node.send_hello(hello, {})
        self.say(REQ | START | ACK_REQ, b"{}")

    def inflate(self, data: bytes, most: int) -> bytes:
        if data == b"bad":
            raise InflateError(ErrorCode.BAD_COMPRESSION, "bad")
        return data * 2

    def say(self, flags: int, data: bytes, code: int = 0) -> list[Any]:
        return list(self.node.receive(encode_frame(flags, code, APP, 1, data)))

    def test_more_than_the_window_is_not_sent(self) -> None:
        self.node.send_head(1, {})
        self.assertRaises(IllegalSendError, self.node.send_body, 1, b"123456789")
        self.assertEqual(self.node.room(1), 8)

    def test_dropped_chunks_count_as_inflated(self) -> None:
        self.say(REQ, b"x", code=7)
        self.assertEqual(self.node.credits(), credit_frame(0, 1))
        self.node.send_error(1, ErrorCode.BAD_SEQUENCE, {})
        self.say(REQ | COMP, b"ab")
        self.assertEqual(self.node.credits(), credit_frame(0, 5))
        self.say(REQ | COMP, b"bad")
        self.node.taken(1, 9)
        self.assertEqual(self.node.credits(), b"")

    def test_ping(self) -> None:
        self.assertEqual(self.node.send_ping(), encode_frame(EVENT, Control.PING, 0, 0))

    def test_only_so_many_are_remembered(self) -> None:
        windows = RequestWindows(8, 16, 2)
        for corr_id in (1, 2, 3):
            windows.remember(corr_id)
        self.assertEqual([windows.is_late(corr_id) for corr_id in (1, 2, 3)], [False, True, True])

    def test_streams_that_stand_still_do_not_keep_the_others_from_their_credit(self) -> None:
        # What SPIN found (specs/models/README.md): less than half of the window was taken, nothing is left.
        windows = RequestWindows(8, 8, 2)
        moving, stuck = Inflow(8), Inflow(8)
        windows.received(1, moving, 1, asking=True)
        windows.taken(1, moving, 1, asking=True)
        self.assertEqual(windows.credits(), b"")
        windows.received(2, stuck, 7, asking=True)
        self.assertEqual(windows.credits(), credit_frame(0, 1))

    def test_what_was_taken_is_credited_when_more_comes(self) -> None:
        windows = RequestWindows(8, 80, 2)
        flow = Inflow(8)
        windows.received(1, flow, 3, asking=True)
        windows.taken(1, flow, 3, asking=True)
        self.assertEqual(windows.credits(), b"")
        windows.received(1, flow, 2, asking=True)
        self.assertEqual(windows.credits(), credit_frame(1, 3))
