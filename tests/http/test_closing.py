"""Tests for :mod:`micronode.http.closing`."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from micronode.concurrency.stall import StallWatch
from micronode.http.closing import Closing
from micronode.oap.wire.limits import LINGER_BYTES
from tests.contracts.sink import SpyProducer
from tests.http.support import Wire


class ClosingTests(SynchronousTestCase):
    """The end of a transport."""

    def make(self, transport: Any) -> Closing:
        self.clock = Clock()
        self.stalls = 0

        def stalled() -> None:
            self.stalls += 1

        transport.registerProducer(SpyProducer(), True)
        watch = StallWatch(self.clock, transport, stalled)
        return Closing(transport, self.clock, watch, 30.0)

    def test_half_closes_and_closes_later(self) -> None:
        transport = Wire()
        self.make(transport).linger(0)
        self.assertEqual((transport.half_closed, transport.disconnecting), (True, False))
        self.assertIsNone(transport.producer)
        self.clock.advance(0.9)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(0.1)
        self.assertTrue(transport.disconnecting)

    def test_tls_and_others_keep_their_writing_side(self) -> None:
        encrypted = Wire()
        alsoProvides(encrypted, ISSLTransport)
        for transport in (encrypted, StringTransport()):
            self.make(transport).linger(0)
            self.assertFalse(getattr(transport, "half_closed", False))
            self.assertFalse(transport.disconnecting)

    def test_discards_at_most_a_mebibyte(self) -> None:
        transport = Wire()
        closing = self.make(transport)
        closing.linger(1000)
        closing.discard(LINGER_BYTES - 1000)
        self.assertFalse(transport.disconnecting)
        closing.discard(1)
        self.assertTrue(transport.disconnecting)

    def test_input_does_not_hurry_a_close(self) -> None:
        transport = Wire()
        closing = self.make(transport)
        closing.close()
        closing.discard(LINGER_BYTES + 1)
        self.clock.pump([7.5, 7.5, 7.5])
        self.assertEqual(self.stalls, 0)
        self.clock.advance(7.5)
        self.assertEqual(self.stalls, 1)

    def test_transport_that_has_gone_is_not_closed(self) -> None:
        transport = Wire()
        closing = self.make(transport)
        closing.linger(0)
        closing.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(transport.disconnecting)
