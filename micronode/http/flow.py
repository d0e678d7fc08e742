"""Backpressure of one transport on whoever produces the answer.

Apart from whether the channel reads (:class:`~micronode.concurrency.hangup.Intake`): while an answer waits
for its reader, input is still read, up to a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from micronode.concurrency.memory import ANSWER_BYTES, UNDERWAY_BYTES, Buffers
from micronode.errors import NodeError


@implementer(IPushProducer)
class Flow:
    """Is the transport's producer for as long as the connection lives, whoever fills the buffer.

    :param filled: called when the transport's buffer is full.
    :param emptied: called when it is empty again, before the producer is resumed.
    :param buffers: what an answer that is passed on is charged to while it lasts.
    :ivar full: whether the transport's buffer is full.
    :ivar reserved: bytes that are charged for an answer that is passed on; 0: there is none.
    """

    __slots__ = ("_buffers", "_emptied", "_filled", "_leaving", "_producer", "_transport", "full", "reserved")

    def __init__(
        self,
        transport: Any,
        *,
        filled: Callable[[], None],
        emptied: Callable[[], None],
        buffers: Buffers | None = None,
    ) -> None:
        self.full = False
        self.reserved = 0
        self._buffers = buffers or Buffers()
        self._transport = transport
        self._filled = filled
        self._emptied = emptied
        self._producer: IPushProducer | None = None
        #: Those who wait until the buffer is empty.
        self._leaving: list[Deferred[None]] = []
        transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """Hold the producer back."""
        self.full = True
        self._filled()
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """Let the producer go on."""
        self.full = False
        producer = self._producer
        # First, because what is asked next may need what they give back.
        self._left()
        self._emptied()
        # Last, because it may fill the buffer again before it returns.
        if producer is not None and producer is self._producer and not self.full:
            producer.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the protocol's connectionLost() follows."""

    def attach(self, producer: IPushProducer, reserve: int = ANSWER_BYTES) -> None:
        """Pause and resume *producer* with the transport, from now on.

        :param reserve: bytes that its answer may come to hold.
        """
        if self._producer is None:
            self.reserved = reserve
            self._buffers.add(reserve)
        self._producer = producer
        if self.full:
            producer.pauseProducing()

    def detach(self) -> None:
        """Forget the producer."""
        if self._producer is not None:
            self._buffers.add(-self.reserved)
            self.reserved = 0
        self._producer = None

    def refusal(self, length: int | None) -> NodeError | None:
        """Return why an answer of *length* bytes is not begun; None: there is room for it, or it is small."""
        if self._buffers.full and (length is None or length > UNDERWAY_BYTES):
            return self._buffers.refusal()
        return None

    def beyond(self, unsent: int) -> int:
        """Return how many of *unsent* bytes that the transport has are not charged yet."""
        return max(0, unsent - max(0, self.reserved - UNDERWAY_BYTES))

    def left(self) -> Deferred[None]:
        """Wait until what was written has left a buffer that is full.

        What is in one that is not, less than the transport's 64 KiB, counts as having left: the transport
        does not tell, and a connection cannot have more of it than that.

        :return: fires (None) then, at once if it is not full, or when the connection is gone. Never fails by
            itself; it may be cancelled.
        """
        if not self.full:
            return succeed(None)
        leaving: Deferred[None] = Deferred(self._leaving.remove)
        self._leaving.append(leaving)
        return leaving

    def lost(self) -> None:
        """The connection is gone."""
        self._left()

    def _left(self) -> None:
        while self._leaving:
            self._leaving.pop(0).callback(None)

    def close(self) -> None:
        """Let go of the transport: one with a paused producer waits for it instead of closing."""
        self._transport.unregisterProducer()
