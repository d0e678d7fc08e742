"""Whole answers, and messages of subscriptions, as frames; the rest of it is in ``test_connection``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.compression import deflate, make_inflate
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.events import HelloReceived
from micronode.oap.wire.frames import ACK_REQ, APP_E2E, COMP, END, EVENT, REQ, START, encode_frame
from micronode.oap.wire.states import IllegalSendError
from micronode.oap.wire.windows import credit_frame
from tests.support.oap import read_frames

APP, TENANT = 0x0201, b"t" * 16
HELLO = encode_frame(REQ, 0, 0, 1, b'{"accept":["zstd"]}')
LONG = b'{"payload_b64":"' + b"abcd" * 1000 + b'"}'


class EventTests(SynchronousTestCase):
    def node(self, flags: int = ACK_REQ, **limits: int) -> NodeConnection:
        """Return a node with a stream that has its head."""
        node = NodeConnection(**limits, deflate=deflate)  # type: ignore[arg-type]
        opened = encode_frame(REQ | START | END | flags, 0, APP, 1, b"{}", tenant=TENANT)
        for event in node.receive(HELLO + opened):
            if isinstance(event, HelloReceived):
                node.send_hello(event, {})
        node.send_head(1, {"status": 200})
        return node

    def test_one_frame(self) -> None:
        node = self.node()
        [frame] = read_frames(node.send_event(1, b'{"msg_id":"1"}'))
        self.assertEqual((frame.flags, frame.code, frame.app, frame.tenant), (EVENT, 206, APP, TENANT))
        self.assertEqual((frame.corr_id, frame.payload), (1, b'{"msg_id":"1"}'))

    def test_counts_against_the_window(self) -> None:
        node = self.node(ack_window=100)
        node.send_event(1, bytes(60))
        self.assertEqual(node.room(1), 40)
        self.assertRaises(IllegalSendError, node.send_event, 1, bytes(41))
        self.assertEqual(node.room(1), 40)
        node.send_event(1, bytes(40))
        list(node.receive(credit_frame(1, 100)))
        self.assertEqual(node.room(1), 100)

    def test_size(self) -> None:
        node = self.node(max_chunk=50)
        for size in (0, 51):
            self.assertRaises(IllegalSendError, node.send_event, 1, bytes(size))
        self.assertEqual(len(node.send_event(1, bytes(50))), 88)

    def test_what_is_sure_to_fit(self) -> None:
        self.assertEqual(self.node().max_event, 65_536)
        self.assertEqual(self.node(max_chunk=50).max_event, 50)
        self.assertEqual(self.node(ack_window=100).max_event, 50)

    def test_not_without_windows(self) -> None:
        node = self.node(flags=0)
        self.assertRaises(IllegalSendError, node.send_event, 1, b"{}")
        node.send_end(1)

    def test_not_on_a_stream_that_is_not_there(self) -> None:
        node = self.node()
        self.assertRaises(IllegalSendError, node.send_event, 2, b"{}")
        node.send_end(1)
        self.assertRaises(IllegalSendError, node.send_event, 1, b"{}")

    def test_not_while_the_request_is_open(self) -> None:
        node = self.node()
        list(node.receive(encode_frame(REQ | START | ACK_REQ, 0, APP, 2, b"{}")))
        node.send_head(2, {"status": 200})
        self.assertRaises(IllegalSendError, node.send_event, 2, b"{}")
        list(node.receive(encode_frame(REQ | END, 0, APP, 2)))
        self.assertTrue(node.send_event(2, b"{}"))

    def test_compressed_where_it_pays(self) -> None:
        node = self.node()
        [frame] = read_frames(node.send_event(1, LONG, compress=True))
        self.assertEqual(frame.flags, EVENT | COMP)
        self.assertEqual(make_inflate()(frame.payload, 65_536), LONG)
        self.assertEqual(node.room(1), 131_072 - len(LONG))
        [small] = read_frames(node.send_event(1, b"{}", compress=True))
        [plain] = read_frames(node.send_event(1, LONG))
        self.assertEqual((small.flags, plain.flags), (EVENT, EVENT))

    def test_opaque_ones_never(self) -> None:
        node = self.node(flags=ACK_REQ | APP_E2E)
        [frame] = read_frames(node.send_event(1, LONG, compress=True))
        self.assertEqual((frame.flags, frame.payload), (EVENT, LONG))


class WholeTests(SynchronousTestCase):
    """A whole answer is what its head, its body and its end are one after the other."""

    def node(self, flags: int = 0, **limits: int) -> NodeConnection:
        """Return a node with two streams that were asked something."""
        node = NodeConnection(**limits, deflate=deflate)  # type: ignore[arg-type]
        opened = b"".join(
            encode_frame(REQ | START | END | flags, 0, APP, corr_id, b"{}", tenant=TENANT)
            for corr_id in (1, 2)
        )
        for event in node.receive(HELLO + opened):
            if isinstance(event, HelloReceived):
                node.send_hello(event, {})
        return node

    def test_the_same_frames(self) -> None:
        head = {"status": 200, "content_type": "text/plain", "verified": True}
        for body in (b"", b"x", LONG, LONG * 50):
            for flags in (0, ACK_REQ, APP_E2E):
                for compress in (False, True):
                    node, other = self.node(flags, ack_window=1 << 20), self.node(flags, ack_window=1 << 20)
                    whole = node.send_answer(1, head, body, compress=compress)
                    pieces = other.send_head(1, head), other.send_body(1, body, compress=compress)
                    self.assertEqual(whole, b"".join(pieces) + other.send_end(1))
                    self.assertEqual((node.open_streams, node.is_open(1)), (1, False))

    def test_refused_as_they_are(self) -> None:
        node = self.node(ACK_REQ, ack_window=10)
        self.assertRaises(IllegalSendError, node.send_answer, 1, {}, bytes(11))
        self.assertRaises(IllegalSendError, node.send_answer, 1, {"etag": "x" * 20_000}, b"x")
        self.assertRaises(IllegalSendError, node.send_answer, 3, {}, b"x")
        self.assertEqual(node.open_streams, 2)
        node.send_answer(1, {}, bytes(10))
        self.assertRaises(IllegalSendError, node.send_answer, 1, {}, b"x")
        node.send_head(2, {})
        self.assertRaises(IllegalSendError, node.send_answer, 2, {}, b"x")
        self.assertTrue(node.is_open(2))
