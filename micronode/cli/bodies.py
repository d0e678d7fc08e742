"""Bodies of ``micronode call``: a file or standard input going out, standard output taking what comes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import IO, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IReadDescriptor
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from micronode.cli.exits import CommandError, Exit
from micronode.cli.streams import discard, has_input

#: What is read from a pipe at a time; a pipe holds this much.
_READ_BYTES: Final = 65_536
#: A file up to this size is sent in one piece with what asks for it, so that the node knows its length.
WHOLE_BYTES: Final = 32_768


def open_body(name: str, reactor: Any) -> IBodyProducer | bytes:
    """Return the body that is in the file *name*, itself where it is small; ``-`` is standard input.

    :raises CommandError: it cannot be read.
    """
    if name == "-":
        if not has_input():
            raise CommandError(
                Exit.USAGE, "--body -: standard input is closed; name a file (/dev/null for an empty body)"
            )
        file: IO[bytes] = sys.stdin.buffer
    else:
        try:
            file = open(name, "rb")  # noqa: SIM115 (the producer closes it)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CommandError(
                Exit.USAGE, f"--body {name}: {reason}; name a file, or - for standard input"
            ) from None
    if not file.seekable():
        return PipeBody(file, reactor)
    try:
        begin = file.tell()
        data = file.read(WHOLE_BYTES + 1)
        if len(data) > WHOLE_BYTES:
            file.seek(begin)
            return FileBodyProducer(file)
    except OSError as error:
        file.close()
        raise CommandError(Exit.FAILED, f"--body {name}: {(error.strerror or str(error)).lower()}") from None
    file.close()
    return data


@implementer(IBodyProducer, IReadDescriptor)
class PipeBody:
    """A body read from a pipe or terminal as the reactor finds it there, so that Ctrl-C keeps working.

    The descriptor stays blocking (it is shared with other processes); it is only read when it is ready.
    """

    length = UNKNOWN_LENGTH

    def __init__(self, file: IO[bytes], reactor: Any) -> None:
        """:param file: owned from now on, and closed at the end."""
        self._file = file
        self._reactor = reactor
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] = Deferred()

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self._consumer = consumer
        self.resumeProducing()
        return self._done

    def pauseProducing(self) -> None:
        if self._consumer is not None:
            self._reactor.removeReader(self)

    def resumeProducing(self) -> None:
        if self._consumer is not None:
            self._reactor.addReader(self)

    def stopProducing(self) -> None:
        if self._consumer is not None:
            self._consumer = None
            self._reactor.removeReader(self)
            self._file.close()

    def fileno(self) -> int:
        return self._file.fileno()

    def logPrefix(self) -> str:
        return "body"

    def doRead(self) -> None:
        if self._consumer is None:
            return
        try:
            data = os.read(self.fileno(), _READ_BYTES)
        except OSError:
            self.stopProducing()
            self._done.errback(Failure())
            return
        if data:
            self._consumer.write(data)
        else:
            self.stopProducing()
            self._done.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        # A pipe that is empty and has no writer any more is not readable but hung up: ConnectionDone.
        # Anything else is a descriptor that cannot be used.
        if self._consumer is None:
            return
        self.stopProducing()
        if reason.check(ConnectionDone):
            self._done.callback(None)
        else:
            self._done.errback(reason)


@implementer(IConsumer)
class BodyWriter:
    """Writes a response body to a binary stream as it comes; nothing is held.

    Writing may block: that *is* the backpressure, and this process does nothing else.
    """

    def __init__(self, stream: IO[bytes], failed: Callable[[], None]) -> None:
        """:param failed: called once when the stream takes no more; :attr:`error` says why."""
        self._stream = stream
        self._failed = failed
        self._last = b""
        self.error: OSError | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no byte has come yet."""
        return not self._last

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Nothing was kept of it."""

    def write(self, data: bytes) -> None:
        if self.error is None and data:
            self._last = data[-1:]
            self._guarded(lambda: self._stream.write(data))

    def finish(self, *, newline: bool) -> None:
        """Flush; with *newline* end the last line if the body did not."""
        if newline and not self.is_empty and self._last != b"\n":
            self.write(b"\n")
        self._guarded(self._stream.flush)

    def _guarded(self, act: Callable[[], object]) -> None:
        if self.error is not None:
            return
        try:
            act()
        except OSError as error:
            self.error = error
            discard(self._stream)
            self._failed()
