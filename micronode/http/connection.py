"""The transport of one HTTP/1.x connection: what is sent, who takes it too slowly, and how it ends.

It knows nothing of requests. What reads them (``exchanges``) and what knows how long one waits for them
(``channel``) are built on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol

from micronode.concurrency.farewell import Farewell
from micronode.concurrency.hangup import Intake
from micronode.concurrency.origin import origin_of
from micronode.concurrency.outgoing import Outlet
from micronode.concurrency.stall import StallWatch, unacknowledged
from micronode.concurrency.timer import LazyTimer
from micronode.http.flow import Flow

if TYPE_CHECKING:
    from micronode.http.site import HttpSite


class HttpConnection(Protocol, ABC):
    """One connection of *site*."""

    transport: Any  # TCP, TLS or Unix; what differs is asked for where it is used
    flow: Flow

    def __init__(self, site: HttpSite) -> None:
        self._site = site
        #: Of the last request whose head was whole, or of when it was connected.
        self._settings = site.settings
        self._clock = site.clock
        self._timer = LazyTimer(site.clock, self._expired)
        #: Whether there was ever more to write than the transport's buffer holds.
        self._much = False
        #: Whether all that is sent is watched, not only a full buffer. It stays so: while something of the
        #: answer that asked for it waits to be taken, what is behind it counts, too.
        self._following = False

    def connectionMade(self) -> None:
        """Get to know the transport."""
        if ITCPTransport.providedBy(transport := self.transport):
            transport.setTcpNoDelay(True)
        self.peer = getattr(transport.getPeer(), "host", None) or "unix"
        self._origin = origin_of(transport)
        self._watch = StallWatch(self._clock, transport, self._stalled)
        deadlines = self._settings.deadlines
        self._farewell = Farewell(
            transport,
            self._clock,
            stall_s=deadlines.write_stall_s,
            min_rate=deadlines.min_rate,
            cut=self._stalled,
        )
        self._intake = Intake(self._clock, transport, lost=self.abort, ended=self.readConnectionLost)
        self._outlet = Outlet(transport, self._site.outgoing)
        self.flow = Flow(transport, filled=self._filled, emptied=self._emptied, buffers=self._site.buffers)

    def writeConnectionLost(self) -> None:
        """Take note that all is written, and our side shut down as we asked for it."""
        self._farewell.shut()

    # What is built on it

    @abstractmethod
    def readConnectionLost(self) -> None:
        """The caller's input has ended."""

    @abstractmethod
    def abort(self) -> None:
        """Reset the connection: a clean end would make a part of an answer look whole."""

    @abstractmethod
    def _expired(self) -> None:
        """Its timer rang."""

    @abstractmethod
    def _stalled(self) -> None:
        """The caller takes no byte, or too few."""

    @abstractmethod
    def _filled(self) -> None:
        """The transport's buffer is full."""

    @abstractmethod
    def _emptied(self) -> None:
        """The transport's buffer is empty again."""

    # Towards the sink

    def send(self, pieces: tuple[bytes, ...]) -> None:
        """Hand *pieces* to the transport."""
        self._watch.written += (size := sum(map(len, pieces)))
        self._outlet.write(pieces)
        if self._following:
            deadlines = self._settings.deadlines
            self._watch.sent(size, deadlines.write_stall_s, deadlines.min_rate)

    def follow(self) -> None:
        """Watch whether what this answer sends is taken, also while the transport's buffer is not full."""
        self._following = True
        self._outlet.buffered()

    @property
    def behind(self) -> bool:
        """Whether the caller has still to take bytes that were sent."""
        return self.flow.full or bool(unacknowledged(self.transport))

    # Ending

    def end(self) -> None:
        """End with the node: what the kernel alone has still to pass on is left to it, all else cut."""
        if not self._farewell.leave():
            self.abort()

    def _reset(self) -> None:
        self._intake.close()
        self._outlet.drop()
        self.transport.abortConnection()

    def _close(self, discarded: int, *, linger: bool) -> None:
        """Close it cleanly; *discarded* bytes of input were thrown away."""
        self._watch.close()
        self.flow.close()
        self._outlet.buffered()
        # Input that waits in the kernel would turn the close into a reset.
        self._intake.resume()
        self._farewell.begin(discarded, linger=linger, much=self._much)

    def _lost(self) -> None:
        """The transport is gone."""
        self._outlet.drop()
        self._timer.close()
        self._watch.close()
        self._intake.close()
        self._farewell.over()
        self.flow.lost()
