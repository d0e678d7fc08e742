"""Nothing waits for a full segment."""

from __future__ import annotations

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from micronode.concurrency.nodelay import send_at_once


@implementer(ITCPTransport)
class TCP(StringTransport):
    """A TCP transport, as far as that matters."""

    delays = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.delays = not enabled


class SendAtOnceTests(SynchronousTestCase):
    """send_at_once()."""

    def test_tcp(self) -> None:
        transport = TCP()
        send_at_once(transport)
        self.assertFalse(transport.delays)

    def test_others_are_left_alone(self) -> None:
        """A Unix socket knows no such thing."""
        send_at_once(object())
