"""micronode.adapters.wire: a connection that is closed is not written to."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.pool import ConnectionPool
from micronode.adapters.wire import OwnerWire
from tests.concurrency.test_outgoing import Descriptor


class OwnerWireTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.pool = ConnectionPool(self.reactor, None, 1)  # type: ignore[arg-type]  # it connects nothing here

    def wire(self, transport: Any) -> OwnerWire:
        wire = OwnerWire(self.pool)
        wire.makeConnection(transport)
        return wire

    def test_closed_before_its_turn(self) -> None:
        """Nothing is sent on a connection that was closed meanwhile."""
        transport = Descriptor(self.reactor)
        wire = self.wire(transport)
        wire.outlet.write((b"request",))
        wire.kill()
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"", b""))

    def test_retired_before_its_turn(self) -> None:
        """What was written still leaves: the transport closes behind it."""
        transport = Descriptor(self.reactor)
        wire = self.wire(transport)
        wire.outlet.write((b"request",))
        wire.retire()
        self.assertEqual((transport.taken, transport.buffered), (b"", b"request"))

    def test_nothing_is_between_it_and_a_descriptor(self) -> None:
        """What an endpoint puts there for the beginning is left out of all that follows."""
        transport, memory = Descriptor(self.reactor), StringTransport()
        transport.protocol = memory.protocol = None  # type: ignore[attr-defined]
        wire = self.wire(transport)
        self.assertIs(transport.protocol, wire)  # type: ignore[attr-defined]
        self.wire(memory)
        self.assertIsNone(memory.protocol)  # type: ignore[attr-defined]
