"""What the node says of itself in its answer to HELLO. ``specs/oap-1.md`` section 3."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import INegotiated, IUNIXTransport

from micronode import __version__
from micronode.oap.wire.frames import Flag
from micronode.oap.wire.limits import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, VERSION

#: The flags that mean something here.
FLAGS_SERVED: Final = sum(Flag)
#: Name and x.y of the version: what a peer may need to know, and no more.
SERVER: Final = "micronode/" + ".".join(__version__.split(".")[:2])


def hello_reply(transport: Any, *, idle_s: float) -> dict[str, Any]:
    """Return the members of the reply that the core does not know itself.

    :param transport: of the connection that is greeted.
    :param idle_s: after how many seconds of silence it is closed.
    """
    return {
        "flags_supported": FLAGS_SERVED,
        "versions": [VERSION],
        "transports": [_kind(transport)],
        "ack_window": STREAM_WINDOW_BYTES,
        "conn_window": CONNECTION_WINDOW_BYTES,
        "ext": [],
        "server": SERVER,
        "idle_timeout_ms": round(idle_s * 1000),
        "pq": {"mode": "off", "kex": "none"},
    }


def _kind(transport: Any) -> str:
    if INegotiated.providedBy(transport):
        return "tcp+tls"
    return "unix" if IUNIXTransport.providedBy(transport) else "tcp"
