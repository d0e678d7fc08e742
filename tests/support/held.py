"""How many bytes a node holds for one connection, measured on its objects.

Nothing is asked what it holds: whatever is reachable from the connection is looked at, so that a queue
nobody thought of is counted like the others.
"""

from __future__ import annotations

from collections import deque
from types import GeneratorType
from typing import Any

import attrs

from micronode.oap.protocol import OAPProtocol

#: Where bytes are said to be, by the class of who has them. Whatever is not here is input not yet decoded.
_PLACES = {
    "Upload": "uploads",
    "FrameDecoder": "frame",
    "Outbox": "output",
    "Stream": "streams",
    "Waiting": "streams",
}
#: Shorter ones are tenants and the like: they belong to something that is bounded in number.
_LEAST = 64


@attrs.define
class Held:
    """Bytes held for a connection.

    :ivar input: read and not decoded. ``frame``: of a frame that is not whole. ``uploads``: bodies that wait
        for their owner. ``streams``: answers that wait for their turn. ``output``: what was said and waits
        for the transport.
    """

    input: int = 0
    frame: int = 0
    uploads: int = 0
    streams: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.input + self.frame + self.uploads + self.streams + self.output


def held_by(protocol: OAPProtocol) -> Held:
    """Measure what is held for the connection of *protocol*."""
    found, seen = Held(), set[int]()
    waiting: list[tuple[Any, str]] = [(protocol, "input")]
    while waiting:
        value, place = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, bytes | bytearray):
            if len(value) > _LEAST:
                setattr(found, place, getattr(found, place) + len(value))
        else:
            kind = type(value)
            is_ours = kind.__module__.startswith("micronode.oap")
            place = _PLACES.get(kind.__name__, place) if is_ours else place
            waiting += ((part, place) for part in _parts(value, is_ours))
    return found


def _parts(value: Any, is_ours: bool) -> list[Any]:
    """Return what *value* refers to, as far as it may lead to bytes of this connection."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | deque):
        return list(value)
    if isinstance(value, GeneratorType):
        return list(value.gi_frame.f_locals.values()) if value.gi_frame is not None else []
    # What all connections share leads to the others.
    if not is_ours or type(value).__name__ in ("OAPFactory", "Services", "Meter"):
        return []
    parts = list(getattr(value, "__dict__", {}).values())
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return parts + [getattr(value, name) for name in slots if hasattr(value, name)]
