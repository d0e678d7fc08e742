"""The caller's side of a connection."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.caller import (
    CallerConnection,
    CallFailed,
    ChunkReceived,
    GoawayReceived,
    HeadReceived,
    HelloAnswered,
    NodeFailed,
)
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import ConnectionFailed, FrameIgnored
from micronode.oap.wire.frames import COMP, END, EVENT, REQ, RESP, START, encode_frame
from micronode.oap.wire.states import ConnectionState, IllegalSendError
from tests.support.oap import read_frames

APP = 0x0402
HEAD = b'{"status":200}'


def reply(corr_id: int = 0, flags: int = RESP, **members: Any) -> bytes:
    members = {"max_frame": 8192, "max_chunk": 4096, "max_inflight": 3, **members}
    return encode_frame(flags, 200, 0, corr_id, json.dumps(members).encode())


def answer(flags: int, code: int, payload: bytes = b"", *, corr_id: int = 1, app: int = APP) -> bytes:
    return encode_frame(RESP | flags, code, app, corr_id, payload)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.caller = CallerConnection()
        self.caller.hello("test")
        self.receive(reply())

    def receive(self, *frames: bytes) -> list[Any]:
        return list(self.caller.receive(b"".join(frames)))

    def ask(self, *, ended: bool = True) -> int:
        corr_id, _ = self.caller.open(APP, {"op": "query", "args": {}}, ended=ended)
        return corr_id


class Greeting(SynchronousTestCase):
    def setUp(self) -> None:
        self.caller = CallerConnection()

    def greeted_by(self, data: bytes) -> Any:
        self.setUp()
        self.caller.hello("test")
        [event] = self.caller.receive(data)
        return event

    def test_hello_is_understood_by_the_node(self) -> None:
        [event] = NodeConnection().receive(self.caller.hello("test/1"))
        self.assertEqual(event.hello, {"ua": "test/1", "versions": [1]})  # type: ignore[union-attr]
        self.assertRaises(IllegalSendError, self.caller.hello, None)

    def test_limits_are_taken_from_the_reply(self) -> None:
        event = self.greeted_by(reply())
        self.assertIsInstance(event, HelloAnswered)
        self.assertEqual(
            (self.caller.max_frame, self.caller.max_chunk, self.caller.max_inflight), (8192, 4096, 3)
        )
        self.assertIs(self.caller.state, ConnectionState.OPEN)

    def test_reply_of_the_reference_codec_is_enough(self) -> None:
        data = encode_frame(RESP, 200, 0, 0, b'{"max_frame":1048576,"max_inflight":64}')
        self.assertIsInstance(self.greeted_by(data), HelloAnswered)
        self.assertLess(self.caller.max_chunk, 4096)

    def test_bad_replies(self) -> None:
        for data in (
            reply(max_frame=100),
            reply(max_frame=1 << 21),
            reply(max_frame="x"),
            reply(max_chunk=0),
            reply(max_inflight=True),
            reply(corr_id=9),
            reply(flags=RESP | START),
            encode_frame(RESP, 200, 0, 0, b"nonsense"),
            encode_frame(EVENT, 503, 0, 0, b"{}"),
            answer(START | END, 200, HEAD),
            encode_frame(REQ, 0, 0, 0, b"{}"),
            b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(38),
        ):
            with self.subTest(data=data[:60]):
                self.assertIsInstance(self.greeted_by(data), ConnectionFailed)
                self.assertEqual(list(self.caller.receive(reply())), [])

    def test_error_frame_is_the_nodes_word(self) -> None:
        data = encode_frame(RESP | END, 400, 0, 0, b'{"code":"bad_hello"}')
        self.assertEqual(self.greeted_by(data), NodeFailed(400, {"code": "bad_hello"}))
        self.assertIs(self.caller.state, ConnectionState.FAILED)


class Asking(Case):
    def test_ids_increase_and_frames_are_the_nodes(self) -> None:
        node = NodeConnection()
        list(node.receive(CallerConnection().hello(None)))
        node.state = ConnectionState.OPEN
        first, start = self.caller.open(
            APP, {"op": "put", "args": {}}, ended=False, cap=b"cap", tenant=b"t" * 16
        )
        [opened] = node.receive(start)
        self.assertEqual((first, opened.corr_id, opened.cap), (1, 1, b"cap"))  # type: ignore[union-attr]
        self.assertEqual((opened.tenant, opened.ended), (b"t" * 16, False))  # type: ignore[union-attr]
        self.assertEqual(self.ask(), 2)

    def test_body_is_cut_into_chunks(self) -> None:
        corr_id = self.ask(ended=False)
        frames = read_frames(self.caller.body(corr_id, bytes(10_000)) + self.caller.end(corr_id))
        self.assertEqual([len(frame.payload) for frame in frames], [4096, 4096, 1808, 0])
        self.assertEqual([frame.ends for frame in frames], [False, False, False, True])
        self.assertFalse(self.caller.is_asking(corr_id))
        self.assertTrue(self.caller.is_open(corr_id))

    def test_what_is_too_large_is_not_sent(self) -> None:
        big = {"op": "q", "args": {"q": "x" * 20_000}}
        self.assertRaises(ValueError, self.caller.open, APP, big, ended=True)
        self.assertRaises(ValueError, self.caller.open, APP, {}, ended=True, cap=bytes(8193))
        self.assertRaises(ValueError, self.caller.open, APP, {"x": "y" * 8000}, ended=True, cap=bytes(200))
        self.assertEqual(self.ask(), 1)

    def test_misuse(self) -> None:
        corr_id = self.ask()
        self.assertRaises(IllegalSendError, self.caller.body, corr_id, b"x")
        self.assertRaises(IllegalSendError, self.caller.body, 99, b"x")
        self.assertRaises(IllegalSendError, self.caller.end, 99)
        self.assertRaises(IllegalSendError, self.caller.cancel, 99)
        self.caller.cancel(corr_id)
        self.assertRaises(IllegalSendError, self.caller.cancel, corr_id)
        self.caller.close()
        self.assertRaises(IllegalSendError, self.caller.open, APP, {}, ended=True)
        self.assertEqual(self.receive(reply()), [])


class Answers(Case):
    def test_whole_and_streamed(self) -> None:
        self.ask(), self.ask()
        self.assertEqual(
            self.receive(
                answer(START, 200, HEAD),
                answer(START | END, 200, HEAD, corr_id=2),
                answer(0, 206, b"part"),
                answer(END, 200, b"last"),
            ),
            [
                HeadReceived(1, {"status": 200}, False),
                HeadReceived(2, {"status": 200}, True),
                ChunkReceived(1, b"part", False),
                ChunkReceived(1, b"last", True),
            ],
        )
        self.assertFalse(self.caller.is_open(1))

    def test_failure_before_and_after_the_head(self) -> None:
        self.ask(), self.ask()
        events = self.receive(
            answer(END, 404, b'{"code":"not_found"}'),
            answer(START, 200, HEAD, corr_id=2),
            answer(END, 502, b"no json", corr_id=2),
        )
        self.assertEqual(events[0], CallFailed(1, 404, {"code": "not_found"}))
        self.assertEqual(events[2], CallFailed(2, 502, {}))

    def test_early_answer_ends_the_request(self) -> None:
        corr_id = self.ask(ended=False)
        self.receive(answer(END, 413, b"{}"))
        self.assertFalse(self.caller.is_asking(corr_id))

    def test_after_a_cancel_only_the_end_counts(self) -> None:
        corr_id = self.ask()
        [frame] = read_frames(self.caller.cancel(corr_id))
        self.assertEqual((frame.flags, frame.code), (REQ | END, 499))
        events = self.receive(
            answer(START, 200, HEAD), answer(0, 206, b"x"), answer(END, 499), answer(0, 206, b"late")
        )
        self.assertEqual(
            events,
            [FrameIgnored("closed"), FrameIgnored("closed"), CallFailed(1, 499, {}), FrameIgnored("closed")],
        )

    def test_cancel_that_came_too_late(self) -> None:
        corr_id = self.ask()
        self.caller.cancel(corr_id)
        self.assertEqual(self.receive(answer(START | END, 200, HEAD)), [CallFailed(1, 499, {})])

    def test_breaches(self) -> None:
        for name, frames in {
            "chunk before head": [answer(0, 206, b"x")],
            "second head": [answer(START, 200, HEAD), answer(START, 200, HEAD)],
            "another app": [answer(START, 200, HEAD, app=0x0101)],
            "error that does not end": [answer(0, 404, b"{}")],
            "error with START": [answer(START | END, 404, b"{}")],
            "not asked": [answer(START, 200, HEAD, corr_id=7)],
            "id 0": [answer(START, 200, HEAD, corr_id=0)],
            "head that is no JSON": [answer(START, 200, b"{")],
            "a message of no subscription": [
                answer(START, 200, HEAD),
                encode_frame(EVENT, 206, APP, 1, b"{}"),
            ],
            "compressed": [answer(START | COMP, 200, HEAD)],
            "a request": [encode_frame(REQ | START, 0, APP, 1, HEAD)],
            "a chunk over the limit": [answer(START, 200, HEAD), answer(0, 206, bytes(4097))],
            "second HELLO reply": [reply()],
            "no frame": [bytes(40)],
        }.items():
            with self.subTest(name=name):
                self.setUp()
                self.ask()
                *_, last = self.receive(*frames)
                self.assertIsInstance(last, ConnectionFailed)
                self.assertEqual(self.receive(answer(END, 404, b"{}")), [])

    def test_control_events_of_no_meaning_are_passed_over(self) -> None:
        self.ask()
        self.assertEqual(self.receive(encode_frame(EVENT, 200, 0, 0, b"pong")), [FrameIgnored("event")])

    def test_goaway(self) -> None:
        self.ask()
        self.assertEqual(
            self.receive(encode_frame(EVENT, 503, 0, 0, b'{"retry_after_ms":500}')), [GoawayReceived(500)]
        )
        for said, last in (('"7"', 7), ("7", None), ('"x"', None), ('"' + "9" * 21 + '"', None)):
            data = b'{"last_corr_id":%s}' % said.encode()
            self.assertEqual(self.receive(encode_frame(EVENT, 503, 0, 0, data)), [GoawayReceived(None, last)])
        self.assertRaises(IllegalSendError, self.ask)
        self.assertEqual(self.receive(answer(END, 404, b"{}")), [CallFailed(1, 404, {})])
        self.assertEqual(
            self.receive(encode_frame(EVENT, 503, 0, 0, b'{"retry_after_ms":"x"}')), [GoawayReceived(None)]
        )

    def test_cut_anywhere_it_is_the_same(self) -> None:
        self.ask()
        data = answer(START, 200, HEAD) + answer(0, 206, b"part") + answer(END, 200)
        whole = self.receive(data)
        for cut in range(len(data)):
            self.setUp()
            self.ask()
            self.assertEqual(self.receive(data[:cut]) + self.receive(data[cut:]), whole)

    def test_both_sides_agree(self) -> None:
        node, caller = NodeConnection(), CallerConnection()
        [greeted] = node.receive(caller.hello(None))
        list(caller.receive(node.send_hello(greeted, {"versions": [1]})))  # type: ignore[arg-type]
        corr_id, start = caller.open(APP, {"op": "query", "args": {}}, ended=False)
        list(node.receive(start + caller.body(corr_id, b"ask") + caller.end(corr_id)))
        data = node.send_head(corr_id, {"status": 200}) + node.send_body(corr_id, b"answer")
        data += node.send_error(corr_id, ErrorCode.BAD_GATEWAY, {"code": "bad_gateway"})
        self.assertEqual(
            list(caller.receive(data)),
            [
                HeadReceived(1, {"status": 200}, False),
                ChunkReceived(1, b"answer", False),
                CallFailed(1, 502, {"code": "bad_gateway"}),
            ],
        )
