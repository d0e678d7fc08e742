"""Standard output that takes what comes as it can, while everything else goes on (``call --stream``).

:class:`~micronode.cli.bodies.BodyWriter` lets a slow reader block the process, which is well while all it
does is to print. Here it also sends, answers PINGs and gives credit, so nothing may block.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from typing import IO, Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.cli.streams import discard

#: What a pipe takes without blocking once it is writable at all: PIPE_BUF of Linux.
_PIECE_BYTES: Final = 4_096
#: Pieces between two looks at what else there is to do.
_PIECES: Final = 16


@implementer(IConsumer, IWriteDescriptor)
class LiveWriter:
    """Writes each piece at once where the descriptor takes it, and holds the rest, with its producer paused.

    The descriptor stays blocking (it is shared with other processes); it is only written to when it is ready.
    """

    def __init__(self, stream: IO[bytes], reactor: Any, failed: Callable[[], None]) -> None:
        """:param failed: called once when the stream takes no more; :attr:`error` says why."""
        self._stream = stream
        self._reactor = reactor
        self._failed = failed
        self._held = bytearray()
        self._last = b""
        self._producer: Any = None
        self._paused = False
        self._waiter: Deferred[None] | None = None
        self._polls = _is_slow(stream)
        self.error: OSError | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no byte has come yet."""
        return not self._last

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        if self.error is not None or not data:
            return
        self._last = data[-1:]
        if not self._polls:
            try:
                self._stream.write(data)
                self._stream.flush()
            except OSError as error:
                self._break(error)
            return
        if not self._held:
            self._reactor.addWriter(self)
        self._held += data
        if self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def drained(self) -> Deferred[None]:
        """Return a Deferred that fires (None) when nothing is held, because it went or never will."""
        if not self._held:
            return succeed(None)
        self._waiter = Deferred(lambda _: self._forget())
        return self._waiter

    def finish(self, *, newline: bool) -> None:
        """End the last line with *newline* if the body did not; what is held is dropped."""
        if self._held:
            self._reactor.removeWriter(self)
            self._held.clear()
        elif newline and not self.is_empty and self._last != b"\n":
            self._polls = False
            self.write(b"\n")

    # IWriteDescriptor

    def fileno(self) -> int:
        return self._stream.fileno()

    def logPrefix(self) -> str:
        return "output"

    def doWrite(self) -> None:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        for _ in range(_PIECES):
            try:
                size = os.write(self.fileno(), self._held[:_PIECE_BYTES])
            except OSError as error:
                self._break(error)
                return
            del self._held[:size]
            if not self._held:
                self._reactor.removeWriter(self)
                self._go_on()
                return
            if poll.poll(0) != [(self.fileno(), select.POLLOUT)]:
                return

    def connectionLost(self, reason: Failure) -> None:
        # What the reactor finds when the reader of a pipe has gone.
        self._break(BrokenPipeError(32, "Broken pipe"))

    def _break(self, error: OSError) -> None:
        if self.error is not None:
            return
        self.error = error
        if self._polls:
            self._reactor.removeWriter(self)
        self._held.clear()
        discard(self._stream)
        self._failed()
        self._go_on()

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()
        # The producer may have written its last piece just now, and who waits for the end came with it.
        if not self._held and self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.callback(None)

    def _forget(self) -> None:
        self._waiter = None


def _is_slow(stream: IO[bytes]) -> bool:
    """Whether somebody else decides when *stream* takes more: a pipe, a socket, a terminal."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(stream.fileno())
    except OSError:  # no descriptor at all
        return False
