"""Where an owner is: its URL read once, and the endpoint made of it once.

Forms: ``http://host:port/prefix``, ``https://…`` (verified against the system's trust store and the
host's name), and ``unix:/path/to.sock`` or ``http+unix:///path/to.sock`` (plain HTTP over a Unix
socket). Nothing here is done again for a call.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

from micronode.config.address import ListenAddress

_PORTS: Final = {"http": 80, "https": 443}
#: Seconds before a name's next address is tried; the usual 300 ms is a quarter of an owner's budget.
_NEXT_ADDRESS_S: Final = 0.1


@attrs.frozen(kw_only=True)
class OwnerAddress:
    """An owner's URL in parts."""

    tls: bool = False
    host: str = "localhost"
    port: int = 0
    #: Of a Unix socket, else empty.
    socket_path: str = ""
    #: What stands before every path, without a closing slash.
    prefix: bytes = b""

    @classmethod
    def parse(cls, url: str) -> OwnerAddress:
        """Read an owner's URL.

        :raises ValueError: it is of no form above; the message says why.
        """
        if url.startswith(("unix:", "http+unix://")):
            path = url.removeprefix("http+unix://").removeprefix("unix:")
            # The rules of a listener's socket are those of the owner's: the kernel makes them.
            return cls(socket_path=ListenAddress.parse(f"unix:{path}").path)
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("an owner's URL takes visible ASCII characters only")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise ValueError("an owner's URL begins with http://, https:// or unix:/")
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("an owner's URL is a host, perhaps a port and a path, and nothing else")
        return cls(
            tls=parts.scheme == "https",
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            prefix=parts.path.rstrip("/").encode("ascii"),
        )

    @property
    def host_header(self) -> bytes:
        """The value of ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.socket_path or self.port == _PORTS["https" if self.tls else "http"]:
            return host.encode("ascii")
        return f"{host}:{self.port}".encode("ascii")

    @property
    def base(self) -> bytes:
        """The absolute URI that stands before every path; that of a Unix socket is ``http://localhost``."""
        return (b"https://" if self.tls else b"http://") + self.host_header + self.prefix

    def endpoint(self, reactor: Any, connect_timeout_s: float) -> IStreamClientEndpoint:
        """Return the endpoint that connects to it.

        A literal address skips the resolver: it would cost a thread for nothing.
        """
        endpoint: IStreamClientEndpoint
        if self.socket_path:
            return UNIXClientEndpoint(reactor, self.socket_path, timeout=connect_timeout_s)
        if isIPAddress(self.host):
            endpoint = TCP4ClientEndpoint(reactor, self.host, self.port, timeout=connect_timeout_s)
        elif isIPv6Address(self.host):
            endpoint = TCP6ClientEndpoint(reactor, self.host, self.port, timeout=connect_timeout_s)
        else:
            endpoint = HostnameEndpoint(
                reactor, self.host, self.port, timeout=connect_timeout_s, attemptDelay=_NEXT_ADDRESS_S
            )
        if self.tls:
            endpoint = wrapClientTLS(optionsForClientTLS(self.host), endpoint)
        return endpoint
