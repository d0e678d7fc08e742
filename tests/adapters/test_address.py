"""micronode.adapters.address: the endpoint of an owner's URL."""

from __future__ import annotations

from twisted.internet.endpoints import TCP6ClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.address import owner_endpoint
from micronode.config.url import OwnerUrl


class OwnerEndpointTests(SynchronousTestCase):
    def test_plain(self) -> None:
        endpoint = owner_endpoint(MemoryReactorClock(), OwnerUrl.parse("http://[::1]:5321"), 1.0)
        self.assertIsInstance(endpoint, TCP6ClientEndpoint)

    def test_tls(self) -> None:
        for url in ("https://10.0.0.9", "https://10.0.0.9:5321"):
            reactor = MemoryReactorClock()
            owner_endpoint(reactor, OwnerUrl.parse(url), 1.5).connect(None).addErrback(lambda _: None)
            host, port, factory, timeout_s, _ = reactor.tcpClients[0]
            self.assertEqual((host, timeout_s), ("10.0.0.9", 1.5))
            self.assertIn(port, (443, 5321))
            self.assertIsInstance(factory._wrappedFactory, TLSMemoryBIOFactory)
