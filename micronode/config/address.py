"""Where a listener is: ``HOST:PORT``, ``[IPV6]:PORT``, ``unix:/path`` or ``systemd:NAME``.

The one place that reads hosts. Text only. Whether a *bound* socket is loopback is for the node to see in
the socket's own name.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

import attrs
import idna

_HOST_PORT: Final = re.compile(r"(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[^\[\]:\s]+)):(?P<port>[0-9]{1,5})")
#: Underscores are in no DNS host name, but container networks and /etc/hosts have them.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
#: What fits into a DNS message.
_MAX_NAME: Final = 253
#: sun_path is 108 bytes on Linux, its closing NUL included.
_MAX_UNIX_PATH: Final = 107
#: What systemd takes as FileDescriptorName=, less spaces.
_SOCKET_NAME: Final = re.compile(r"[!-9;-~]{1,255}")


@attrs.frozen
class ListenAddress:
    """Where a listener is: *host* and *port* (0: any free one), or the *path* of a Unix socket.

    Or the *name* of a listening socket that the process was started with.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    name: str = ""

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
            raise ValueError("only the node's own listeners can be sockets of systemd")
        return cls.parse_tcp(text)

    @classmethod
    def parse_listener(cls, text: Any) -> ListenAddress:
        """Read what :meth:`parse` does, or ``systemd:NAME``.

        :raises ValueError: it is none of these; the message says why.
        """
        if not isinstance(text, str) or not text.startswith("systemd:"):
            return cls.parse(text)
        name = text.removeprefix("systemd:")
        if not _SOCKET_NAME.fullmatch(name):
            raise ValueError("a socket's name is 1 to 255 characters of ASCII without spaces and colons")
        return cls(name=name)

    @classmethod
    def parse_tcp(cls, text: str) -> ListenAddress:
        """Read ``HOST:PORT`` or ``[IPV6]:PORT``, where nothing else may stand.

        :raises ValueError: it is neither; the message says why.
        """
        found = _HOST_PORT.fullmatch(text)
        if found is None:
            raise ValueError("host and port are needed, IPv6 in brackets")
        port = int(found["port"])
        if port > 65535:
            raise ValueError("a port is at most 65535")
        return cls(host=_read_ipv6(found["v6"]) if found["v6"] else _read_name(found["host"]), port=port)

    @property
    def is_dns_name(self) -> bool:
        """Whether the host is a name (or an IPv4 address) that IDNA takes, as Twisted asks it.

        Only such names have certificates, and only for such does Twisted ask for every address.
        """
        try:
            idna.encode(self.host)
        except idna.IDNAError:
            return False
        return True

    @property
    def is_local(self) -> bool:
        """Whether it can only be reached from this machine: loopback by its literal, or a Unix socket.

        What a socket of systemd is bound to is seen when the node takes it, and judged then.
        """
        if self.path or self.name or self.host.lower() == "localhost":
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
        if self.name:
            return f"systemd:{self.name}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _read_ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError("the brackets hold no IPv6 address") from None


def _read_name(text: str) -> str:
    """Read a host name or an IPv4 address."""
    if len(text) > _MAX_NAME or not _NAME.fullmatch(text):
        raise ValueError("a host is labels of 1 to 63 letters, digits, underscores and inner hyphens")
    if text.rstrip(".").rpartition(".")[2].isdigit():
        # The resolver would take "127.1" and "1.2.3" for addresses, each in its own way.
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            raise ValueError("a host that ends in a number must be an IPv4 address") from None
    return text
