"""micronode.adapters.wire: requests go to the kernel directly where that is the same, only faster."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from micronode.adapters.pool import ConnectionPool
from micronode.adapters.wire import OwnerWire


class Descriptor(FileDescriptor):
    """A transport with a kernel below it that takes what *takes* says of each piece, in turn: all without."""

    def __init__(self, reactor: Any, *takes: int | BaseException) -> None:
        super().__init__(reactor)
        self.taken = b""
        self.buffered = b""
        self._takes = list(takes)

    def writeSomeData(self, data: bytes) -> int | BaseException:
        taken = self._takes.pop(0) if self._takes else len(data)
        if isinstance(taken, int):
            self.taken += data[:taken]
        return taken

    def write(self, data: bytes) -> None:
        self.buffered += data

    def abortConnection(self) -> None:
        """Nothing is to be closed."""


class OwnerWireTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.pool = ConnectionPool(self.reactor, None, 1)  # type: ignore[arg-type]  # it connects nothing here

    def wire(self, transport: Any) -> OwnerWire:
        wire = OwnerWire(self.pool)
        wire.makeConnection(transport)
        return wire

    def test_directly(self) -> None:
        """A request goes to the kernel in the next turn, past the transport."""
        transport = Descriptor(self.reactor)
        wire = self.wire(transport)
        wire.write(b"request")
        self.assertEqual(transport.taken, b"")
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"request", b""))

    def test_what_the_kernel_does_not_take(self) -> None:
        """The rest is the transport's, and so is all that follows: nothing overtakes it."""
        for taken in (0, 3):
            transport = Descriptor(self.reactor, taken)
            wire = self.wire(transport)
            wire.write(b"request")
            self.reactor.advance(0)
            wire.write(b"another")
            self.reactor.advance(0)
            self.assertEqual(transport.taken, b"request"[:taken])
            self.assertEqual(transport.buffered, b"request"[taken:] + b"another")

    def test_a_connection_that_is_lost(self) -> None:
        """Of what the kernel refuses the transport hears, who tells that the connection is lost."""
        transport = Descriptor(self.reactor, CONNECTION_LOST)
        wire = self.wire(transport)
        wire.write(b"request")
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"", b"request"))

    def test_closed_before_its_turn(self) -> None:
        """Nothing is sent on a connection that was closed meanwhile."""
        transport = Descriptor(self.reactor)
        wire = self.wire(transport)
        wire.write(b"request")
        wire.kill()
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"", b""))

    def test_behind_an_upload(self) -> None:
        """Who writes to the transport may leave something in it, so all that follows goes there."""
        transport = Descriptor(self.reactor)
        wire = self.wire(transport)
        wire.buffered().write(b"upload")
        wire.write(b"request")
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"", b"uploadrequest"))

    def test_never_past_tls(self) -> None:
        """What wraps a transport offers what is below it as its own: nothing goes there."""
        below = Descriptor(self.reactor)
        wrapper = ProtocolWrapper(WrappingFactory(None), OwnerWire(self.pool))  # type: ignore[arg-type]
        wrapper.transport = below
        self.assertIsNotNone(wrapper.writeSomeData)
        wire = self.wire(wrapper)
        wire.write(b"request")
        self.reactor.advance(0)
        self.assertEqual((below.taken, below.buffered), (b"", b"request"))

        secret = Descriptor(self.reactor)
        directlyProvides(secret, ISSLTransport)
        wire = self.wire(secret)
        wire.write(b"request")
        self.reactor.advance(0)
        self.assertEqual((secret.taken, secret.buffered), (b"", b"request"))

    def test_in_memory(self) -> None:
        """A transport without a kernel below it is written to at once."""
        transport = StringTransport()
        self.wire(transport).write(b"request")
        self.assertEqual(transport.value(), b"request")
