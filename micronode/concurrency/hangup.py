"""The reading side of a transport: stopped, started, and watched for the caller's end while it is stopped.

A paused Twisted transport looks at its socket for nothing at all, so it sees neither a FIN nor a reset
behind what it does not read, and a caller that has gone would keep its slot until something is written
to it. So while reading is stopped the descriptor is asked, ten times a second.
"""

from __future__ import annotations

import select  # poll() with a timeout of 0 does not block.
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two looks.
LOOK_S: Final = 0.1
#: The connection is gone both ways: a reset, an error, or a Unix socket whose other end is closed.
_GONE: Final = select.POLLHUP | select.POLLERR


class Intake:
    """Stops and starts the reading of *transport*.

    :param clock: times the looks.
    :param lost: called without arguments when the connection is gone.
    :param ended: called without arguments when the caller has shut down its writing side behind input
        that is not read; None where such a caller is still served.

    Both are only called while reading is stopped, and may start it or end the connection.
    """

    __slots__ = ("_call", "_clock", "_ended", "_lost", "_transport", "paused")

    def __init__(
        self,
        clock: IReactorTime,
        transport: Any,
        *,
        lost: Callable[[], None],
        ended: Callable[[], None] | None = None,
    ) -> None:
        self.paused = False
        self._clock = clock
        self._transport = transport
        self._lost = lost
        self._ended = ended
        self._call: IDelayedCall | None = None

    def pause(self) -> None:
        """Read nothing until :meth:`resume`."""
        if not self.paused:
            self.paused = True
            self._transport.pauseProducing()
            if self._call is None:
                self._schedule()

    def resume(self) -> None:
        """Read.

        The timer stays: an upload may stop and start a thousand times a second.
        """
        if self.paused:
            self.paused = False
            self._transport.resumeProducing()

    def close(self) -> None:
        """Look no more: the transport is gone, or about to be."""
        self.paused = False
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _schedule(self) -> None:
        self._call = self._clock.callLater(LOOK_S, self._look)

    def _look(self) -> None:
        self._call = None
        if not self.paused:
            return
        happened = self._happened()
        if happened & _GONE:
            self._lost()
        elif happened & select.POLLRDHUP and self._ended is not None:
            self._ended()
        if self.paused and self._call is None:
            self._schedule()

    def _happened(self) -> int:
        """Return what poll() says of the descriptor now; 0 where there is none."""
        poll = select.poll()
        try:
            poll.register(self._transport.fileno(), select.POLLRDHUP)
        except (AttributeError, ValueError):
            return 0
        return sum(events for _, events in poll.poll(0))
