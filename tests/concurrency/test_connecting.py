"""micronode.concurrency.connecting: endpoints of addresses."""

from __future__ import annotations

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.connecting import make_endpoint
from micronode.config.address import ListenAddress


class MakeEndpointTests(SynchronousTestCase):
    def test_literal_addresses_need_no_resolver(self) -> None:
        for text, kind in (
            ("127.0.0.1:1", TCP4ClientEndpoint),
            ("[::1]:1", TCP6ClientEndpoint),
            ("index:1", HostnameEndpoint),
        ):
            endpoint = make_endpoint(MemoryReactorClock(), ListenAddress.parse(text), 1.0)
            self.assertIsInstance(endpoint, kind)

    def test_name_that_is_none_to_dns(self) -> None:
        """HostnameEndpoint would fail without asking anybody."""
        reactor = MemoryReactorClock()
        connecting = make_endpoint(reactor, ListenAddress.parse("index_owner:5321"), 1.0).connect(None)
        self.assertNoResult(connecting)
        self.assertEqual(reactor.tcpClients[0][:2], ("index_owner", 5321))

    def test_timeout(self) -> None:
        reactor = MemoryReactorClock()
        for text in ("127.0.0.1:5", "unix:/run/x.sock"):
            make_endpoint(reactor, ListenAddress.parse(text), 1.5).connect(None)
        self.assertEqual(reactor.tcpClients[0][3], 1.5)
        self.assertEqual(reactor.unixClients[0][2], 1.5)
