"""The reading side of a transport: stopped, started, and watched for the caller's end while it is stopped.

A Twisted transport that does not read looks at its socket for nothing at all, so it sees no reset behind
what it does not read, and a caller that has gone would keep its slot until something is written to it.
So while reading is stopped the descriptor is asked, ten times a second. A FIN alone is no end: such a
caller may still read, and what it asked whole is owed to it. Only writing to it would tell: the kernel of one
that has gone answers with a reset.
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
#: The other end sends no more; what it sent may still have to be read. Linux alone tells.
_FINISHED: Final = getattr(select, "POLLRDHUP", 0)


class Intake:
    """Stops and starts the reading of *transport*.

    :param clock: times the looks.
    :param lost: called without arguments when the connection is gone; only while reading is stopped. It
        may start it or end the connection.
    :param finished: called without arguments, at most once and only while reading is stopped, when the caller
        was seen to send no more. It may write something, to learn whether anybody reads.
    """

    __slots__ = ("_call", "_clock", "_finished", "_lost", "_transport", "paused")

    def __init__(
        self,
        clock: IReactorTime,
        transport: Any,
        *,
        lost: Callable[[], None],
        finished: Callable[[], None] | None = None,
    ) -> None:
        self.paused = False
        self._finished = finished
        self._clock = clock
        self._transport = transport
        self._lost = lost
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
        events = self._events()
        if events & _GONE:
            self._lost()
        elif events & _FINISHED and self._finished is not None:
            finished, self._finished = self._finished, None
            finished()
        if self.paused and self._call is None:
            self._schedule()

    def _events(self) -> int:
        """Ask the descriptor; 0 where there is none."""
        poll = select.poll()
        try:
            # An error and a hang-up are told in any case.
            poll.register(self._transport.fileno(), _FINISHED)
        except (AttributeError, ValueError):
            return 0
        return sum(events for _, events in poll.poll(0))
