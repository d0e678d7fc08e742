"""The members of the HELLO reply that depend on the transport; the rest is in ``test_protocol``."""

from __future__ import annotations

from twisted.internet.interfaces import INegotiated, IUNIXTransport
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from micronode.oap.hello import FLAGS_SERVED, hello_reply


class HelloReply(SynchronousTestCase):
    def test_transports(self) -> None:
        for interfaces, expected in (((), "tcp"), ((IUNIXTransport,), "unix"), ((INegotiated,), "tcp+tls")):
            transport = StringTransport()
            directlyProvides(transport, *interfaces)
            self.assertEqual(hello_reply(transport, idle_s=1.0)["transports"], [expected])

    def test_every_flag_is_served(self) -> None:
        self.assertEqual(FLAGS_SERVED, 255)
