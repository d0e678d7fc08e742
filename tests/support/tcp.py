"""A TCP transport in memory, as far as Nagle's algorithm matters."""

from __future__ import annotations

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from zope.interface import implementer


@implementer(ITCPTransport)
class TCPTransport(StringTransport):
    """Keeps whether small segments wait (``delays``), as they do at first."""

    delays = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.delays = not enabled
