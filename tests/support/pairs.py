"""Two protocols joined in memory: what one writes the other reads, as far as it reads."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from tests.support.oap import MemoryTransport

#: A transport asks its producer to pause when this much is unsent, as Twisted's do.
_FULL_BYTES = 65_536


class _End(MemoryTransport):
    """One side of a pair."""

    def __init__(self, clock: Clock, protocol: Any) -> None:
        super().__init__(clock)
        self.protocol = protocol
        self.full = False
        self.said_end = False

    def unsent(self) -> int:
        """Return how many bytes the other side has not read."""
        return len(self.value())

    def write(self, data: bytes) -> None:
        if self.lost or self.aborted:
            return
        super().write(data)
        if self.producer is not None and not self.full and self.unsent() > _FULL_BYTES:
            self.full = True
            self.producer.pauseProducing()

    def loseConnection(self) -> None:
        # A real one writes what it has first.
        self.disconnecting = True

    def take(self, most: int) -> bytes:
        """Let the other side read up to *most* bytes."""
        data = self.value()
        self.clear()
        self.io.write(data[most:])
        if self.full and len(data) <= most:
            self.full = False
            if self.producer is not None:
                self.producer.resumeProducing()
        return data[:most]


class ConnectionPair:
    """Joins *left* and *right*; nothing moves but in :meth:`run`.

    :ivar most_unsent: the most bytes that ever waited in one direction.
    """

    def __init__(self, clock: Clock, left: Any, right: Any) -> None:
        self._clock = clock
        self.left, self.right = _End(clock, left), _End(clock, right)
        self.most_unsent = 0
        for end in (self.left, self.right):
            end.protocol.makeConnection(end)

    def run(self, *, read_size: int = 16_384, turns: int = 10_000) -> None:
        """Let both sides read and write until nothing moves any more."""
        still = 0
        for _ in range(turns):
            moved = self._move(self.left, self.right, read_size)
            moved += self._move(self.right, self.left, read_size)
            self._clock.advance(0)
            # Twice: what waits for the reactor's next turn may have moved only now.
            still = 0 if moved else still + 1
            if still == 2:
                return
        raise AssertionError("the pair does not come to rest")

    def _move(self, source: _End, sink: _End, read_size: int) -> int:
        self.most_unsent = max(self.most_unsent, source.unsent())
        if source.aborted or sink.aborted:
            return self._end(source) + self._end(sink)
        if sink.lost or sink.disconnecting:
            # Nobody reads any more: what is written goes nowhere.
            source.clear()
        elif sink.producerState == "paused" and not source.said_end:
            return 0
        elif source.unsent():
            data = source.take(read_size)
            sink.protocol.dataReceived(data)
            return len(data)
        elif (source.half_closed or source.disconnecting or source.lost) and not source.said_end:
            source.said_end = True
            if hasattr(sink.protocol, "readConnectionLost"):
                sink.protocol.readConnectionLost()
                return 1
            return self._end(sink)
        return self._end(source) if source.disconnecting else 0

    @staticmethod
    def _end(end: _End) -> int:
        if end.lost:
            return 0
        end.lose()
        return 1
