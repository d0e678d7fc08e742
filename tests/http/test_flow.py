"""Tests for :mod:`micronode.http.flow`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.http.flow import Flow
from tests.contracts.sink import SpyProducer
from tests.http.support import Wire


class FlowTests(SynchronousTestCase):
    """A transport that fills and empties."""

    def setUp(self) -> None:
        self.transport = Wire()
        self.heard: list[str] = []
        self.flow = Flow(
            self.transport,
            filled=lambda: self.heard.append("filled"),
            emptied=lambda: self.heard.append("emptied"),
        )

    def test_provides_the_interface(self) -> None:
        verifyObject(IPushProducer, self.flow)

    def test_is_the_transports_producer(self) -> None:
        self.assertIs(self.transport.producer, self.flow)
        self.assertTrue(self.transport.streaming)

    def test_producer_follows_the_transport(self) -> None:
        producer = SpyProducer()
        self.flow.attach(producer)
        self.transport.fill()
        self.assertTrue(self.flow.full)
        self.transport.drain()
        self.assertFalse(self.flow.full)
        self.flow.detach()
        self.transport.fill()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.assertEqual(self.heard, ["filled", "emptied", "filled"])

    def test_producer_comes_late(self) -> None:
        self.transport.fill()
        producer = SpyProducer()
        self.flow.attach(producer)
        self.assertEqual(producer.told, ["pause"])

    def test_full_transport_is_still_read(self) -> None:
        self.transport.fill()
        self.assertEqual(self.transport.producerState, "producing")

    def test_lets_go_of_the_transport(self) -> None:
        self.flow.close()
        self.assertIsNone(self.transport.producer)

    def test_left(self) -> None:
        """What a full buffer has has left when it is empty; nobody waits for one that is not full."""
        self.successResultOf(self.flow.left())
        self.transport.fill()
        first, second, gone = self.flow.left(), self.flow.left(), self.flow.left()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertNoResult(first)
        first.addCallback(lambda _: self.heard.append("left"))
        self.transport.drain()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.heard, ["filled", "left", "emptied"])

    def test_left_with_the_connection(self) -> None:
        self.transport.fill()
        left = self.flow.left()
        self.flow.close()
        self.assertNoResult(left)
        self.flow.lost()
        self.successResultOf(left)
