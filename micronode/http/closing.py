"""Ends a connection so that its last answer is not lost.

Closing a socket that still has unread input makes the kernel send a reset, and a reset throws away
what the peer has not read yet: the very answer that says why (RFC 9112 section 9.6). So the node shuts
down its writing side, reads and discards for a while (``specs/oap-1.md`` section 1 has the same rule
and the same numbers), and closes then.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport

from micronode.concurrency.stall import StallWatch
from micronode.oap.wire.limits import LINGER_BYTES, LINGER_S


class Closing:
    """The end of one transport; its owner is registered as the transport's producer until then.

    :param stall_s: abort when no byte of what is still unsent is taken for so long.
    """

    __slots__ = ("_clock", "_discarded", "_lingering", "_registered", "_stall_s", "_transport", "_watch")

    def __init__(self, transport: Any, clock: IReactorTime, watch: StallWatch, stall_s: float) -> None:
        self._transport = transport
        self._clock = clock
        self._watch = watch
        self._stall_s = stall_s
        self._registered = True
        self._discarded = 0
        self._lingering: IDelayedCall | None = None

    def linger(self, discarded: int) -> None:
        """Send what is written, shut down the writing side, and close a while later.

        :param discarded: bytes of input thrown away already.
        """
        self._unregister()
        transport = self._transport
        # TLS has no half-close of its own, and the one of the socket beneath would cut off what is
        # not encrypted yet; there Content-Length and "Connection: close" have to do.
        if not ISSLTransport.providedBy(transport) and hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()
        self._lingering = self._clock.callLater(LINGER_S, self.close)
        self.discard(discarded)

    def discard(self, count: int) -> None:
        """Count input thrown away; too much of it ends the lingering."""
        self._discarded += count
        if self._lingering is not None and self._discarded > LINGER_BYTES:
            self.close()

    def close(self) -> None:
        """Send what is written, then close."""
        self.stop()
        self._unregister()
        # Watch first: the transport may report the loss at once, and that ends the watch.
        self._watch.start(self._stall_s)
        self._transport.loseConnection()

    def stop(self) -> None:
        """Linger no more; all there is to do when the transport has gone."""
        lingering, self._lingering = self._lingering, None
        if lingering is not None and lingering.active():
            lingering.cancel()

    def _unregister(self) -> None:
        # A transport with a paused producer waits for it instead of closing.
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()
