"""A connection over OAP/1 that makes way for others: an idle one, and one without HELLO."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import Control
from tests.support.oap import CallerEnd, StubNode, start


class PlacesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = StubNode()

    def idle_since(self, end: CallerEnd) -> float | None:
        return end.protocol.idle_since_s


class IdleTests(PlacesCase):
    def test_since_its_last_frame(self) -> None:
        end = self.node.connect()
        self.node.clock.advance(3)
        self.assertEqual(self.idle_since(end), 0.0)
        end.send(start(1))
        self.assertIsNone(self.idle_since(end), "a call runs")
        self.node.clock.advance(4)
        self.node.calls[0].answer(b"hello")
        self.assertEqual(self.idle_since(end), 7.0)

    def test_not_before_hello_nor_in_a_frame_nor_behind_its_end(self) -> None:
        silent, begun, closing = self.node.connect(greet=False), self.node.connect(), self.node.connect()
        begun.send(start(1)[:20])
        closing.protocol.goaway(0)
        self.assertEqual([self.idle_since(end) for end in (silent, begun, closing)], [None] * 3)

    def test_reaped(self) -> None:
        end = self.node.connect()
        self.assertTrue(end.protocol.reap())
        (goaway,) = end.heard()
        self.assertEqual((goaway.app, goaway.code), (0, Control.GOAWAY))
        self.assertTrue(end.transport.closing)
        self.assertFalse(end.protocol.reap(), "it is on its way")

    def test_not_while_a_call_runs(self) -> None:
        end = self.node.connect()
        end.send(start(1))
        self.assertFalse(end.protocol.reap())
        self.assertFalse(end.transport.closing)


class HandshakeTests(PlacesCase):
    def test_makes_way(self) -> None:
        end = self.node.connect(greet=False)
        self.assertEqual(self.node.factory.held.handshakes, 1)
        end.protocol.make_way()
        (error,) = end.heard()
        self.assertEqual((error.code, error.json["code"], error.json["retryable"]), (408, "timeout", True))
        self.assertTrue(end.transport.closing)
        end.hang_up()
        self.assertEqual((self.node.factory.held.handshakes, len(self.node.factory.held)), (0, 0))

    def test_finished_with_hello(self) -> None:
        end = self.node.connect()
        self.assertEqual((self.node.factory.held.handshakes, len(self.node.factory.held)), (0, 1))
        end.hang_up()
        self.assertEqual(len(self.node.factory.held), 0)
