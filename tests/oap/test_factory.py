"""The listener's factory; how connections drain is in ``test_protocol``."""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.config.schema import Limits, Timeouts
from tests.support.oap import StubNode, hello, start


class OAPFactoryTests(SynchronousTestCase):
    def test_interface(self) -> None:
        factory = StubNode().factory
        verifyObject(IProtocolFactory, factory)
        self.assertEqual(factory.acceptableProtocols(), [b"oap/1"])

    def test_counts_connections_until_they_are_gone(self) -> None:
        node = StubNode()
        first, second = node.connect(), node.connect(greet=False)
        self.assertEqual((node.factory.connections, node.count("oap_connections")), (2, 2))
        first.hang_up()
        self.assertEqual((node.factory.connections, node.count("oap_connections")), (1, 1))
        second.hang_up()
        self.assertEqual(node.factory.connections, 0)

    def test_connections_do_not_share_streams(self) -> None:
        node = StubNode()
        ends = [node.connect(), node.connect()]
        for end in ends:
            end.send(start(1))
        node.calls[1].answer(b"second")
        self.assertEqual(ends[0].heard(), [])
        self.assertEqual(ends[1].heard()[1].payload, b"second")

    def test_other_limits_hold_for_connections_from_now_on(self) -> None:
        """What HELLO told a caller is kept."""
        node = StubNode()
        before = node.connect(greet=False)
        node.factory.bound(Limits(max_inflight=2, max_frame=65_536), Timeouts(handshake=1.0))
        after = node.connect(greet=False)
        node.clock.advance(1.0)
        self.assertEqual((before.transport.closing, after.transport.closing), (False, True))
        before.send(hello())
        told = before.heard()[0].json
        self.assertEqual((told["max_inflight"], told["max_frame"]), (64, 1_048_576))
        third = node.connect(greet=False)
        third.send(hello())
        told = third.heard()[0].json
        self.assertEqual((told["max_inflight"], told["max_frame"]), (2, 65_536))
