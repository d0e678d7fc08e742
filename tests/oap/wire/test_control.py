"""Control frames by themselves; which of them are errors is in the session vectors."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.control import receive_control, receive_hello
from micronode.oap.wire.decoder import FrameError
from micronode.oap.wire.events import CreditReceived, FrameIgnored, HelloReceived, PingReceived
from micronode.oap.wire.frames import EVENT, LEGAL_FLAGS, REQ, Control


class ControlTests(SynchronousTestCase):
    def test_every_code_is_answered_ignored_or_refused(self) -> None:
        taken: dict[int, object] = {}
        for code in range(0x10000):
            try:
                taken[code] = receive_control(EVENT, code, 0, bytes(8))
            except FrameError as error:
                self.assertEqual(error.code.value, "bad_sequence")
        self.assertEqual(taken.pop(Control.PING), PingReceived(0, bytes(8)))
        self.assertEqual(taken.pop(Control.CREDIT), CreditReceived(0, 0))
        self.assertEqual(taken.pop(Control.GOAWAY), FrameIgnored("goaway"))
        self.assertEqual(taken, {code: FrameIgnored("event") for code in range(200, 300)})

    def test_only_events_and_the_first_request_are_control(self) -> None:
        for flags in LEGAL_FLAGS:
            if not flags & EVENT:
                self.assertRaises(FrameError, receive_control, flags, Control.PING, 0, b"")
            if not flags & REQ:
                self.assertRaises(FrameError, receive_hello, flags, 0, 0, 1, b"{}")
        self.assertEqual(receive_hello(REQ, 0, 0, 5, b"{}"), HelloReceived(5, {}))
