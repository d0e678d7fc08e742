"""Small segments at once: what ends a write does not wait for the peer to acknowledge what began it."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ITCPTransport


def send_at_once(transport: Any) -> None:
    """Let *transport* send a segment that is not full at once, where it is TCP.

    Nagle's algorithm saves segments of who writes byte by byte; we write whole frames, many at a time. The
    last bytes of a chunk would wait for an acknowledgement that the peer delays, and CREDIT behind a CREDIT.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
