"""The body bytes of one answer that wait, for a turn or for room in the window, and who makes them.

The producer is paused while two turns' worth waits, so that there is a turn at hand while the next bytes are
under way; while the window is empty, since nobody knows for how long; and while all streams of the connection
that could go on hold too much (:class:`micronode.oap.fairness.Stock`). What it sends all the same, one read,
is held too. Not counted with the others is what waits for CREDIT, or a caller that gives none for some of its
streams would hold up all of them, and what came from a call that has no producer: it is all there already.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IPushProducer

from micronode.concurrency.memory import UNDERWAY_BYTES, Buffers
from micronode.oap.fairness import QUANTUM_BYTES, Backlog, Stock

#: At so many bytes the producer is paused.
ENOUGH_BYTES: Final = 2 * QUANTUM_BYTES
#: What an answer with a producer may come to hold: so many, and the read that comes all the same.
_RESERVE_BYTES: Final = ENOUGH_BYTES + UNDERWAY_BYTES


#: What an answer that never waits has of it; nothing is ever added.
_NOTHING: Final = Backlog()


class Waiting:
    """What waits of the answer of the stream *corr_id*.

    :param buffers: what it holds is charged to it; while there is a producer, at least what it may come to.
    :ivar starved: whether the window is empty; see :meth:`starve`.
    """

    __slots__ = (
        "_backlog",
        "_buffers",
        "_charged",
        "_choked",
        "_corr_id",
        "_counted",
        "_paced",
        "_paused",
        "_producer",
        "_stock",
        "starved",
    )

    def __init__(self, corr_id: int, stock: Stock, buffers: Buffers | None = None) -> None:
        self.starved = False
        self._corr_id = corr_id
        self._stock = stock
        self._buffers = buffers or Buffers()
        self._backlog = _NOTHING
        self._producer: IPushProducer | None = None
        self._paused = False
        self._choked = False
        #: There is, or was, a producer.
        self._paced = False
        #: Bytes that are counted in the stock.
        self._counted = 0
        #: Bytes that are charged.
        self._charged = 0

    def __len__(self) -> int:
        return len(self._backlog)

    def hold(self, data: bytes) -> None:
        """Add body bytes."""
        if self._backlog is _NOTHING:
            self._backlog = Backlog()
        self._backlog.append(data)
        self._charge()
        self._count()
        self.regulate()

    def take(self, most: int) -> bytes:
        """Remove and return the first of them; :meth:`regulate` is to be called when they were sent."""
        data = self._backlog.take(most)
        self._charge()
        self._count()
        return data

    def starve(self, starved: bool) -> None:
        """Note whether the window is empty."""
        self.starved = starved
        self._count()
        self.regulate()

    def close(self) -> None:
        """The stream is over: forget everything. Nobody is told."""
        self._producer = None
        if self._charged:
            self._backlog = _NOTHING
            self._charge()
        if self._paced:
            self._stock.remove(self._corr_id)
            self._count()

    def _charge(self) -> None:
        charged = len(self._backlog)
        if self._producer is not None and charged < _RESERVE_BYTES:
            charged = _RESERVE_BYTES
        if charged != self._charged:
            self._buffers.add(charged - self._charged)
            self._charged = charged

    def _count(self) -> None:
        counted = len(self._backlog) if self._paced and not self.starved else 0
        more, self._counted = counted - self._counted, counted
        if more > 0:
            self._stock.hold(self._corr_id, more)
        elif more < 0:
            self._stock.give_back(-more)

    # The producer

    @property
    def has_producer(self) -> bool:
        """Whether somebody makes more of it."""
        return self._producer is not None

    def register(self, producer: IPushProducer) -> None:
        """Pause and resume *producer* from now on, also with what all streams hold."""
        self._producer = producer
        self._charge()
        self._paused = False
        if not self._paced:
            self._paced = True
            self._stock.add(self._corr_id, self)
        self._count()
        self.regulate()

    def unregister(self) -> None:
        """Forget the producer."""
        self._producer = None
        self._charge()

    def regulate(self) -> None:
        """Pause the producer, or let it go on."""
        producer = self._producer
        if producer is not None:
            pause = self.starved or self._choked or len(self._backlog) >= ENOUGH_BYTES
            if pause != self._paused:
                self._paused = pause
                if pause:
                    producer.pauseProducing()
                else:
                    producer.resumeProducing()

    # For the stock

    def pauseProducing(self) -> None:
        """All streams together hold too much."""
        self._choked = True
        self.regulate()

    def resumeProducing(self) -> None:
        """They do not any more."""
        self._choked = False
        self.regulate()
