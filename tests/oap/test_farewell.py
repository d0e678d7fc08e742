"""How a connection is closed so that its last words arrive."""

from __future__ import annotations

from twisted.internet.interfaces import INegotiated
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from micronode.oap.farewell import Farewell
from micronode.oap.wire.limits import LINGER_BYTES, LINGER_S
from tests.support.oap import MemoryTransport


class _Protocol:
    """Forwards the end, as the real one does."""

    farewell: Farewell

    def connectionLost(self, reason: object) -> None:
        self.farewell.over()


class FarewellTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport(self.clock)
        self.transport.protocol = _Protocol()
        self.farewell = self.transport.protocol.farewell = Farewell(self.transport, self.clock, stall_s=30.0)

    def left(self) -> int:
        return len([call for call in self.clock.getDelayedCalls() if call.active()])

    def test_lingers_then_closes(self) -> None:
        self.farewell.begin(0, input_ended=False)
        self.assertTrue(self.transport.half_closed)
        self.clock.advance(LINGER_S / 2)
        self.farewell.received(1000)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(LINGER_S / 2)
        self.assertTrue(self.transport.disconnecting)
        self.clock.advance(0)
        self.assertEqual(self.left(), 0)

    def test_what_was_discarded_before_counts(self) -> None:
        self.farewell.begin(LINGER_BYTES, input_ended=False)
        self.farewell.received(1)
        self.assertTrue(self.transport.disconnecting)

    def test_no_lingering_where_nothing_can_come(self) -> None:
        self.farewell.begin(0, input_ended=True)
        self.assertEqual((self.transport.half_closed, self.transport.disconnecting), (False, True))

    def test_caller_that_takes_nothing_is_cut(self) -> None:
        self.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        self.farewell.begin(0, input_ended=True)
        self.clock.pump([7.5] * 4)
        self.assertTrue(self.transport.aborted)

    def test_tls_is_shut_down_its_own_way(self) -> None:
        alsoProvides(self.transport, INegotiated)
        waiting: list[bool] = []
        self.transport.loseConnection = lambda: waiting.append(True)  # type: ignore[method-assign]
        self.farewell.begin(0, input_ended=False)
        self.assertEqual((self.transport.half_closed, waiting), (False, [True]))
        # The other side never answers the shutdown.
        self.clock.advance(LINGER_S)
        self.assertTrue(self.transport.aborted)
        self.clock.advance(0)
        self.assertEqual(self.left(), 0)

    def test_tls_that_sends_on_is_cut(self) -> None:
        alsoProvides(self.transport, INegotiated)
        self.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        self.farewell.begin(0, input_ended=False)
        self.farewell.received(LINGER_BYTES + 1)
        self.assertTrue(self.transport.aborted)

    def test_transport_may_end_at_once(self) -> None:
        alsoProvides(self.transport, INegotiated)
        self.transport.loseConnection = self.transport.lose  # type: ignore[method-assign]
        self.farewell.begin(0, input_ended=False)
        self.farewell.input_ended()
        self.assertEqual(self.left(), 0)
