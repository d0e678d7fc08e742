"""micronode.adapters.outgoing: what one turn made leaves in the next."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.outgoing import Outgoing


class SpySender:
    """Keeps what it is to send; with *outgoing*, the first time brings about another."""

    def __init__(self, outgoing: Outgoing | None = None, order: list[bytes] | None = None) -> None:
        self.sent: list[bytes] = [] if order is None else order
        self._outgoing = outgoing

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if self._outgoing is not None and len(self.sent) == 1:
            self._outgoing.add(self, b"again")


class OutgoingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.outgoing = Outgoing(self.clock)

    def test_together_in_the_next_turn(self) -> None:
        """Nothing leaves at once; what was added leaves in one turn, to whom it was given."""
        one, other = SpySender(), SpySender()
        self.outgoing.add(one, b"a")
        self.outgoing.add(other, b"b")
        self.assertEqual((one.sent, other.sent), ([], []))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual((one.sent, other.sent), ([b"a"], [b"b"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_added_while_it_sends(self) -> None:
        """What sending brings about leaves in a turn of its own, behind all that was there."""
        order: list[bytes] = []
        one, other = SpySender(self.outgoing, order), SpySender(None, order)
        self.outgoing.add(one, b"a")
        self.outgoing.add(other, b"b")
        self.clock.pump([0, 0])
        self.assertEqual(order, [b"a", b"b", b"again"])
