"""Writes the log without ever waiting for whoever reads it.

A write to a pipe that nobody empties blocks, and one that blocks the reactor stops the whole node, its
signals included. So each write first asks whether the descriptor takes something; what it does not
take waits here, up to a bound, and beyond that is dropped and counted.

Lines in no hurry, of which a busy node writes one for each call, are collected until the reactor's turn ends,
and written together: a process that is killed outright loses those of its last turn.

Why not O_NONBLOCK: it belongs to the open file, which a standard stream shares with other processes. A
terminal does need it, since one that takes something may not take all of a write; it can be opened a
second time, so that nobody shares the file.
"""

from __future__ import annotations

import os
import select  # A poll() with a timeout of 0 does not block.
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any, Final, Protocol

from twisted.internet.interfaces import IReactorTime

#: What may wait for the reader: minutes of a quiet node, a second or so of a busy one.
MAX_LINES: Final = 1_000
MAX_BYTES: Final = 262_144
#: Bytes of lines that are written together: what a pipe takes as one, whoever else writes to it.
_BATCH_BYTES: Final = select.PIPE_BUF
#: Seconds between two looks at a reader that is behind.
LOOK_S: Final = 0.1
#: How long a reader is waited for at the very end, when the reactor does not run any more.
LAST_S: Final = 1.0


class Output(Protocol):
    """Where the bytes go."""

    def ready(self, within_s: float = 0.0) -> bool:
        """Tell whether a write would not block, now or within *within_s* seconds."""

    def write(self, data: bytes) -> int:
        """Write a part of *data*, and return how much.

        :raises OSError: it cannot be written.
        """


class Descriptor:
    """An open file of the system: a pipe, a socket, a terminal, a file (which is always ready).

    :raises OSError: *stream* has no descriptor.
    :raises ValueError: it is closed.
    """

    def __init__(self, stream: Any) -> None:
        # Kept: a stream that nobody holds closes its file.
        self._stream = _open_terminal(stream.fileno()) or stream
        self._number: int = self._stream.fileno()
        self._poll = select.poll()
        self._poll.register(self._number, select.POLLOUT)

    def ready(self, within_s: float = 0.0) -> bool:
        """Tell whether a write would not block; also where it would fail, which it then says."""
        return bool(self._poll.poll(within_s * 1000))

    def write(self, data: bytes) -> int:
        """Write at most what a pipe that is ready has room for.

        :raises BlockingIOError: it was ready, and has no room after all.
        """
        return os.write(self._number, data[: select.PIPE_BUF])


def _open_terminal(number: int) -> IO[bytes] | None:
    """Return the terminal behind *number* as a file of our own that never blocks.

    None: it is no terminal, or one that we may not open (another user's, after ``su``).
    """
    if not os.isatty(number):
        return None
    try:
        own = os.open(os.ttyname(number), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None
    return open(own, "wb", buffering=0)


class InMemory:
    """A stream without a descriptor."""

    def __init__(self, stream: IO[str], encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding

    def ready(self, within_s: float = 0.0) -> bool:
        """Tell that it is."""
        return True

    def write(self, data: bytes) -> int:
        """Write all of *data*."""
        self._stream.write(data.decode(self._encoding))
        return len(data)


class LineWriter:
    """Passes lines on to *output*, in order.

    :param clock: times the looks at a reader that is behind.
    :param dropped: called with how many lines were, once everything that was kept is written.
    """

    def __init__(
        self,
        output: Output,
        clock: IReactorTime,
        dropped: Callable[[int], object],
        *,
        encoding: str = "utf-8",
    ) -> None:
        self._output = output
        self._clock = clock
        self._dropped = dropped
        self._encoding = encoding
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._lost = 0
        #: For a reader that is behind.
        self._is_waiting = False
        #: For the end of the reactor's turn.
        self._is_collecting = False
        self._closed = False

    def write(self, line: str, *, hurry: bool = True) -> None:
        """Write *line*, now or later or never.

        :param hurry: whether now is before the reactor's turn ends.
        """
        # A console that cannot show a character; the line still counts.
        data = line.encode(self._encoding, "backslashreplace")
        if len(self._queue) >= MAX_LINES or self._queued + len(data) > MAX_BYTES:
            self._lost += 1
            return
        self._queue.append(data)
        self._queued += len(data)
        if self._is_waiting:
            return
        if hurry or self._closed or self._queued >= _BATCH_BYTES:
            self._go_on()
        elif not self._is_collecting:
            self._is_collecting = True
            self._clock.callLater(0, self._turn_ended)

    def close(self) -> None:
        """Write what waits, for at most :data:`LAST_S` seconds; for the end of the process only."""
        # Whatever comes now comes when there may be no further turn.
        self._closed = True
        until_s = time.monotonic() + LAST_S
        while self._queue and self._output.ready(max(0.0, until_s - time.monotonic())):
            if not self._write_some():
                return
        self._report()

    def _turn_ended(self) -> None:
        self._is_collecting = False
        if not self._is_waiting:
            self._go_on()

    def _go_on(self) -> None:
        self._is_waiting = False
        while self._queue and self._output.ready() and self._write_some():
            pass
        if self._queue:
            self._is_waiting = True
            self._clock.callLater(LOOK_S, self._go_on)
        else:
            self._report()

    def _report(self) -> None:
        """Say how many lines were lost, once there is room to say it."""
        if self._lost and not self._queue:
            lost, self._lost = self._lost, 0
            self._dropped(lost)

    def _write_some(self) -> bool:
        """Write a part of the first lines; False: nothing can be written now after all."""
        data = self._take()
        try:
            rest = data[self._output.write(data) :]
        except BlockingIOError:
            # Another process was quicker, or a terminal has less room than a line feed takes on it.
            rest = data
        except (OSError, ValueError):
            # The reader of the log has gone. There is nowhere left to say so, and the node serves on.
            return True
        if rest:
            self._queue.appendleft(rest)
            self._queued += len(rest)
        return rest is not data

    def _take(self) -> bytes:
        """Remove and return the first line, and those behind it that are written with it."""
        queue = self._queue
        lines = [queue.popleft()]
        size = len(lines[0])
        while queue and size + len(queue[0]) <= _BATCH_BYTES:
            lines.append(queue.popleft())
            size += len(lines[-1])
        self._queued -= size
        return lines[0] if len(lines) == 1 else b"".join(lines)


def open_writer(stream: IO[str], clock: IReactorTime, dropped: Callable[[int], object]) -> LineWriter:
    """Return a writer to *stream*; see :class:`LineWriter`."""
    encoding: str = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.flush()
        output: Output = Descriptor(stream)
    except (OSError, ValueError):
        output = InMemory(stream, encoding)
    return LineWriter(output, clock, dropped, encoding=encoding)
