"""An owner's URL, read once and by one grammar: configuration refuses with it, adapters connect by it.

Forms: ``http://HOST[:PORT][/prefix]``, ``https://…`` the same way, and ``unix:/path/to.sock`` or
``http+unix:///path/to.sock`` (plain HTTP over a Unix socket). Text only; what is read here can be
connected to without another look at it.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from micronode.config.address import ListenAddress

_PORTS: Final = {"http": 80, "https": 443}
#: It stands in request lines as it is: RFC 3986's path characters, quoted already.
_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")


@attrs.frozen(kw_only=True)
class OwnerUrl:
    """An owner's URL in parts."""

    #: Where its owner listens.
    listener: ListenAddress
    #: Verified against the system's trust store and the host's name.
    tls: bool = False
    #: What stands before every path, without a closing slash.
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> OwnerUrl:
        """Read an owner's URL.

        :raises ValueError: it is of no form above; the message says why, and quotes nothing of it.
        """
        if text.startswith(("unix:", "http+unix://")):
            path = text.removeprefix("http+unix://").removeprefix("unix:")
            return cls(listener=ListenAddress.parse(f"unix:{path}"))
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("only visible ASCII characters may stand in it")
        scheme, _, rest = text.partition("://")
        if scheme.lower() not in _PORTS:
            raise ValueError("it must begin with http://, https:// or unix:/")
        if "?" in rest or "#" in rest:
            raise ValueError("it must not carry a query or fragment")
        authority, slash, path = rest.partition("/")
        if not _PATH.fullmatch(slash + path):
            raise ValueError("its path holds a character that must be percent-quoted")
        tls = scheme.lower() == "https"
        listener = _read_authority(authority, tls=tls)
        return cls(listener=listener, tls=tls, prefix=(slash + path).rstrip("/"))

    @property
    def authority(self) -> str:
        """What ``Host`` says; a Unix socket is at ``localhost``."""
        listener = self.listener
        if listener.path:
            return "localhost"
        # The port is the one part of an address that may be left out.
        usual = listener.port == _PORTS["https" if self.tls else "http"]
        return str(listener).rpartition(":")[0] if usual else str(listener)

    def __str__(self) -> str:
        if self.listener.path:
            return str(self.listener)
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"


def _read_authority(text: str, *, tls: bool) -> ListenAddress:
    if "@" in text:
        raise ValueError("credentials do not belong in a URL")
    host, _, behind = text.rpartition("]")
    if not host and not behind.partition(":")[0]:
        raise ValueError("it names no host")
    port = "" if ":" in behind else f":{_PORTS['https' if tls else 'http']}"
    listener = ListenAddress.parse_tcp((text + port).lower())
    if listener.port == 0:
        raise ValueError("its port must be from 1 to 65535")
    if "%" in listener.host:
        raise ValueError("an address in a URL has no zone")
    if tls and ":" not in listener.host and not listener.is_dns_name:
        raise ValueError("no certificate can be for such a host name")
    return listener
