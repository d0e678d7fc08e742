"""Bodies of ``micronode call``: a file or standard input going out, standard output taking what comes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import IO, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from micronode.cli.exits import CommandError, Exit


def open_body(name: str, reactor: Any) -> IBodyProducer:
    """Return the body that is in the file *name*; ``-`` is standard input.

    :raises CommandError: it cannot be read.
    """
    if name == "-":
        return PipeBody(sys.stdin.fileno(), reactor)
    try:
        file = open(name, "rb")  # noqa: SIM115 (the producer closes it)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(Exit.USAGE, f"--body {name}: {reason}; name a file, or - for standard input") from None
    if not file.seekable():
        # A named pipe: only the reactor may wait for it.
        return PipeBody(os.dup(file.fileno()), reactor)
    return FileBodyProducer(file)


class _Reader(Protocol):
    """Passes on what arrives on a descriptor, and its end."""

    def __init__(self, consumer: IConsumer, ended: Callable[[], None]) -> None:
        self._consumer = consumer
        self._ended = ended

    def dataReceived(self, data: bytes) -> None:
        self._consumer.write(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self._ended()


@implementer(IBodyProducer)
class PipeBody:
    """A body read from a pipe or terminal as the reactor finds it there, so that Ctrl-C keeps working."""

    length = UNKNOWN_LENGTH

    def __init__(self, descriptor: int, reactor: Any) -> None:
        """:param descriptor: closed at the end."""
        self._descriptor = descriptor
        self._reactor = reactor
        self._reading: Any = None
        self._done: Deferred[None] = Deferred()

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        reader = _Reader(consumer, self._finish)
        self._reading = StandardIO(reader, stdin=self._descriptor, stdout=nowhere, reactor=self._reactor)
        return self._done

    def pauseProducing(self) -> None:
        if self._reading is not None:
            self._reading.pauseProducing()

    def resumeProducing(self) -> None:
        if self._reading is not None:
            self._reading.resumeProducing()

    def stopProducing(self) -> None:
        if self._reading is not None:
            reading, self._reading = self._reading, None
            reading.loseConnection()

    def _finish(self) -> None:
        # stopProducing() says that nobody waits for the end any more.
        if self._reading is not None:
            self._reading = None
            self._done.callback(None)


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

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        if self.error is not None or not data:
            return
        try:
            self._stream.write(data)
        except OSError as error:
            self._fail(error)
        else:
            self._last = data[-1:]

    def finish(self, *, newline: bool) -> None:
        """Flush; with *newline* end the last line if the body did not."""
        try:
            if newline and self._last not in (b"", b"\n"):
                self._stream.write(b"\n")
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self.error is None:
            self.error = error
            # What is still buffered would raise again when the interpreter flushes it at exit.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            self._failed()


def nothing_to_send() -> Deferred[None]:
    """Return a Deferred that has fired."""
    return succeed(None)
