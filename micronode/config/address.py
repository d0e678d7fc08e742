"""Where a listener binds, as configuration writes it: ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/path``.

Text only. Whether a *bound* socket is loopback is for the node to see in the socket's own name.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

import attrs

_HOST_PORT: Final = re.compile(r"(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
#: sun_path is 108 bytes on Linux, its closing NUL included.
_MAX_UNIX_PATH: Final = 107


@attrs.frozen
class ListenAddress:
    """Where a listener binds: *host* and *port* (0: any free one), or the *path* of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: Any) -> ListenAddress:
        """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/path``.

        :raises ValueError: it is none of these; the message says why.
        """
        if not isinstance(text, str):
            raise ValueError("it must be text")
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or not path.isprintable() or path.endswith("/"):
                raise ValueError("the socket's path must be absolute")
            if len(path.encode("utf-8", "surrogatepass")) > _MAX_UNIX_PATH:
                raise ValueError(f"the socket's path is longer than {_MAX_UNIX_PATH} bytes")
            return cls(path=path)
        if text.startswith("systemd:"):
            raise ValueError("systemd sockets are not available yet in this release")
        found = _HOST_PORT.fullmatch(text)
        if found is None:
            raise ValueError("host and port are needed, IPv6 in brackets")
        host, port = found["v6"] or found["host"], int(found["port"])
        if port > 65535:
            raise ValueError("a port is at most 65535")
        if found["v6"]:
            try:
                host = str(ipaddress.IPv6Address(host))
            except ValueError:
                raise ValueError("the brackets hold no IPv6 address") from None
        return cls(host=host, port=port)

    @property
    def is_local(self) -> bool:
        """Whether it can only be reached from this machine: loopback by its literal, or a Unix socket."""
        if self.path or self.host.lower() == "localhost":
            return True
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv4Address):
            return address.is_loopback
        return address == ipaddress.IPv6Address("::1")

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
