"""How a connection is closed so that its last words arrive."""

from __future__ import annotations

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
