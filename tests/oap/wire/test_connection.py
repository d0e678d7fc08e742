"""What the session vectors cannot say about ``NodeConnection``: misuse, laziness, the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import micronode
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    ConnectionFailed,
    Event,
    FrameIgnored,
    HelloReceived,
    PingReceived,
    StreamCancelled,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.frames import END, EVENT, REQ, RESP, START, Control, encode_frame
from micronode.oap.wire.limits import MAX_HEAD_BYTES
from micronode.oap.wire.states import ConnectionState, IllegalSendError

APP, TENANT = 0x0402, bytes(range(16))
HELLO = encode_frame(REQ, 0, 0, 1, b'{"ua":null}')
PING = encode_frame(EVENT, Control.PING, 0, 0, b"x")


def ask(corr_id: int, flags: int = REQ | START | END, code: int = 0) -> bytes:
    """Return a request of one frame."""
    return encode_frame(flags, code, APP, corr_id, b"{}", tenant=TENANT)


def greeted(node: NodeConnection | None = None, hello: bytes = HELLO) -> NodeConnection:
    """Return a node that has answered HELLO."""
    node = node or NodeConnection()
    [event] = node.receive(hello)
    assert isinstance(event, HelloReceived)
    node.send_hello(event, {"flags_supported": 159})
    return node


class HelloTests(SynchronousTestCase):
    def _reply(self, node: NodeConnection, hello: bytes) -> dict[str, object]:
        [event] = node.receive(hello)
        assert isinstance(event, HelloReceived)
        [frame] = FrameDecoder().feed(node.send_hello(event, {"server": "micronode/x", "ext": []}))
        flags, code, app, _, corr_id, _, payload = frame
        self.assertEqual((flags, code, app, corr_id), (RESP, 200, 0, event.corr_id))
        return json.loads(payload or b"")

    def test_reply_tells_the_agreed_limits(self) -> None:
        node = NodeConnection(max_inflight=3)
        reply = self._reply(node, encode_frame(REQ, 0, 0, 1, b'{"max_frame":8192}'))
        expected = {"max_frame": 8_192, "max_inflight": 3, "max_chunk": 8_154}
        self.assertEqual(reply, {**expected, "server": "micronode/x", "ext": []})
        self.assertEqual((node.max_frame, node.max_chunk, node.max_inflight), (8_192, 8_154, 3))

    def test_a_larger_wish_changes_nothing(self) -> None:
        node = NodeConnection(max_frame=100_000, max_chunk=1_000)
        reply = self._reply(node, encode_frame(REQ, 0, 0, 1, b'{"max_frame":200000}'))
        self.assertEqual((reply["max_frame"], reply["max_chunk"]), (100_000, 1_000))

    def test_max_chunk_fits_a_frame(self) -> None:
        node = NodeConnection(max_frame=10_000)
        self.assertEqual(node.max_chunk, 9_962)

    def test_hello_may_be_longer_than_a_chunk(self) -> None:
        node = NodeConnection(max_chunk=64)
        greeted(node, encode_frame(REQ, 0, 0, 1, b"{" + b" " * (MAX_HEAD_BYTES - 2) + b"}"))
        self.assertEqual(node.state, ConnectionState.OPEN)

    def test_answered_once(self) -> None:
        node = NodeConnection()
        [event] = node.receive(HELLO)
        assert isinstance(event, HelloReceived)
        node.send_hello(event, {})
        self.assertRaises(IllegalSendError, node.send_hello, event, {})

    def test_nothing_is_answered_before_it(self) -> None:
        node = NodeConnection()
        list(node.receive(HELLO + ask(1)))
        self.assertEqual(node.state, ConnectionState.GREETED)
        error = self.assertRaises(IllegalSendError, node.send_head, 1, {"status": 200})
        self.assertIn("GREETED", str(error))
        self.assertRaises(IllegalSendError, node.send_goaway, 1)

    def test_a_version_error_lists_the_versions(self) -> None:
        node = NodeConnection()
        [event] = node.receive(bytes.fromhex("000000260002"))
        assert isinstance(event, ConnectionFailed)
        [frame] = FrameDecoder().feed(node.send_failure(event, {"code": event.code.value}))
        self.assertEqual(json.loads(frame[6] or b""), {"code": "bad_version", "versions": [1]})


class ReceiveTests(SynchronousTestCase):
    def test_what_is_sent_between_two_events_counts_for_the_next(self) -> None:
        node = greeted(NodeConnection(max_inflight=1))
        events = node.receive(ask(1) + ask(2) + ask(3))
        self.assertIsInstance(next(events), StreamOpened)
        self.assertIsInstance(next(events), StreamRefused)
        node.send_head(1, {"status": 200}, ended=True)
        self.assertIsInstance(next(events), StreamOpened)
        self.assertEqual((node.open_streams, node.highest), (1, 3))

    def test_goaway_between_two_events(self) -> None:
        node = greeted()
        events = node.receive(ask(1) + ask(2))
        next(events)
        node.send_goaway(1_000)
        refused = next(events)
        assert isinstance(refused, StreamRefused)
        self.assertEqual(refused.code, ErrorCode.DRAINING)
        self.assertRaises(IllegalSendError, node.send_goaway, 1_000)

    def test_failing_between_two_events_ends_them(self) -> None:
        node = greeted()
        events = node.receive(ask(1) + PING)
        next(events)
        node.fail(ErrorCode.TIMEOUT, "too slow")
        self.assertEqual(list(events), [])

    def test_closing_between_two_events_ends_them(self) -> None:
        node = greeted()
        events = node.receive(PING + PING)
        next(events)
        self.assertFalse(node.close())
        self.assertEqual(list(events), [])

    def test_nothing_comes_after_a_failure(self) -> None:
        node = greeted()
        [failed] = node.receive(HELLO + PING)
        self.assertIsInstance(failed, ConnectionFailed)
        self.assertEqual(list(node.receive(PING)), [])

    def test_nothing_comes_after_the_close(self) -> None:
        node = greeted()
        node.close()
        self.assertEqual(list(node.receive(PING)), [])

    def test_mid_frame(self) -> None:
        node = greeted()
        self.assertFalse(node.mid_frame)
        list(node.receive(PING[:3]))
        self.assertTrue(node.mid_frame)
        [event] = node.receive(PING[3:])
        self.assertEqual(event, PingReceived(0, b"x"))
        self.assertFalse(node.mid_frame)


class EndTests(SynchronousTestCase):
    def test_truncated_only_inside_a_frame(self) -> None:
        node = greeted()
        list(node.receive(PING[:1]))
        self.assertTrue(node.close())
        self.assertFalse(node.close())

    def test_a_failed_connection_is_not_truncated_too(self) -> None:
        node = NodeConnection()
        list(node.receive(b"\xff" * 5))
        self.assertFalse(node.close())
        self.assertEqual(node.state, ConnectionState.CLOSED)

    def test_fail_from_outside(self) -> None:
        node = NodeConnection()
        self.assertEqual(
            node.fail(ErrorCode.BAD_HELLO, "no HELLO in time"),
            ConnectionFailed(ErrorCode.BAD_HELLO, "no HELLO in time"),
        )
        self.assertIsNone(node.fail(ErrorCode.FRAME_TIMEOUT, "again"))
        self.assertEqual(node.state, ConnectionState.FAILED)

    def test_a_failure_ends_every_stream(self) -> None:
        """After the one error frame of the connection nothing is owed, and nothing may be sent."""
        node = greeted()
        list(node.receive(ask(1) + ask(2)))
        node.send_head(2, {"status": 200})
        node.fail(ErrorCode.FRAME_TIMEOUT, "")
        self.assertEqual(node.open_streams, 0)
        self.assertFalse(node.is_open(1))
        self.assertRaises(IllegalSendError, node.send_body, 2, b"x")
        self.assertRaises(IllegalSendError, node.send_error, 1, ErrorCode.CANCELLED, {})

    def test_a_failure_is_said_on_app_0(self) -> None:
        node = NodeConnection()
        failed = ConnectionFailed(ErrorCode.FRAME_TIMEOUT, "")
        data = node.send_failure(failed, {"code": "frame_timeout"})
        expected = (RESP | END, 408, 0, bytes(16), 0, b"", b'{"code":"frame_timeout"}')
        self.assertEqual(list(FrameDecoder().feed(data)), [expected])


class SendTests(SynchronousTestCase):
    def test_a_cancelled_stream_takes_only_its_end(self) -> None:
        node = greeted()
        events: list[Event] = list(node.receive(ask(1) + ask(1, REQ | END, 499)))
        self.assertEqual(events[1], StreamCancelled(1))
        self.assertTrue(node.is_open(1))
        self.assertRaises(IllegalSendError, node.send_head, 1, {"status": 200})
        [frame] = FrameDecoder().feed(node.send_error(1, ErrorCode.CANCELLED, {"code": "cancelled"}))
        self.assertEqual(frame, (RESP | END, 499, APP, TENANT, 1, b"", b""))
        self.assertFalse(node.is_open(1))
        self.assertEqual(list(node.receive(ask(1, REQ | END, 499))), [FrameIgnored("closed")])

    def test_exactly_one_end(self) -> None:
        node = greeted()
        list(node.receive(ask(1)))
        node.send_head(1, {"status": 200})
        node.send_end(1)
        error = self.assertRaises(IllegalSendError, node.send_end, 1)
        self.assertEqual(str(error), "SEND_END on stream 1, which is closed")
        self.assertRaises(IllegalSendError, node.send_error, 1, ErrorCode.INTERNAL, {})

    def test_one_head_and_no_body_before_it(self) -> None:
        node = greeted()
        list(node.receive(ask(1)))
        error = self.assertRaises(IllegalSendError, node.send_body, 1, b"x")
        self.assertEqual(str(error), "SEND_BODY on stream 1, which is ASKED")
        node.send_head(1, {"status": 200})
        self.assertRaises(IllegalSendError, node.send_head, 1, {"status": 200})

    def test_body_is_cut_into_chunks(self) -> None:
        node = greeted(NodeConnection(max_chunk=4))
        list(node.receive(ask(1)))
        node.send_head(1, {"status": 200})
        frames = list(FrameDecoder().feed(node.send_body(1, b"hello world")))
        self.assertEqual([frame[6] for frame in frames], [b"hell", b"o wo", b"rld"])
        self.assertEqual({frame[:5] for frame in frames}, {(RESP, 206, APP, TENANT, 1)})
        self.assertEqual(node.send_body(1, b""), b"")

    def test_a_head_too_long_is_not_sent(self) -> None:
        node = greeted(NodeConnection(max_frame=4_096))
        list(node.receive(ask(1)))
        self.assertEqual(node.max_head, 4_058)
        self.assertRaises(IllegalSendError, node.send_head, 1, {"etag": "x" * 4_058})
        node.send_head(1, {"etag": "x" * (4_058 - len('{"etag":""}'))})
        large = greeted()
        self.assertEqual(large.max_head, MAX_HEAD_BYTES)
        list(large.receive(ask(1)))
        self.assertRaises(IllegalSendError, large.send_head, 1, {"etag": "x" * MAX_HEAD_BYTES})

    def test_goaway_names_the_highest_id(self) -> None:
        node = greeted()
        list(node.receive(ask(41)))
        [frame] = FrameDecoder().feed(node.send_goaway(1_500))
        expected = b'{"retry_after_ms":1500,"last_corr_id":"41"}'
        self.assertEqual(frame, (EVENT, 503, 0, bytes(16), 0, b"", expected))


class ImportTests(SynchronousTestCase):
    def test_pulls_in_the_standard_library_alone(self) -> None:
        """In a fresh interpreter, since this one has Twisted already."""
        code = "import sys, micronode.oap.wire.connection; print(' '.join(sys.modules))"
        root = str(Path(micronode.__file__).resolve().parents[1])
        loaded = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.split()
        roots = {name.partition(".")[0] for name in loaded}
        self.assertIn("micronode", roots)
        for foreign in ("twisted", "zope", "attr", "attrs", "automat", "hyperlink"):
            self.assertNotIn(foreign, roots)
        ours = {name for name in loaded if name.startswith("micronode.")}
        self.assertEqual({name for name in ours if not name.startswith("micronode.oap")}, set())
