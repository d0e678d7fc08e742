"""COMP in the core, with functions that only look like zstd: who is asked, with which limit, when.

What zstd frames come to stands in the vectors of the family ``compression``.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.caller import CallerConnection, CallFailed, ChunkReceived, HeadReceived
from micronode.oap.wire.compression import InflateError
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    ConnectionFailed,
    FrameIgnored,
    HelloReceived,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.frames import APP_E2E, COMP, END, EVENT, REQ, RESP, START, encode_frame
from micronode.oap.wire.limits import MAX_HEAD_BYTES
from tests.support.oap import hello, read_frames

APP = 0x0101
GET = b'{"op":"get","args":{}}'
HEAD = b'{"status":200}'


def deflate(chunk: bytes) -> bytes | None:
    """Say what would be compressed; nothing that begins with a minus."""
    return None if chunk.startswith(b"-") else b"z" + chunk


class Functions:
    """The functions of a connection, which keep what they are asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int]] = []

    def inflate(self, payload: bytes, limit: int) -> bytes:
        self.asked.append((payload, limit))
        if not payload.startswith(b"z"):
            raise InflateError(ErrorCode.BAD_COMPRESSION, "no z")
        if len(payload) > limit:
            raise InflateError(ErrorCode.DECOMPRESS_CAP, "too much")
        return payload[1:]


class NodeCase(SynchronousTestCase):
    def connect(self, accept: list[str] | None = None, **options: Any) -> NodeConnection:
        self.functions = Functions()
        options = {"inflate": self.functions.inflate, "deflate": deflate, **options}
        node = NodeConnection(**options)
        [event] = node.receive(hello(accept=accept))
        assert isinstance(event, HelloReceived)
        node.send_hello(event, {})
        return node

    @staticmethod
    def frame(flags: int, corr_id: int, payload: bytes) -> bytes:
        return encode_frame(flags, 0, APP, corr_id, payload)


class InTests(NodeCase):
    def test_not_offered(self) -> None:
        node = self.connect(inflate=None)
        [refused] = node.receive(self.frame(REQ | START | COMP, 1, b"z" + GET))
        assert isinstance(refused, StreamRefused)
        self.assertIs(refused.code, ErrorCode.BAD_COMPRESSION)
        self.assertIn("flags_supported", refused.message)

    def test_limits_that_are_asked_with(self) -> None:
        node = self.connect(max_chunk=100)
        opened, body = node.receive(
            self.frame(REQ | START | COMP, 1, b"z" + GET) + self.frame(REQ | COMP, 1, b"zbody")
        )
        assert isinstance(opened, StreamOpened)
        self.assertEqual(opened.head, GET)
        self.assertEqual(body, BodyReceived(1, b"body", False))
        self.assertEqual(self.functions.asked, [(b"z" + GET, MAX_HEAD_BYTES), (b"zbody", 100)])

    def test_errors_end_the_stream_alone(self) -> None:
        node = self.connect(max_chunk=8)
        opened = self.frame(REQ | START, 1, GET) + self.frame(REQ | START, 2, GET)
        list(node.receive(opened))
        failed, other = node.receive(self.frame(REQ | COMP, 1, b"x") + self.frame(REQ | COMP, 2, b"zb"))
        assert isinstance(failed, StreamFailed)
        self.assertIs(failed.code, ErrorCode.BAD_COMPRESSION)
        self.assertEqual(other, BodyReceived(2, b"b", False))

    def test_nobody_inflates_what_nobody_waits_for(self) -> None:
        node = self.connect(max_inflight=1)
        list(node.receive(self.frame(REQ | START | END, 5, GET)))
        node.send_error(5, ErrorCode.NOT_FOUND, {})
        said = [
            self.frame(REQ | COMP, 5, b"z"),
            self.frame(REQ | COMP, 6, b"z"),
            self.frame(REQ | START | COMP, 5, b"z"),
            self.frame(REQ | START | COMP | APP_E2E, 6, b"z"),
            encode_frame(EVENT | COMP, 102, 0, 0, b"z"),
        ]
        events = list(node.receive(b"".join(said)))
        self.assertEqual(events[0], FrameIgnored("closed"))
        self.assertIsInstance(events[-1], ConnectionFailed)
        self.assertEqual(self.functions.asked, [])


