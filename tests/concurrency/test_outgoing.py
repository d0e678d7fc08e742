"""Tests for :mod:`micronode.concurrency.outgoing`: past the transport where that is the same, only faster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from micronode.concurrency.outgoing import MAX_WAITING_BYTES, Outgoing, Outlet


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

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.buffered += b"".join(data)

    def abortConnection(self) -> None:
        """Nothing is to be closed."""


class OutletTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.outgoing = Outgoing(self.reactor)

    def outlet(self, transport: Any) -> Outlet:
        return Outlet(transport, self.outgoing)

    def test_directly(self) -> None:
        """What is written goes to the kernel in the next turn, past the transport."""
        transport = Descriptor(self.reactor)
        outlet = self.outlet(transport)
        outlet.write((b"request",))
        self.assertEqual(transport.taken, b"")
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"request", b""))

    def test_what_the_kernel_does_not_take(self) -> None:
        """The rest is the transport's, and so is all that follows: nothing overtakes it."""
        for taken in (0, 3):
            transport = Descriptor(self.reactor, taken)
            outlet = self.outlet(transport)
            outlet.write((b"request",))
            self.reactor.advance(0)
            outlet.write((b"another",))
            self.reactor.advance(0)
            self.assertEqual(transport.taken, b"request"[:taken])
            self.assertEqual(transport.buffered, b"request"[taken:] + b"another")

    def test_a_connection_that_is_lost(self) -> None:
        """Of what the kernel refuses the transport hears, who tells that the connection is lost."""
        transport = Descriptor(self.reactor, CONNECTION_LOST)
        outlet = self.outlet(transport)
        outlet.write((b"request",))
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"", b"request"))

    def test_dropped_before_its_turn(self) -> None:
        """Nothing is sent on a connection that is gone meanwhile."""
        transport = Descriptor(self.reactor)
        outlet = self.outlet(transport)
        outlet.write((b"request",))
        outlet.drop()
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"", b""))

    def test_behind_an_upload(self) -> None:
        """Who writes to the transport may leave something in it, so all that follows goes there."""
        transport = Descriptor(self.reactor)
        outlet = self.outlet(transport)
        outlet.buffered().write(b"upload")
        outlet.write((b"request",))
        self.reactor.advance(0)
        self.assertEqual((transport.taken, transport.buffered), (b"", b"uploadrequest"))

    def test_never_past_tls(self) -> None:
        """What wraps a transport offers what is below it as its own: nothing goes there."""
        below = Descriptor(self.reactor)
        wrapper = ProtocolWrapper(WrappingFactory(None), Protocol())  # type: ignore[arg-type]
        wrapper.transport = below
        self.assertIsNotNone(wrapper.writeSomeData)
        outlet = self.outlet(wrapper)
        outlet.write((b"request",))
        self.reactor.advance(0)
        self.assertEqual((below.taken, below.buffered), (b"", b"request"))

        secret = Descriptor(self.reactor)
        directlyProvides(secret, ISSLTransport)
        outlet = self.outlet(secret)
        outlet.write((b"request",))
        self.reactor.advance(0)
        self.assertEqual((secret.taken, secret.buffered), (b"", b"request"))

    def test_in_memory(self) -> None:
        """A transport without a kernel below it is written to at once."""
        transport = StringTransport()
        self.outlet(transport).write((b"re", b"quest"))
        self.assertEqual(transport.value(), b"request")

    def test_together(self) -> None:
        """What one turn writes leaves in one piece in the next, in order, each outlet's in its turn."""
        one, other = Descriptor(self.reactor), Descriptor(self.reactor, 0)
        first, second = self.outlet(one), self.outlet(other)
        for outlet in (first, second, first):
            outlet.write((b"a", b"b"))
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(0)
        self.assertEqual((one.taken, other.buffered, self.reactor.getDelayedCalls()), (b"abab", b"ab", []))

    def test_written_while_it_sends(self) -> None:
        """What sending brings about leaves in a turn of its own, behind all that was there."""
        order: list[bytes] = []

        class Telling(Descriptor):
            def writeSomeData(self, data: bytes) -> int | BaseException:
                order.append(data)
                if data == b"one":
                    first.write((b"again",))
                return len(data)

        first, second = self.outlet(Telling(self.reactor)), self.outlet(Telling(self.reactor))
        first.write((b"one",))
        second.write((b"two",))
        self.reactor.pump([0, 0])
        self.assertEqual(order, [b"one", b"two", b"again"])

    def test_one_that_fails_is_given_up_and_the_others_go_on(self) -> None:
        class Broken(Descriptor):
            aborted = 0

            def writeSomeData(self, data: bytes) -> int | BaseException:
                raise RuntimeError("a defect")

            def abortConnection(self) -> None:
                self.aborted += 1

        class Hopeless(Broken):
            def abortConnection(self) -> None:
                raise ValueError("another one")

        one, broken, hopeless, other = (
            each(self.reactor) for each in (Descriptor, Broken, Hopeless, Descriptor)
        )
        outlets = [self.outlet(each) for each in (one, broken, hopeless, other)]
        for outlet in outlets:
            outlet.write((b"answer",))
        self.reactor.advance(0)
        self.assertEqual((one.taken, other.taken), (b"answer", b"answer"))
        self.assertEqual((broken.aborted, broken.buffered), (1, b""))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        outlets[0].write((b"the next",))
        self.reactor.advance(0)
        self.assertEqual(one.taken, b"answerthe next")

    def test_more_than_may_wait(self) -> None:
        """It is the transport's at once, which then asks for a pause."""
        transport = Descriptor(self.reactor)
        outlet = self.outlet(transport)
        outlet.write((bytes(MAX_WAITING_BYTES),))
        self.assertEqual(transport.buffered, b"")
        outlet.write((b"x",))
        self.assertEqual(len(transport.buffered), MAX_WAITING_BYTES + 1)
        self.assertFalse(outlet.past_buffers)
        self.reactor.advance(0)
        self.assertEqual(transport.taken, b"")
