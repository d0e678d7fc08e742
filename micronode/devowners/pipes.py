"""The two ends of a body that a coroutine passes on: read a piece, wait for room, write it.

Neither end keeps more than the one piece that its source wrote before it could be paused.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


class Source(Protocol):
    """What writes into an :class:`Inlet` by itself: the two methods of a push producer that it needs."""

    def pauseProducing(self) -> object:
        """Write nothing more."""

    def resumeProducing(self) -> object:
        """Write on."""


class Inlet:
    """Bytes that come by themselves, to be read piece by piece; without a reader their source is paused.

    :ivar source: who is paused, if it can be.
    """

    def __init__(self) -> None:
        self.source: Source | None = None
        self._pieces: deque[bytes] = deque()
        self._reader: Deferred[bytes] | None = None
        self._is_putting = False
        self._is_ended = False
        self._error: Exception | None = None

    def put(self, data: bytes) -> None:
        """Take a piece from the source."""
        if not data:
            return
        if self._reader is None:
            self._pieces.append(data)
        else:
            reader, self._reader = self._reader, None
            # A reader that is back at once needs no resuming, which would run the source inside itself.
            self._is_putting = True
            try:
                reader.callback(data)
            finally:
                self._is_putting = False
        if self._reader is None and self.source is not None:
            self.source.pauseProducing()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes, because of *error* or well."""
        self._is_ended, self._error, self.source = True, error, None
        reader, self._reader = self._reader, None
        if reader is not None:
            if error is not None:
                reader.errback(error)
            else:
                reader.callback(b"")

    def read(self) -> Deferred[bytes]:
        """Return the next piece; empty at the end.

        Fails with the error of :meth:`end`. It may be cancelled.
        """
        if self._pieces:
            return succeed(self._pieces.popleft())
        if self._is_ended:
            return fail(self._error) if self._error is not None else succeed(b"")
        reader: Deferred[bytes] = Deferred(self._give_up)
        self._reader = reader
        if self.source is not None and not self._is_putting:
            self.source.resumeProducing()
        return reader

    def _give_up(self, _reader: Deferred[bytes]) -> None:
        self._reader = None


@implementer(IPushProducer)
class Outlet:
    """Knows whether whoever takes the bytes has room for more."""

    def __init__(self) -> None:
        self._is_paused = False
        self._waiting: Deferred[None] | None = None

    def room(self) -> Deferred[None]:
        """Return a Deferred that fires when there is room. It may be cancelled."""
        if not self._is_paused:
            return succeed(None)
        self._waiting = Deferred(self._give_up)
        return self._waiting

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._is_paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """See IPushProducer: the caller has gone, and what writes is about to be told."""

    def _give_up(self, _waiting: Deferred[None]) -> None:
        self._waiting = None
