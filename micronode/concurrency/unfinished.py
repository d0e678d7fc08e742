"""Requests that hold memory and are not whole, and which of them make way while memory is tight.

Whoever has sent most of a body and sends nothing more holds memory for as long as a body may take, and costs
its sender nothing. So such a request is the first to go: nothing was done for it. The order is that in which
they last brought something, the longest silent first, so that callers that send at speed are met last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

#: Seconds without so many new bytes after which a request makes way. One that brings a byte now and then
#: is as silent as one that brings none.
GRACE_S: Final = 0.25
BRISK_BYTES: Final = 4_096


class Holder(Protocol):
    """Who has read a part of a request."""

    def make_room(self) -> None:
        """Give the request up: refuse it, and hold nothing of it any more."""


class Unfinished:
    """The requests of a node that are not whole, those that were silent longest first."""

    def __init__(self) -> None:
        #: Of each: when it last brought something, how long it was then, and how long it is.
        self._parts: dict[Holder, tuple[float, int, int]] = {}

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def size(self) -> int:
        """How many bytes they hold together."""
        return sum(size for _, _, size in self._parts.values())

    def came(self, holder: Holder, size: int, now_s: float) -> None:
        """Note that *size* bytes of the request of *holder* are there, and that it is not whole."""
        part = self._parts.get(holder)
        if part is not None and size - part[1] < BRISK_BYTES:
            self._parts[holder] = (part[0], part[1], size)
            return
        if part is not None:
            del self._parts[holder]
        self._parts[holder] = (now_s, size, size)

    def over(self, holder: Holder) -> None:
        """Note that the request is whole, or over; harmless where it was noted before."""
        self._parts.pop(holder, None)

    def silent_make_way(self, now_s: float, enough: Callable[[], bool]) -> None:
        """Give up those that bring nothing, the longest silent first, until there is *enough* room."""
        for holder, (since_s, _, _) in list(self._parts.items()):
            if enough() or now_s - since_s < GRACE_S:
                return
            self._give_up(holder)

    def largest_make_way(self, enough: Callable[[], bool]) -> None:
        """Give up the largest, whatever they bring, until there is *enough* room: so the fewest are met."""
        for holder in sorted(self._parts, key=lambda each: -self._parts[each][2]):
            if enough():
                return
            self._give_up(holder)

    def _give_up(self, holder: Holder) -> None:
        if self._parts.pop(holder, None) is not None:
            holder.make_room()
