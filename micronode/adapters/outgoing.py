"""Requests that leave together: all that one turn of the reactor made, at the beginning of the next.

*Why not by the transport.* It asks the reactor to be told when it may write, is told in the next turn,
writes, and takes its request back: two system calls and an event for bytes that the kernel almost always
takes at once. *Why not in the same turn.* An owner nearby answers while the rest of the turn goes on; then
fewer answers wait at a time, there are more turns, and they cost more than what was saved.
"""

from __future__ import annotations

from typing import Protocol as Shape

from twisted.internet.interfaces import IReactorTime


class Sender(Shape):
    """A connection whose request is to leave."""

    def send(self, data: bytes) -> None:
        """Send *data*, unless it is closed."""


class Outgoing:
    """See the module's docstring.

    :param clock: the reactor, of whose turns these are.
    """

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: list[tuple[Sender, bytes]] = []

    def add(self, sender: Sender, data: bytes) -> None:
        """Let *sender* send *data* in the next turn."""
        if not self._waiting:
            self._clock.callLater(0, self._send)
        self._waiting.append((sender, data))

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender, data in waiting:
            sender.send(data)