class OutTests(NodeCase):
    def sent(self, node: NodeConnection, data: bytes, flags: int = 0, **options: bool) -> list[Any]:
        list(node.receive(self.frame(REQ | START | END | flags, node.highest + 1, GET)))
        node.send_head(node.highest, {"status": 200})
        sent = node.send_body(node.highest, data, **options)
        return [(frame.flags, frame.payload) for frame in read_frames(sent)]

    def test_only_if_the_caller_accepts_it(self) -> None:
        for accept in (None, [], ["gzip"], ["ZSTD"]):
            self.assertEqual(self.sent(self.connect(accept), b"data", compress=True), [(RESP, b"data")])
        node = self.connect(["br", "zstd"])
        self.assertEqual(self.sent(node, b"data", compress=True), [(RESP | COMP, b"zdata")])

    def test_only_if_it_may_and_can(self) -> None:
        node = self.connect(["zstd"])
        self.assertEqual(self.sent(node, b"data"), [(RESP, b"data")])
        self.assertEqual(self.sent(node, b"data", APP_E2E, compress=True), [(RESP, b"data")])
        self.assertEqual(self.sent(node, b"", compress=True), [])
        self.assertEqual(
            self.sent(self.connect(["zstd"], deflate=None), b"data", compress=True), [(RESP, b"data")]
        )

    def test_chunk_by_chunk(self) -> None:
        node = self.connect(["zstd"], max_chunk=4)
        self.assertEqual(
            self.sent(node, b"aaaa-bbbcc", compress=True),
            [(RESP | COMP, b"zaaaa"), (RESP, b"-bbb"), (RESP | COMP, b"zcc")],
        )


class CallerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.functions = Functions()
        self.caller = CallerConnection(inflate=self.functions.inflate)
        self.hello = self.caller.hello("test")
        list(self.caller.receive(encode_frame(RESP, 200, 0, 0, b'{"max_chunk":16}')))
        self.caller.open(APP, {"op": "get", "args": {}}, ended=True)

    def receive(self, *said: tuple[int, int, bytes]) -> list[Any]:
        frames = (encode_frame(RESP | flags, code, APP, 1, payload) for flags, code, payload in said)
        return list(self.caller.receive(b"".join(frames)))

    def test_says_what_it_accepts(self) -> None:
        self.assertIn(b'"accept":["zstd"]', self.hello)
        self.assertNotIn(b"accept", CallerConnection().hello("test"))

    def test_heads_chunks_and_errors(self) -> None:
        events = self.receive(
            (START | COMP, 200, b"z" + HEAD),
            (COMP, 206, b"zpart"),
            (0, 206, b"plain"),
            (END | COMP, 500, b"z{}"),
        )
        self.assertEqual(
            events,
            [
                HeadReceived(1, {"status": 200}, False),
                ChunkReceived(1, b"part", False),
                ChunkReceived(1, b"plain", False),
                CallFailed(1, 500, {}),
            ],
        )
        self.assertEqual([limit for _, limit in self.functions.asked], [MAX_HEAD_BYTES, 16, 16])

    def test_what_is_not_taken_is_the_node_s_failure(self) -> None:
        list(self.receive((START, 200, HEAD)))
        [failed] = self.receive((COMP, 206, b"broken"))
        self.assertEqual(failed, ConnectionFailed(ErrorCode.BAD_COMPRESSION, "no z"))
        self.assertEqual(self.receive((END, 200, b"")), [])

    def test_not_on_app_0(self) -> None:
        [failed] = self.caller.receive(encode_frame(EVENT | COMP, 503, 0, 0, b"z{}"))
        self.assertIsInstance(failed, ConnectionFailed)
        self.assertEqual(self.functions.asked, [])

    def test_not_for_what_is_over(self) -> None:
        list(self.receive((START | END, 200, HEAD)))
        self.assertEqual(self.receive((COMP, 206, b"z")), [FrameIgnored("closed")])
        self.assertEqual(self.functions.asked, [])
