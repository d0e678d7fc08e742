"""The streams of a caller: messages of a subscription, promised lengths; the rest is in ``test_caller``."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.caller import (
    CallerConnection,
    CallFailed,
    ChunkReceived,
    HeadReceived,
    MessageReceived,
)
from micronode.oap.wire.compression import InflateError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import ConnectionFailed, FrameIgnored
from micronode.oap.wire.frames import COMP, END, EVENT, RESP, START, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.states import IllegalSendError
from micronode.oap.wire.windows import credit_frame

APP = 0x0201


def inflate(payload: bytes, limit: int) -> bytes:
    """Double *payload*, up to *limit*."""
    if len(payload) * 2 > limit:
        raise InflateError(ErrorCode.DECOMPRESS_CAP, "too much")
    return payload * 2


def message(data: bytes, flags: int = 0, *, code: int = 206, app: int = APP, corr_id: int = 1) -> bytes:
    return encode_frame(EVENT | flags, code, app, corr_id, data)


HEAD = encode_frame(RESP | START, 200, APP, 1, b"{}")


class Messages(SynchronousTestCase):
    def setUp(self) -> None:
        self.caller = CallerConnection(inflate=inflate, windows=True)
        self.caller.hello(None)
        self.hear(
            encode_frame(
                RESP, 200, 0, 0, dump_object({"flags_supported": 255, "ack_window": 8, "max_chunk": 10})
            )
        )
        self.caller.open(APP, {}, ended=True, subscribed=True)

    def hear(self, *frames: bytes) -> list[Any]:
        return list(self.caller.receive(b"".join(frames)))

    def test_they_are_counted_and_credited(self) -> None:
        events = self.hear(HEAD, message(b"1234"), message(b"5", COMP))
        self.assertEqual(
            events, [HeadReceived(1, {}, False), MessageReceived(1, b"1234"), MessageReceived(1, b"55")]
        )
        self.caller.taken(1, 4)
        self.assertEqual(self.caller.credits(), credit_frame(1, 4))
        self.assertEqual(self.hear(message(b"123456")), [MessageReceived(1, b"123456")])
        self.assertEqual(self.caller.open_streams, 1)

    def test_they_end_as_an_answer_does(self) -> None:
        self.hear(HEAD, message(b"1"))
        self.hear(encode_frame(RESP | END, 200, APP, 1))
        self.assertEqual(self.caller.open_streams, 0)
        self.assertEqual(self.hear(message(b"late")), [FrameIgnored("closed")])

    def test_breaches(self) -> None:
        for name, code, frames in (
            ("before the head", ErrorCode.BAD_SEQUENCE, [message(b"1")]),
            ("empty", ErrorCode.BAD_SEQUENCE, [HEAD, message(b"")]),
            ("with START", ErrorCode.BAD_SEQUENCE, [HEAD, message(b"1", START)]),
            ("with END", ErrorCode.BAD_SEQUENCE, [HEAD, message(b"1", END)]),
            ("another code", ErrorCode.BAD_SEQUENCE, [HEAD, message(b"1", code=200)]),
            ("another app", ErrorCode.BAD_SEQUENCE, [HEAD, message(b"1", app=APP + 1)]),
            ("never asked", ErrorCode.BAD_SEQUENCE, [HEAD, message(b"1", corr_id=2)]),
            ("beyond the window", ErrorCode.CREDIT_VIOLATION, [HEAD, message(b"123456789")]),
            ("inflated beyond it", ErrorCode.CREDIT_VIOLATION, [HEAD, message(b"12345", COMP)]),
            ("a bomb", ErrorCode.DECOMPRESS_CAP, [HEAD, message(b"123456", COMP)]),
        ):
            with self.subTest(name=name):
                self.setUp()
                last = self.hear(*frames)[-1]
                assert isinstance(last, ConnectionFailed)
                self.assertIs(last.code, code)

    def test_after_a_cancel_they_are_dropped(self) -> None:
        self.hear(HEAD, message(b"1234"))
        self.caller.cancel(1)
        self.caller.taken(1, 4)
        self.assertEqual(self.caller.credits(), b"")
        end = encode_frame(RESP | END, 499, APP, 1)
        self.assertEqual(self.hear(message(b"5"), end), [FrameIgnored("closed"), CallFailed(1, 499, {})])

    def test_not_of_a_call_that_is_no_subscription(self) -> None:
        self.caller.open(APP, {}, ended=True)
        head = encode_frame(RESP | START, 200, APP, 2, b"{}")
        self.assertIsInstance(self.hear(head, message(b"1", corr_id=2))[-1], ConnectionFailed)

    def test_only_with_windows(self) -> None:
        caller = CallerConnection()
        caller.hello(None)
        list(caller.receive(encode_frame(RESP, 200, 0, 0, b'{"flags_supported":255}')))
        self.assertRaises(IllegalSendError, caller.open, APP, {}, ended=True, subscribed=True)


class Lengths(SynchronousTestCase):
    """A head that promises a length."""

    def hear(self, *frames: bytes) -> list[Any]:
        caller = CallerConnection(inflate=inflate)
        caller.hello(None)
        list(caller.receive(encode_frame(RESP, 200, 0, 0, dump_object({"max_chunk": 10}))))
        caller.open(APP, {}, ended=True)
        head = encode_frame(RESP | START, 200, APP, 1, dump_object({"length": 5}))
        return list(caller.receive(head + b"".join(frames)))

    def test_kept(self) -> None:
        chunk, end = encode_frame(RESP, 206, APP, 1, b"123"), encode_frame(RESP | END, 200, APP, 1, b"45")
        self.assertEqual(
            self.hear(chunk, end)[1:], [ChunkReceived(1, b"123", False), ChunkReceived(1, b"45", True)]
        )
        doubled = encode_frame(RESP | COMP, 206, APP, 1, b"12")
        self.assertIsInstance(
            self.hear(doubled, encode_frame(RESP | END, 200, APP, 1, b"5"))[-1], ChunkReceived
        )

    def test_not_kept(self) -> None:
        for frames in (
            (encode_frame(RESP | END, 200, APP, 1),),
            (encode_frame(RESP, 206, APP, 1, b"1234"), encode_frame(RESP | END, 200, APP, 1)),
            (encode_frame(RESP, 206, APP, 1, b"1234"), encode_frame(RESP, 206, APP, 1, b"56")),
            (encode_frame(RESP | COMP, 206, APP, 1, b"123"),),
        ):
            failed = self.hear(*frames)[-1]
            self.assertIsInstance(failed, ConnectionFailed)
            self.assertEqual(failed.code, ErrorCode.BAD_SEQUENCE)

    def test_no_length_is_owed_by_a_failure(self) -> None:
        error = encode_frame(RESP | END, 502, APP, 1, b"{}")
        self.assertEqual(self.hear(encode_frame(RESP, 206, APP, 1, b"1"), error)[-1], CallFailed(1, 502, {}))

    def test_head_alone_may_have_one(self) -> None:
        caller = CallerConnection()
        caller.hello(None)
        list(caller.receive(encode_frame(RESP, 200, 0, 0, b"{}")))
        caller.open(APP, {}, ended=True)
        frame = encode_frame(RESP | START | END, 200, APP, 1, dump_object({"length": 5}))
        self.assertEqual(list(caller.receive(frame)), [HeadReceived(1, {"length": 5}, True)])
