"""Nothing waits for a full segment."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.nodelay import send_at_once
from tests.support.tcp import TCPTransport


class SendAtOnceTests(SynchronousTestCase):
    """send_at_once()."""

    def test_tcp(self) -> None:
        transport = TCPTransport()
        send_at_once(transport)
        self.assertFalse(transport.delays)

    def test_others_are_left_alone(self) -> None:
        """A Unix socket knows no such thing."""
        send_at_once(object())
