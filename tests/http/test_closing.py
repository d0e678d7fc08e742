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
        return Closing(transport, StallWatch(self.clock, transport, stalled))

    def test_half_close_then_close(self) -> None:
        transport = Wire()
        closing = self.make(transport)
        closing.half_close()
        self.assertEqual((transport.half_closed, transport.disconnecting), (True, False))
        self.assertIsNone(transport.producer)
        closing.close(30.0)
        self.assertTrue(transport.disconnecting)

    def test_tls_and_others_keep_their_writing_side(self) -> None:
        encrypted = Wire()
        alsoProvides(encrypted, ISSLTransport)
        for transport in (encrypted, StringTransport()):
            self.make(transport).half_close()
            self.assertFalse(getattr(transport, "half_closed", False))
            self.assertFalse(transport.disconnecting)

    def test_discards_at_most_a_mebibyte(self) -> None:
        closing = self.make(Wire())
        self.assertFalse(closing.discard(1_048_576))
        self.assertTrue(closing.discard(1))

    def test_close_is_watched(self) -> None:
        self.make(Wire()).close(30.0)
        self.clock.pump([7.5, 7.5, 7.5])
        self.assertEqual(self.stalls, 0)
        self.clock.advance(7.5)
        self.assertEqual(self.stalls, 1)
