"""What is made of a node's log."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.log import Log


def line(event: str, level: str = "info", **fields: str) -> bytes:
    return json.dumps({"level": level, "event": event} | fields, separators=(",", ":")).encode() + b"\n"


class LogTests(SynchronousTestCase):
    def test_what_is_no_trouble(self) -> None:
        """It is counted; access lines are passed by."""
        log = Log()
        log.take(line("listening", listener="oap", address="127.0.0.1:1"))
        log.take(line("state", state="running"))
        for _ in range(3):
            self.assertTrue(log.take(line("config_refused", "error")))
        self.assertFalse(log.take(line("access", status="429")))
        self.assertEqual(log.addresses, {"oap": "127.0.0.1:1"})
        self.assertEqual(log.events, {"listening": 1, "state running": 1, "config_refused": 3})
        self.assertEqual((log.reloads, log.bad), (3, []))

    def test_what_a_log_never_has(self) -> None:
        """A defect, a traceback in a line, and what somebody printed past the logger."""
        for bad in (
            line("call_failed", "critical"),
            line("x", reason="Unhandled error in Deferred"),
            b"Traceback (most recent call last):\n",
            b"\n",
        ):
            log = Log()
            log.take(bad)
            self.assertEqual(log.bad, [bad.decode()])

    def test_bad_lines_are_bounded(self) -> None:
        """A node that is broken for good fills no memory."""
        log = Log()
        for _ in range(1_000):
            log.take(b"Traceback\n")
        self.assertEqual((len(log.bad), len(log.tail)), (100, 200))
