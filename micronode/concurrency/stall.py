"""Notices a transport that takes no byte any more, or too few; both ingresses watch their callers with it.

A Twisted transport tells when its buffer is full and when it is empty, nothing in between, and the
kernel's buffer hides the peer behind megabytes: a caller that reads slowly but steadily may let
either stand still for minutes. What the kernel has not seen acknowledged does move with every byte
the peer takes, so that is what is looked at.

*Who is too slow.* A peer may be slow because it is given little: that is not its fault. So at the end of a
window it is asked for no more than what waited for it when the window began: it is too slow if it has taken
neither all of that nor what its rate comes to. One that always takes what there is passes, however little
that is and however long the way to it; one that does not, does not, whatever is written behind it.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IUNIXTransport

from micronode.errors import ErrorCode, NodeError

#: How the call of a caller that was cut off for it ends: as of any other who has gone, but for its reason.
CUT_OFF: Final = NodeError(ErrorCode.CANCELLED, "the caller takes no byte, or too few", reason="slow_reader")


def unacknowledged(transport: Any) -> int | None:
    """Return the bytes in the kernel's send queue of *transport*; None where it has no descriptor.

    A Unix socket's are those of the memory that it takes: 768 for a message of ten, until all ten are read.
    """
    try:
        raw = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError, ValueError):
        return None
    return int(struct.unpack("i", raw)[0])


#: Seconds of a window in which a peer takes less than a rate before it is too slow.
WINDOW_S: Final = 30.0


def unsent(transport: Any) -> int:
    """Return the bytes in the buffer of *transport* itself, not with the kernel yet; 0 without one."""
    try:
        # As it finds out by itself whether the buffer is full.
        return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)
    except AttributeError:
        return 0


class StallWatch:
    """Calls *stalled* once when a transport took nothing for a while, or too little.

    :param clock: times everything.
    :param stalled: called without arguments; the watch has stopped by then.
    :param queued: returns the bytes in the kernel's send queue of a transport, None where nobody can tell.
    :ivar written: bytes that were written in all. Whoever writes counts them here where there is a rate that
        the peer has to keep.
    """

    __slots__ = (
        "_call",
        "_clock",
        "_full",
        "_left",
        "_limit_s",
        "_mark",
        "_min_rate",
        "_queued",
        "_roughly",
        "_sent",
        "_since_s",
        "_stalled",
        "_taken",
        "_transport",
        "_waited",
        "_window_s",
        "written",
    )

    def __init__(
        self,
        clock: IReactorTime,
        transport: Any,
        stalled: Callable[[], None],
        *,
        queued: Callable[[Any], int | None] = unacknowledged,
    ) -> None:
        self.written = 0
        self._min_rate = 0
        #: When the window began; None: there is none. What had been taken by then, and what waited.
        self._window_s: float | None = None
        self._taken = self._waited = 0
        self._clock = clock
        self._transport = transport
        self._queued = queued
        #: Whether what is written may make its queue longer than by its bytes, and hide what is taken.
        self._roughly = IUNIXTransport.providedBy(transport)
        self._stalled = stalled
        self._call: IDelayedCall | None = None
        #: Whether the transport's buffer is full, and whether something that it was given may be left.
        self._full = False
        self._left = False
        self._limit_s = 0.0
        self._since_s = 0.0
        #: What sent() was told of, in all: a queue that only grew by it has lost nothing.
        self._sent = 0
        self._mark: int | None = None

    def start(self, limit_s: float, min_rate: int = 0) -> None:
        """Watch: the transport has bytes that it cannot pass on.

        :param limit_s: seconds that the peer may take nothing.
        :param min_rate: bytes a second that it has to take of what waits for it; 0: any number will do.

        Where it was watched a moment before, the kernel is asked at the next look and not each time, which
        would take a tenth of a fast download; who takes nothing is noticed a look later then.
        """
        self._full = True
        self._min_rate = min_rate
        self._begin(limit_s, None if self._call is not None else self._queued(self._transport))

    def stop(self) -> None:
        """Stop watching: the transport is empty.

        The timer stays: a fast download fills and empties a thousand times a second.
        """
        self._full = False

    def sent(self, size: int, limit_s: float, min_rate: int = 0) -> None:
        """Watch until the peer has taken all there is, *size* bytes more than before.

        One that was told of each write notices a peer also that takes nothing while little is written. By a
        Unix socket it does once nothing more is written, or the buffer is full: before, such a peer looks
        like one that is behind and reads. A transport without a descriptor cannot tell, and nobody is given
        up for that.
        """
        self._sent += size
        self._min_rate = min_rate
        if not self._left:
            self._left = True
            if not self._full:
                self._begin(limit_s, self._queued(self._transport))

    def close(self) -> None:
        """Stop watching for good."""
        self._full = self._left = False
        self._window_s = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _begin(self, limit_s: float, queued: int | None) -> None:
        self._limit_s = limit_s
        self._since_s = self._clock.seconds()
        self._mark = self._marked(queued)
        if self._call is None:
            self._open_window(queued)
            self._schedule()

    def _open_window(self, queued: int | None) -> None:
        """Begin a window, where there is a rate and it can be told."""
        if not self._min_rate or queued is None:
            self._window_s = None
            return
        held = unsent(self._transport)
        self._window_s = self._clock.seconds()
        self._taken = self.written - held - queued
        # A Unix socket's queue says more than there is of what waits.
        self._waited = held if self._roughly else held + queued

    def _too_slow(self, queued: int | None) -> bool:
        """Whether a window is over in which too little was taken; the next one has begun if it was enough."""
        if self._window_s is not None and queued is not None:
            passed_s = self._clock.seconds() - self._window_s
            if passed_s < WINDOW_S:
                return False
            taken = self.written - unsent(self._transport) - queued - self._taken
            if self._waited and taken < min(self._waited, self._min_rate * passed_s):
                return True
        self._open_window(queued)
        return False

    def _marked(self, queued: int | None) -> int | None:
        """Return a number that falls with every byte the peer takes.

        What was written and is not in the kernel yet looks like taken: the number rises when it is.
        """
        return None if queued is None else queued - self._sent

    def _schedule(self) -> None:
        # Looking four times in a limit notices progress that a full buffer does not show.
        interval_s = self._limit_s / 4
        if self._window_s is not None:
            interval_s = min(interval_s, WINDOW_S / 4)
        self._call = self._clock.callLater(interval_s, self._look)

    def _look(self) -> None:
        self._call = None
        queued, now = self._queued(self._transport), self._clock.seconds()
        if not queued:
            self._left = False
        if not (self._full or self._left):
            self._window_s = None
            return
        mark, before = self._marked(queued), self._mark
        self._mark = mark
        grown_counts = self._full or self._roughly
        if mark != before and (grown_counts or mark is None or before is None or mark < before):
            self._since_s = now
        if now - self._since_s >= self._limit_s or self._too_slow(queued):
            self._full = self._left = False
            self._window_s = None
            self._stalled()
        else:
            self._schedule()
