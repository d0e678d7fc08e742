"""Where a connection comes from, by what the kernel says."""

from __future__ import annotations

import os
import socket

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from micronode.concurrency.origin import UNIX, origin_of


def over(host: str) -> StringTransport:
    kind = IPv6Address if ":" in host else IPv4Address
    return StringTransport(peerAddress=kind("TCP", host, 40_000))


class UnixTransport(StringTransport):
    """One end of a pair of Unix sockets, or of something else."""

    def __init__(self, end: socket.socket | None) -> None:
        super().__init__(peerAddress=UNIXAddress(None))
        directlyProvides(self, IUNIXTransport)
        self._end = end

    def getHandle(self) -> socket.socket | None:
        return self._end


class OriginTests(SynchronousTestCase):
    """origin_of()."""

    def test_an_address(self) -> None:
        self.assertEqual(origin_of(over("192.0.2.7")), "192.0.2.7")

    def test_a_network_of_ipv6(self) -> None:
        first, same, other = (
            origin_of(over(host)) for host in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")
        )
        self.assertEqual((first, same), ("2001:db8:1:2::/64",) * 2)
        self.assertNotEqual(first, other)

    def test_one_with_a_zone(self) -> None:
        self.assertEqual(origin_of(over("fe80::1%eth0")), "fe80::/64")

    def test_ipv4_that_is_written_as_ipv6(self) -> None:
        """They would all be in one /64."""
        self.assertEqual(origin_of(over("::ffff:192.0.2.7")), "192.0.2.7")

    def test_a_user(self) -> None:
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        self.assertEqual(origin_of(UnixTransport(near)), f"unix:{os.getuid()}")

    def test_a_user_who_is_not_known(self) -> None:
        self.assertEqual(origin_of(UnixTransport(None)), UNIX)
        closed = socket.socket()
        closed.close()
        self.assertEqual(origin_of(UnixTransport(closed)), UNIX)

    def test_no_address(self) -> None:
        self.assertEqual(origin_of(StringTransport(peerAddress=UNIXAddress(None))), UNIX)
