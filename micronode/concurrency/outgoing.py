"""What leaves together: all that one turn of the reactor wrote, at the beginning of the next.

*Why not by the transport.* It asks the reactor to be told when it may write, is told in the next turn,
writes, and takes its request back: two system calls and an event for bytes that the kernel almost always
takes at once. *Why not in the same turn.* Who is nearby answers while the rest of the turn goes on; then
fewer wait at a time, there are more turns, and they cost more than what was saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorTime, ISSLTransport
from twisted.logger import Logger

_log = Logger()

#: What may wait for the next turn: what a transport holds before it asks for a pause, which is also what one
#: read brings, and what is put around that. More is the transport's own.
MAX_WAITING_BYTES: Final = 65_536 + 1_024
_SMALL_BYTES: Final = 16_384


class Outgoing:
    """The outlets of one reactor that have something to send in its next turn."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: IReactorTime) -> None:
        """:param clock: the reactor."""
        self._clock = clock
        self._waiting: list[Outlet] = []

    def add(self, outlet: Outlet) -> None:
        """Let *outlet* send what it has in the next turn."""
        if not self._waiting:
            self._clock.callLater(0, self._send)
        self._waiting.append(outlet)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outlet in waiting:
            try:
                outlet.send()
            except Exception:
                # A defect, of whoever hears that a transport is full, too. It ends that connection, whose
                # bytes may be lost, and no other one: they all wait for this turn.
                _log.failure("send_failed")
                outlet.give_up()


class Outlet:
    """Writes to *transport*, in order: past its buffers as long as the kernel takes all of it, else as ever.

    Whoever does anything else with the transport that depends on what was written, or writes to it, calls
    :meth:`buffered` first.
    """

    __slots__ = ("_outgoing", "_past", "_pieces", "_size", "_transport")

    def __init__(self, transport: Any, outgoing: Outgoing) -> None:
        self._transport = transport
        self._outgoing = outgoing
        #: By its class: what wraps a transport, as TLS does, may offer what is below it as its own.
        self._past = isinstance(transport, FileDescriptor) and not ISSLTransport.providedBy(transport)
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def past_buffers(self) -> bool:
        """Whether it still writes past the transport's buffers."""
        return self._past

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write *pieces*, in the next turn or now."""
        if not self._pieces and self._past:
            self._outgoing.add(self)
        self._pieces += pieces
        for piece in pieces:
            self._size += len(piece)
        if self._size > MAX_WAITING_BYTES or not self._past:
            self.buffered()

    def buffered(self) -> Any:
        """Return the transport, which has all that was written, for somebody who writes to it in order.

        From now on everything goes through its buffers.
        """
        self._past = False
        size, pieces = self._size, self._take()
        if size > _SMALL_BYTES:
            self._transport.writeSequence(pieces)
        elif pieces:
            # A transport looks at every piece that it is given; to copy small ones costs less.
            self._transport.write(b"".join(pieces))
        return self._transport

    def give_up(self) -> None:
        """Abort the connection; never fails."""
        self.drop()
        try:
            self._transport.abortConnection()
        except Exception:
            _log.failure("send_failed")

    def drop(self) -> None:
        """Send nothing more of what waits: the connection is gone, or aborted."""
        self._take()

    def send(self) -> None:
        """Hand what waits to the kernel; what it does not take, and how it failed, is the transport's."""
        if not self._pieces:
            return
        data = b"".join(self._take())
        sent = self._transport.writeSomeData(data)
        if sent != len(data):
            self.buffered().write(data[sent:] if isinstance(sent, int) else data)

    def _take(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        self._size = 0
        return pieces
