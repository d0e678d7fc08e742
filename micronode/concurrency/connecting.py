"""Endpoints of addresses: how the node's clients connect, to owners and to other nodes."""

from __future__ import annotations

from typing import Any, Final, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint

from micronode.config.address import ListenAddress

#: Seconds before a name's next address is tried; the usual 300 ms is a quarter of an owner's budget.
NEXT_ADDRESS_S: Final = 0.1


def make_endpoint(reactor: Any, address: ListenAddress, timeout_s: float) -> IStreamClientEndpoint:
    """Return the endpoint that connects to a listener at *address*.

    A literal address skips the resolver, which would cost a thread for nothing. A name that is none to
    DNS, for an underscore mostly, is one that HostnameEndpoint never even asks for: the reactor itself
    resolves it, to its first IPv4 address.

    :param reactor: provides IReactorTime, and IReactorTCP or IReactorUNIX.
    :param timeout_s: for one attempt to connect.
    """
    host, port = address.host, address.port
    if address.path:
        return UNIXClientEndpoint(reactor, address.path, timeout=timeout_s)
    # Twisted's annotation; any number of seconds will do.
    timeout = cast(int, timeout_s)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout=timeout)
    if isIPAddress(host) or not address.is_dns_name:
        return TCP4ClientEndpoint(reactor, host, port, timeout=timeout)
    return HostnameEndpoint(reactor, host, port, timeout=timeout_s, attemptDelay=NEXT_ADDRESS_S)
