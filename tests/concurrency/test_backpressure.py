"""Gates count, and answer at once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.backpressure import Gate


class GateTests(SynchronousTestCase):
    """Gate."""

    def test_as_many_as_its_limit(self) -> None:
        gate = Gate(2)
        self.assertEqual([gate.try_acquire() for _ in range(4)], [True, True, False, False])
        self.assertEqual((gate.in_use, gate.limit), (2, 2))

    def test_a_refusal_takes_nothing(self) -> None:
        gate = Gate(1)
        gate.try_acquire()
        gate.try_acquire()
        gate.release()
        self.assertEqual(gate.in_use, 0)
        self.assertTrue(gate.try_acquire())

    def test_none(self) -> None:
        self.assertFalse(Gate(0).try_acquire())

    def test_resized_while_permits_are_out(self) -> None:
        gate = Gate(3)
        for _ in range(3):
            gate.try_acquire()
        gate.limit = 2
        gate.release()
        self.assertFalse(gate.try_acquire())
        gate.release()
        self.assertTrue(gate.try_acquire())
        gate.limit = 3
        self.assertEqual([gate.try_acquire(), gate.try_acquire()], [True, False])
        self.assertEqual(gate.in_use, 3)

    def test_released_twice(self) -> None:
        """A permit given back twice would let one call too many in for ever: it is a defect, and loud."""
        gate = Gate(1)
        gate.try_acquire()
        gate.release()
        self.assertRaises(RuntimeError, gate.release)
        self.assertEqual(gate.in_use, 0)
