"""Doubles that take their time: a caller that reads as it likes, an owner that stalls, an endless answer."""

from __future__ import annotations

from typing import Any

from micronode.calls.call import ResponseHead
from tests.support.oap import Dispatched, MemoryTransport

#: What an owner of the tests writes at a time, and an answer that comes all at once.
PIECE_BYTES = 16_384


class SlowTransport(MemoryTransport):
    """One whose peer reads as much as it likes."""

    def take(self, most: int) -> None:
        """Let the peer read up to *most* bytes."""
        rest = self.value()[most:]
        self.clear()
        self.io.write(rest)
        if not rest and self.producer is not None:
            self.drain()


class StallingOwner:
    """Takes a body, and stops taking it on request; keeps none of it."""

    def __init__(self, dispatched: Dispatched) -> None:
        self.producer = dispatched.call.body
        assert self.producer is not None
        self.producer.startProducing(self)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer."""

    def unregisterProducer(self) -> None:
        """See IConsumer."""

    def write(self, data: bytes) -> None:
        """See IConsumer."""


class EndlessAnswer:
    """Answers without end, a piece at a time, unless it is paused."""

    def __init__(self, dispatched: Dispatched) -> None:
        self.sink = dispatched.sink
        self.paused = False
        self.over = False
        self.sink.start(ResponseHead())
        self.sink.registerProducer(self, True)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.over = True

    def pour(self, pieces: int) -> None:
        """Write up to *pieces*."""
        for _ in range(pieces):
            if self.paused or self.over or self.sink.ended:
                return
            self.sink.write(bytes(PIECE_BYTES))
