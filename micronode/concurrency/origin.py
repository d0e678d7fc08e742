"""Where a connection comes from, as the kernel says it: what callers without a token are told apart by."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from twisted.internet.interfaces import IUNIXTransport

#: Of a Unix socket whose other end is not known.
UNIX: Final = "unix"
_CREDENTIALS: Final = struct.Struct("3i")


def origin_of(transport: Any) -> str:
    """Return the origin of what is connected to *transport*: an address, a network, or a local user.

    A whole /64 is one: whoever has an IPv6 address mostly has all of them. Of a Unix socket it is the user
    that connected, where the kernel tells.
    """
    if IUNIXTransport.providedBy(transport):
        return _user(transport)
    host = getattr(transport.getPeer(), "host", None)
    if not host:
        return UNIX
    return network_of(host)


def network_of(host: str) -> str:
    """Return *host*, an address, or the /64 that it is of."""
    if ":" not in host:
        return host
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        # They are all in one /64, and callers of their own.
        return str(address.ipv4_mapped)
    return f"{IPv6Address(address.packed[:8] + bytes(8))}/64"


def _user(transport: Any) -> str:
    try:
        said = transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError):
        return UNIX
    _, uid, _ = _CREDENTIALS.unpack(said)
    return f"{UNIX}:{uid}"
