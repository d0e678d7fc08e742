"""What one connection writes: batching, the producers behind it, and the bounds of unsent output.

The transport's own backpressure is all there is to fairness yet: when it is full every stream is
paused, and when it has emptied they are resumed first come, first served, until it is full again, so
that each gets its turn.

Why every stream waits for its turn, whether it has a producer behind it or a small answer that is all
there: reading never stops because our own writes are blocked (a cancel must get through), so a caller
that asks and never reads would otherwise be written to without end. As it is, a stream that waits is open:
it has its place in ``max_inflight`` and its facet's permit, and these bound how many there are. Unsent,
beside what they hold, are then at most the transport's 64 KiB, a batch of 64 KiB, and one write.

Errors and echoes do not wait for a turn. When too many of them wait for the transport no more input is
handled, so that they are never lost to a caller that reads, and never pile up for one that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from micronode.concurrency.stall import StallWatch

#: Errors and echoes that may wait for a full transport; beyond it, nothing more is done for the caller.
MAX_CONTROL_BYTES: Final = 65_536
#: A batch is handed on when it is this long: larger ones save nothing.
_BATCH_BYTES: Final = 65_536


@implementer(IPushProducer)
class Outbox:
    """Writes to *transport*, and is the producer registered there.

    :param stall_s: seconds the transport may take no byte while it is full.
    :param broken: called without arguments when the caller took no byte for *stall_s*.
    :param relieved: called without arguments when it is no longer :attr:`crowded`.
    :ivar full: whether the transport has asked for a pause.
    """

    def __init__(
        self,
        transport: Any,
        clock: IReactorTime,
        *,
        stall_s: float,
        broken: Callable[[], None],
        relieved: Callable[[], None],
    ) -> None:
        self.full = False
        self._relieved = relieved
        self._transport = transport
        self._stall_s = stall_s
        self._watch = StallWatch(clock, transport, broken)
        self._pieces: list[bytes] = []
        self._size = 0
        self._corked = False
        self._open = True
        #: Control bytes written since the transport became full.
        self._control_size = 0
        #: Called when the transport takes bytes again, before the streams have their turns.
        self.on_room: Callable[[], None] | None = None
        #: Streams, the ones that run and the ones that wait for the transport.
        self._running: dict[int, IPushProducer] = {}
        self._waiting: dict[int, IPushProducer] = {}
        transport.registerProducer(self, True)

    # Writing

    def cork(self) -> None:
        """Collect what is written until :meth:`uncork`."""
        self._corked = True

    def uncork(self) -> None:
        """Hand on what was collected, in one write."""
        self._corked = False
        self._flush()

    def write(self, data: bytes) -> None:
        """Write frames of an answer: only a stream does that, in its turn."""
        if self._open:
            self._pieces.append(data)
            self._size += len(data)
            if not self._corked or self._size >= _BATCH_BYTES:
                self._flush()

    def write_control(self, data: bytes) -> None:
        """Write frames that do not wait for a turn: errors, echoes, greetings, farewells."""
        if self._open:
            if self.full:
                self._control_size += len(data)
            self.write(data)

    @property
    def crowded(self) -> bool:
        """Whether more than :data:`MAX_CONTROL_BYTES` of errors and echoes wait for the transport."""
        return self.full and self._control_size > MAX_CONTROL_BYTES

    def close(self) -> None:
        """Hand on what there is, and write no more; the streams are forgotten."""
        if self._open:
            self._flush()
            self._open = False
            self._watch.close()
            self._running.clear()
            self._waiting.clear()
            # A transport does not close while it has a producer that it paused.
            self._transport.unregisterProducer()

    def discard(self) -> None:
        """The transport is gone."""
        self._open = False
        self._watch.close()
        self._pieces.clear()
        self._running.clear()
        self._waiting.clear()

    def _flush(self) -> None:
        pieces = self._pieces
        if pieces:
            self._pieces = []
            self._size = 0
            if len(pieces) == 1:
                self._transport.write(pieces[0])
            else:
                self._transport.writeSequence(pieces)

    # Streams

    def attach(self, corr_id: int, producer: IPushProducer) -> None:
        """Pause and resume *producer*, a stream, with the transport: it writes while it is not paused."""
        if self.full:
            self._waiting[corr_id] = producer
            producer.pauseProducing()
        else:
            self._running[corr_id] = producer

    def detach(self, corr_id: int) -> None:
        """Forget a stream; harmless where it was not attached."""
        self._running.pop(corr_id, None)
        self._waiting.pop(corr_id, None)

    # IPushProducer, for the transport

    def pauseProducing(self) -> None:
        """The transport is full: pause everyone."""
        if self.full or not self._open:
            return
        self.full = True
        self._control_size = 0
        self._watch.start(self._stall_s)
        # Behind those that have waited longer.
        paused, self._running = self._running, {}
        self._waiting.update(paused)
        for producer in paused.values():
            producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport is empty: resume those who wait, until it is full again."""
        crowded = self.crowded
        self.full = False
        self._watch.stop()
        if self.on_room is not None:
            self.on_room()
        while self._waiting and not self.full:
            corr_id, producer = next(iter(self._waiting.items()))
            del self._waiting[corr_id]
            self._running[corr_id] = producer
            producer.resumeProducing()
        if crowded:
            self._relieved()

    def stopProducing(self) -> None:
        """The transport is gone; the protocol hears of it by itself."""
