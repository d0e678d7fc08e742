"""Whose turn it is to send: the order of a connection's streams, by bytes, and how much they may hold.

*Why deficit round robin* (M. Shreedhar and G. Varghese, "Efficient Fair Queuing using Deficit Round Robin",
SIGCOMM 1995): whoever has something to send gets a turn of :data:`QUANTUM_BYTES`, one after the other, and
what a turn was too long or too short by is remembered for the next one. So a small answer waits for one
turn of each of the others, however long their bodies are, and long ones get the same number of bytes
however they are cut. First come, first served makes the small one wait for all that came before it; turns
by the write favour who writes more at a time; a heap of finish times costs more and does no better for
streams without weights. A stream that is alone gets longer turns, since shorter ones would only cost frames.

What has its turn to come waits with its stream, and who makes it is paused while that is enough
(:mod:`micronode.oap.waiting`), or while all of them hold :data:`HELD_BYTES`. Those that held something long
ago are resumed first, so that many that cannot all have a turn at hand have theirs one after the other.

Nothing here knows a transport; :mod:`micronode.oap.outbox` drives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from micronode.oap.wire.limits import MAX_CHUNK_BYTES

#: Bytes of a turn, frames and all: at 100 Mbit/s the 64 streams of a connection then wait 84 ms at most,
#: and the header of a frame is still no more than 0.3 % of it.
QUANTUM_BYTES: Final = 16_384
#: Bytes of a turn of a stream that is alone: a frame as long as may be.
ALONE_BYTES: Final = MAX_CHUNK_BYTES
#: What a transport reads at a time.
READ_BYTES: Final = 65_536
#: What all streams of a connection may hold before everyone is paused. With one read more, and what the
#: transport has of it, these are the 256 KiB that may be unsent.
HELD_BYTES: Final = 6 * QUANTUM_BYTES


class Sender(Protocol):
    """A stream, as far as its turns need it."""

    @property
    def ready(self) -> bool:
        """Whether it has something that it may send now."""

    def take_turn(self, limit: int) -> int:
        """Send about *limit* bytes at most, which are more than none.

        :return: how many were sent; 0: there was nothing to send.
        """


class Source(Protocol):
    """What a stream holds, as far as all of them together matter."""

    def pauseProducing(self) -> None:
        """Hold no more than has to be."""

    def resumeProducing(self) -> None:
        """Hold something again."""


class Backlog:
    """Bytes that wait, first in, first out; what is taken is copied once, however often it is cut."""

    __slots__ = ("_at", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        #: How much of the first piece was taken.
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Add bytes, which are more than none."""
        self._pieces.append(data)
        self._size += len(data)

    def take(self, most: int) -> bytes:
        """Remove and return the first bytes, *most* of them unless there are fewer."""
        left = most = min(most, self._size)
        self._size -= most
        taken = []
        while left:
            first, start = self._pieces[0], self._at
            end = start + left
            if end < len(first):
                taken.append(first[start:end])
                self._at = end
                break
            taken.append(first[start:] if start else first)
            self._pieces.popleft()
            self._at = 0
            left = end - len(first)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def clear(self) -> None:
        """Forget them."""
        self._pieces.clear()
        self._size = self._at = 0


class Rounds:
    """The turns of those who have something to send.

    :ivar running: whether :meth:`run` runs.
    """

    def __init__(self, quantum: int = QUANTUM_BYTES, alone: int = ALONE_BYTES) -> None:
        self.running = False
        self._quantum = quantum
        self._alone = alone
        #: The least that is worth a frame; what is left of a turn below it is kept for the next one.
        self._least = quantum // 4
        self._ready: dict[int, Sender] = {}
        #: What earlier turns were too short (or, below 0, too long) by.
        self._balances: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._ready)

    def offer(self, key: int, sender: Sender) -> None:
        """*sender* has something to send; behind all others, unless it waits already."""
        self._ready.setdefault(key, sender)

    def withdraw(self, key: int) -> None:
        """Forget a sender; harmless where it does not wait."""
        self._ready.pop(key, None)
        self._balances.pop(key, None)

    def clear(self) -> None:
        """Forget everyone."""
        self._ready.clear()
        self._balances.clear()

    def run(self, room: Callable[[], bool]) -> None:
        """Give turns until nobody has anything to send, or until there is no *room*. Not while it runs."""
        self.running = True
        try:
            while self._ready and room():
                key = next(iter(self._ready))
                self._give(key, self._ready.pop(key), room)
        finally:
            self.running = False

    def _give(self, key: int, sender: Sender, room: Callable[[], bool]) -> None:
        alone = not self._ready
        left = self._alone if alone else self._balances.pop(key, 0) + self._quantum
        # More than once where less is sent than taken, since it was compressed.
        while left >= self._least and sender.ready and room():
            sent = sender.take_turn(left)
            if not sent:
                break
            left -= sent
        if sender.ready:
            # Behind those that wait; it was withdrawn if it is over, and is not ready then.
            self._ready[key] = sender
            if not alone:
                self._balances[key] = min(left, self._quantum)


class Stock:
    """What all streams of a connection hold together, and who has to stop making more of it.

    At the limit everyone is paused, and then resumed in order, one read at a time, below half of it: so many
    that cannot all have a turn at hand take turns in that, too. Who was resumed may be slow: when nothing is
    held any more all are resumed, in the same order, which is the one in which epoll reads them.

    :param limit: in bytes; what one read brings more than that is held all the same.
    :param read: bytes that one brings who was resumed.
    :ivar held: bytes.
    :ivar full: whether nobody makes more who was not resumed since.
    """

    def __init__(self, limit: int = HELD_BYTES, read: int = READ_BYTES) -> None:
        self.held = 0
        self.full = False
        self._limit = limit
        self._read = read
        #: The one that held something most lately is the last.
        self._sources: dict[int, Source] = {}
        #: Those that were resumed while it is full, and that brought nothing yet.
        self._expected: set[int] = set()

    def add(self, key: int, source: Source) -> None:
        """A stream begins."""
        self._sources[key] = source
        if self.full:
            source.pauseProducing()

    def remove(self, key: int) -> None:
        """A stream is over; harmless where it never began. What it held is to be given back by itself."""
        self._sources.pop(key, None)
        self._expected.discard(key)

    def clear(self) -> None:
        """Forget everyone."""
        self._sources.clear()
        self._expected.clear()

    def hold(self, key: int, size: int) -> None:
        """*key* holds *size* bytes more."""
        self.held += size
        source = self._sources.pop(key, None)
        if source is not None:
            self._sources[key] = source
        if self.full:
            if key in self._expected:
                self._expected.remove(key)
                self._sources[key].pauseProducing()
        elif self.held >= self._limit:
            self.full = True
            for each in list(self._sources.values()):
                each.pauseProducing()

    def give_back(self, size: int) -> None:
        """*size* bytes are held no more."""
        self.held -= size
        if not self.full:
            return
        if self.held == 0:
            self.full = False
            self._expected.clear()
        for key, source in list(self._sources.items()):
            if self.full and self.held + self._read * len(self._expected) > self._limit // 2:
                break
            if key not in self._expected and key in self._sources:
                if self.full:
                    self._expected.add(key)
                source.resumeProducing()
