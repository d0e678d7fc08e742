"""Notices a transport that takes no byte any more; both ingresses watch their callers with it.

A Twisted transport tells when its buffer is full and when it is empty, nothing in between, and the
kernel's buffer hides the peer behind megabytes: a caller that reads slowly but steadily may let
either stand still for minutes. What the kernel has not seen acknowledged does move with every byte
the peer takes, so that is what is looked at.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime


def unacknowledged(transport: Any) -> int | None:
    """Return the bytes in the kernel's send queue of *transport*; None where it has no descriptor."""
    try:
        raw = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError, ValueError):
        return None
    return int(struct.unpack("i", raw)[0])


class StallWatch:
    """Calls *stalled* once when a transport took nothing for a while.

    :param clock: times everything.
    :param stalled: called without arguments; the watch has stopped by then.
    """

    __slots__ = ("_call", "_clock", "_limit_s", "_queued", "_since_s", "_stalled", "_transport", "_watching")

    def __init__(self, clock: IReactorTime, transport: Any, stalled: Callable[[], None]) -> None:
        self._clock = clock
        self._transport = transport
        self._stalled = stalled
        self._call: IDelayedCall | None = None
        self._watching = False
        self._limit_s = 0.0
        self._since_s = 0.0
        self._queued: int | None = None

    def start(self, limit_s: float) -> None:
        """Watch: the transport has bytes that it cannot pass on."""
        self._watching = True
        self._limit_s = limit_s
        self._since_s = self._clock.seconds()
        self._queued = unacknowledged(self._transport)
        if self._call is None:
            self._schedule()

    def stop(self) -> None:
        """Stop watching: the transport is empty.

        The timer stays: a fast download fills and empties a thousand times a second.
        """
        self._watching = False

    def close(self) -> None:
        """Stop for good."""
        self._watching = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _schedule(self) -> None:
        # Looking four times in a limit notices progress that a full buffer does not show.
        self._call = self._clock.callLater(self._limit_s / 4, self._look)

    def _look(self) -> None:
        self._call = None
        if not self._watching:
            return
        queued, now = unacknowledged(self._transport), self._clock.seconds()
        if queued != self._queued:
            self._queued, self._since_s = queued, now
        if now - self._since_s >= self._limit_s:
            self._watching = False
            self._stalled()
        else:
            self._schedule()
