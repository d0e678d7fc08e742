"""micronode.adapters.address: an owner's URL, read once."""

from __future__ import annotations

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.address import OwnerAddress


class OwnerAddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for url, host, base in (
            ("http://127.0.0.1:5321", b"127.0.0.1:5321", b"http://127.0.0.1:5321"),
            ("http://index", b"index", b"http://index"),
            ("http://index:80/", b"index", b"http://index"),
            ("https://index:443/v1/", b"index", b"https://index/v1"),
            ("https://index:80", b"index:80", b"https://index:80"),
            ("http://[::1]:99/a/b", b"[::1]:99", b"http://[::1]:99/a/b"),
            ("unix:/run/index.sock", b"localhost", b"http://localhost"),
            ("http+unix:///run/index.sock", b"localhost", b"http://localhost"),
        ):
            address = OwnerAddress.parse(url)
            self.assertEqual((address.host_header, address.base), (host, base), url)

    def test_refused(self) -> None:
        for url in (
            "",
            "index:5321",
            "ftp://index",
            "unix:run/index.sock",
            "http://",
            "http://user:secret@index",
            "http://index/?a=b",
            "http://index/#a",
            "http://ind ex",
            "http://índex",
            "http://index\n",
            "http://index:99999",
        ):
            with self.assertRaises(ValueError, msg=url) as raised:
                OwnerAddress.parse(url)
            self.assertNotIn("secret", str(raised.exception))

    def test_literal_addresses_need_no_resolver(self) -> None:
        reactor = MemoryReactorClock()
        for url, kind in (
            ("http://127.0.0.1", TCP4ClientEndpoint),
            ("http://[::1]", TCP6ClientEndpoint),
            ("http://index", HostnameEndpoint),
        ):
            self.assertIsInstance(OwnerAddress.parse(url).endpoint(reactor, 1.0), kind)

    def test_connect_timeout(self) -> None:
        reactor = MemoryReactorClock()
        for url in ("http://127.0.0.1:5", "unix:/run/x.sock"):
            connecting = OwnerAddress.parse(url).endpoint(reactor, 1.5).connect(None)
            connecting.addErrback(lambda _: None)
            connecting.cancel()
        self.assertEqual(reactor.tcpClients[0][3], 1.5)
        self.assertEqual(reactor.unixClients[0][2], 1.5)
