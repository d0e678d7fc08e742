"""A node that says nothing while it owes answers is asked, then given up."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.client.errors import OAPError
from micronode.oap.client.protocol import CallerProtocol
from micronode.oap.wire.frames import END, EVENT, RESP, START, Control, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.profiles import Profile

APP = int(Profile.SEARCH)
PING = encode_frame(EVENT, Control.PING, 0, 0)


class SilentNode(SynchronousTestCase):
    def connect(self, **reply: Any) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.protocol = CallerProtocol(self.clock)
        self.protocol.makeConnection(self.transport)
        self.hear(encode_frame(RESP, 200, 0, 0, dump_object({"flags_supported": 255, **reply})))
        self.successResultOf(self.protocol.ready)

    def hear(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def ask(self) -> Any:
        answered = self.protocol.call(APP, {"op": "query"}, b"", None)
        self.transport.clear()
        return answered

    def said(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def test_is_asked_then_given_up(self) -> None:
        self.connect(idle_timeout_ms=20_000)
        answered = self.ask()
        self.clock.advance(19)
        self.assertEqual(self.said(), b"")
        self.clock.advance(1)
        self.assertEqual(self.said(), PING)
        self.clock.advance(9)
        self.assertNoResult(answered)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnected)
        self.protocol.connectionLost()
        error = self.failureResultOf(answered, OAPError).value
        self.assertIn("not been heard of", error.message)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_frame_is_a_sign_of_life(self) -> None:
        self.connect()
        answered = self.ask()
        for _ in range(3):
            self.clock.advance(60)
            self.assertEqual(self.said(), PING)
            self.clock.advance(9)
            self.hear(encode_frame(EVENT, Control.PONG, 0, 0))
        self.clock.advance(59)
        self.assertEqual(self.said(), b"")
        self.assertNoResult(answered)

    def test_a_node_that_owes_nothing_is_left_alone(self) -> None:
        self.connect()
        answered = self.ask()
        self.hear(encode_frame(RESP | START | END, 200, APP, 1, b"{}"))
        self.successResultOf(answered)
        self.clock.pump([60] * 5)
        self.assertEqual(self.said(), b"")

    def test_nonsense_in_hello_means_the_default(self) -> None:
        for wish in ("soon", True, -1, 0, None):
            self.connect(idle_timeout_ms=wish)
            self.ask()
            self.clock.advance(59)
            self.assertEqual(self.said(), b"")
            self.clock.advance(1)
            self.assertEqual(self.said(), PING)

    def test_not_while_we_do_not_read(self) -> None:
        # Without windows, a consumer that pauses keeps the connection from being read.
        self.connect(flags_supported=223, max_chunk=65_536)
        answered = self.ask()
        self.hear(encode_frame(RESP | START, 200, APP, 1, b"{}"))
        response = self.successResultOf(answered)
        for _ in range(3):
            self.hear(encode_frame(RESP, 206, APP, 1, bytes(65_536)))
        self.said()
        self.clock.pump([60] * 5)
        self.assertEqual(self.said(), b"")
        reading = response.read(1 << 20)
        self.clock.advance(60)
        self.assertEqual(self.said(), PING)
        reading.addErrback(lambda _: None)
