"""Ends a connection so that its last answer is not lost.

Closing a socket that still has unread input makes the kernel send a reset, and a reset throws away
what the peer has not read yet: the very answer that says why (RFC 9112 section 9.6). So the node shuts
down its writing side, reads and discards for a while (``specs/oap-1.md`` section 1 has the same rule
and the same numbers), and closes then.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport

from micronode.concurrency.stall import StallWatch
from micronode.oap.wire.limits import LINGER_BYTES


class Closing:
    """The end of one transport; its owner is registered as the transport's producer until then."""

    __slots__ = ("_discarded", "_registered", "_transport", "_watch")

    def __init__(self, transport: Any, watch: StallWatch) -> None:
        self._transport = transport
        self._watch = watch
        self._registered = True
        self._discarded = 0

    def half_close(self) -> None:
        """Send what is written, then shut down the writing side; input is still read."""
        self._unregister()
        transport = self._transport
        # TLS has no half-close of its own, and the one of the socket beneath would cut off what is
        # not encrypted yet; there Content-Length and "Connection: close" have to do.
        if not ISSLTransport.providedBy(transport) and hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()

    def discard(self, count: int) -> bool:
        """Count input thrown away; True: it was enough."""
        self._discarded += count
        return self._discarded > LINGER_BYTES

    def close(self, stall_s: float) -> None:
        """Send what is written, then close; abort when no byte is taken for *stall_s* seconds."""
        self._unregister()
        # Watch first: the transport may report the loss at once, and that ends the watch.
        self._watch.start(stall_s)
        self._transport.loseConnection()

    def _unregister(self) -> None:
        # A transport with a paused producer waits for it instead of closing.
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()
