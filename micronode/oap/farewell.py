"""How a connection is closed so that the caller learns why.

Bytes that nobody read when a socket is closed make the kernel send a reset, and a reset may overtake
the error frame (or the GOAWAY) that was just written. So the writing side is shut down first, and
input is thrown away for a moment (``specs/oap-1.md`` section 1). TLS has no half-close: its own
shutdown has to do.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import INegotiated, IReactorTime

from micronode.concurrency.stall import StallWatch, unacknowledged
from micronode.oap.timers import Deadline
from micronode.oap.wire.limits import LINGER_BYTES, LINGER_S


class Farewell:
    """Closes *transport* once everything was written to it and its producer is unregistered.

    :param stall_s: a caller that takes no byte of what is still unsent for so many seconds is cut.
    """

    def __init__(self, transport: Any, clock: IReactorTime, *, stall_s: float) -> None:
        self._transport = transport
        self._stall_s = stall_s
        self._linger = Deadline(clock, LINGER_S, self._lingered)
        self._watch = StallWatch(clock, transport, transport.abortConnection)
        self._discarded = 0
        self._losing = False
        self._over = False

    def begin(self, discarded: int, *, input_ended: bool) -> None:
        """Shut the writing side down and linger.

        :param discarded: bytes of input that were thrown away already.
        :param input_ended: the caller has shut its own side down, so that there is nothing to wait for.
        """
        self._discarded = discarded
        half_close = getattr(self._transport, "loseWriteConnection", None)
        if half_close is None or INegotiated.providedBy(self._transport):
            self._lose()
        elif input_ended:
            self._lose()
            return
        else:
            half_close()
        if not self._over:
            self._linger.start()

    def received(self, size: int) -> None:
        """Throw *size* bytes of input away."""
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._lingered()

    def input_ended(self) -> None:
        """The caller has closed too."""
        self._lose()

    def over(self) -> None:
        """The transport is gone."""
        self._over = self._losing = True
        self._linger.close()
        self._watch.close()

    def _lingered(self) -> None:
        if not self._losing:
            self._lose()
        elif not unacknowledged(self._transport):
            # TLS waits for the other side's shutdown, which need not come.
            self._transport.abortConnection()

    def _lose(self) -> None:
        """Close when everything is written."""
        if not self._losing:
            self._losing = True
            self._linger.close()
            # Before loseConnection(), which may end the connection at once.
            self._watch.start(self._stall_s)
            self._transport.loseConnection()
