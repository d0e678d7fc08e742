"""The way from what was read to what happens: in order, and stopped for a reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.pump import MAX_EVENTS, OUTPUT, TURN, UPLOAD, Pump


class PumpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.handled: list[Any] = []
        self.decoded: list[bytes] = []
        self.pump = Pump(self.decode, self.handle, lambda: self.pump.reasons.add(TURN))

    def decode(self, data: bytes) -> Iterator[Any]:
        """One event a byte."""
        self.decoded.append(data)
        yield from data

    def handle(self, event: Any) -> None:
        self.assertTrue(self.pump.running)
        self.handled.append(event)
        if event == 0:
            self.pump.reasons.add(UPLOAD)
        if event == 255:
            self.pump.close()

    def test_all_that_came_is_handled_in_order(self) -> None:
        self.pump.put(b"\1\2")
        self.pump.put(b"\3")
        self.assertTrue(self.pump.run())
        self.assertEqual(self.handled, [1, 2, 3])
        self.assertFalse(self.pump.run())
        self.assertFalse(self.pump.running)

    def test_a_reason_stops_it_between_two_events(self) -> None:
        self.pump.put(b"\1\0\2")
        self.pump.put(b"\3\4")
        self.pump.run()
        self.assertEqual((self.handled, self.decoded, self.pump.held), ([1, 0], [b"\1\0\2"], 2))
        self.pump.reasons.add(OUTPUT)
        self.pump.reasons.remove(UPLOAD)
        self.assertFalse(self.pump.run())
        self.pump.reasons.clear()
        self.assertTrue(self.pump.run())
        self.assertEqual(self.handled, [1, 0, 2, 3, 4])

    def test_others_have_their_turn(self) -> None:
        self.pump.put(b"\1" * (MAX_EVENTS + 1))
        self.pump.put(b"\2")
        self.assertTrue(self.pump.run())
        self.assertEqual((len(self.handled), self.pump.reasons), (MAX_EVENTS, {TURN}))
        self.pump.reasons.clear()
        self.pump.run()
        self.assertEqual(self.handled[MAX_EVENTS:], [1, 2])
        self.assertEqual(self.pump.reasons, set())

    def test_closed_it_handles_nothing(self) -> None:
        self.pump.put(b"\xff\1")
        self.pump.put(b"\2\3\4")
        self.pump.run()
        self.assertFalse(self.pump.run())
        self.assertEqual((self.handled, self.pump.held), ([255], 3))
        self.pump.clear()
        self.assertEqual(self.pump.held, 0)

    def test_defect_does_not_leave_it_running(self) -> None:
        def broken(event: Any) -> None:
            raise LookupError("a defect")

        pump = Pump(self.decode, broken, lambda: None)
        pump.put(b"\1")
        self.assertRaises(LookupError, pump.run)
        self.assertFalse(pump.running)
