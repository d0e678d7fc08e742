"""How a connection is closed so that its last words arrive."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import INegotiated
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from micronode.concurrency.farewell import Farewell
from micronode.oap.wire.limits import LINGER_BYTES, LINGER_S
from tests.support.oap import MemoryTransport


class _Protocol:
    """Forwards the end, as the real ones do."""

    farewell: Farewell

    def connectionLost(self, reason: object) -> None:
        self.farewell.over()


class FarewellTests(SynchronousTestCase):
    def make(self, *, tls: bool = False) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport(self.clock)
        if tls:
            alsoProvides(self.transport, INegotiated)
        self.transport.protocol = _Protocol()
        self.farewell = self.transport.protocol.farewell = Farewell(self.transport, self.clock, stall_s=30.0)

    def setUp(self) -> None:
        self.make()

    def left(self) -> int:
        return len([call for call in self.clock.getDelayedCalls() if call.active()])

    def test_lingers_then_closes(self) -> None:
        self.farewell.begin(0, linger=True)
        self.assertTrue(self.transport.half_closed)
        self.clock.advance(LINGER_S / 2)
        self.farewell.received(1000)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(LINGER_S / 2)
        self.assertTrue(self.transport.disconnecting)
        self.clock.advance(0)
        self.assertEqual(self.left(), 0)

    def test_what_was_discarded_before_counts(self) -> None:
        self.farewell.begin(LINGER_BYTES, linger=True)
        self.assertFalse(self.transport.disconnecting)
        self.farewell.received(1)
        self.assertTrue(self.transport.disconnecting)

    def test_no_lingering_where_nothing_can_come(self) -> None:
        self.farewell.begin(0, linger=False)
        self.assertEqual((self.transport.half_closed, self.transport.disconnecting), (False, True))

    def test_caller_that_closes_too_ends_the_lingering(self) -> None:
        self.farewell.begin(0, linger=True)
        self.farewell.input_ended()
        self.assertTrue(self.transport.disconnecting)

    def test_caller_that_takes_nothing_is_cut(self) -> None:
        self.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        self.farewell.begin(0, linger=False)
        self.clock.pump([7.5] * 3)
        self.assertFalse(self.transport.aborted)
        self.clock.advance(7.5)
        self.assertTrue(self.transport.aborted)

    def test_input_does_not_hurry_a_close(self) -> None:
        """What is still unsent is given its time, whatever else the caller sends."""
        self.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        self.farewell.begin(0, linger=False)
        self.farewell.received(LINGER_BYTES + 1)
        self.clock.advance(LINGER_S)
        self.assertFalse(self.transport.aborted)

    def unread(self, *, much: bool) -> socket.socket:
        """Let the transport be one end of a pair, in which something is unread; return the other end."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.send(b"an answer")
        self.transport.fileno = near.fileno  # type: ignore[attr-defined]
        self.farewell.begin(0, linger=False, much=much)
        return far

    def test_what_is_unread_is_waited_for(self) -> None:
        far = self.unread(much=False)
        self.assertEqual((self.transport.half_closed, self.transport.disconnecting), (True, False))
        self.farewell.shut()
        self.clock.advance(LINGER_S)
        self.farewell.input_ended()
        self.assertFalse(self.transport.disconnecting)
        far.recv(100)
        self.clock.advance(0.1)
        self.assertTrue(self.transport.disconnecting)
        self.clock.advance(0)
        self.assertEqual(self.left(), 0)

    def test_what_is_unread_is_left_to_the_kernel_at_the_end(self) -> None:
        self.assertFalse(self.farewell.leave())
        self.unread(much=False)
        self.assertFalse(self.farewell.leave())
        self.farewell.shut()
        self.assertTrue(self.farewell.leave())
        self.assertEqual((self.transport.disconnecting, self.transport.aborted), (True, False))
        self.clock.advance(0)
        self.assertFalse(self.farewell.leave())
        self.assertEqual(self.left(), 0)

    def test_what_stays_unread_is_cut(self) -> None:
        self.unread(much=False)
        self.farewell.shut()
        self.clock.pump([7.5] * 4)
        self.assertFalse(self.transport.disconnecting)
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.left(), 0)

    def test_much_is_waited_for_until_all_is_written(self) -> None:
        self.farewell.begin(0, linger=False, much=True)
        self.assertEqual((self.transport.half_closed, self.transport.disconnecting), (True, False))
        # Not before it is with the kernel can it be seen whether it is taken.
        self.clock.advance(LINGER_S)
        self.assertFalse(self.transport.disconnecting)
        self.farewell.shut()
        self.assertTrue(self.transport.disconnecting)

    def test_unread_words_behind_a_lingering(self) -> None:
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.send(b"a refusal")
        self.transport.fileno = near.fileno  # type: ignore[attr-defined]
        self.farewell.begin(0, linger=True)
        self.farewell.shut()
        self.clock.advance(LINGER_S)
        self.assertFalse(self.transport.disconnecting)
        far.recv(100)
        self.clock.advance(0.1)
        self.assertTrue(self.transport.disconnecting)

    def test_tls_is_shut_down_its_own_way(self) -> None:
        for linger in (True, False):
            self.make(tls=True)
            waiting: list[bool] = []
            self.transport.loseConnection = lambda: waiting.append(True)  # type: ignore[method-assign]  # noqa: B023
            self.farewell.begin(0, linger=linger)
            self.assertEqual((self.transport.half_closed, waiting), (False, [True]))
            # The other side never answers the shutdown.
            self.clock.advance(LINGER_S)
            self.assertTrue(self.transport.aborted)
            self.clock.advance(0)
            self.assertEqual(self.left(), 0)

    def test_tls_that_sends_on_is_cut(self) -> None:
        self.make(tls=True)
        self.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        self.farewell.begin(0, linger=True)
        self.farewell.received(LINGER_BYTES + 1)
        self.assertTrue(self.transport.aborted)

    def test_transport_may_end_at_once(self) -> None:
        for tls in (True, False):
            self.make(tls=tls)
            ends = self.transport.lose
            self.transport.loseConnection = ends  # type: ignore[method-assign]
            self.transport.loseWriteConnection = ends  # type: ignore[method-assign]
            self.farewell.begin(0, linger=True)
            self.farewell.input_ended()
            self.assertEqual(self.left(), 0)
