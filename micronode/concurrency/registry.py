"""The live topology: everything in a node that bounds work, holds some of it back, or waits for a time.

Each part is registered with who owns it, what bounds it, and what happens then. It is read through a
callable, only when somebody looks: nothing of this is on the way of a call. ``/api/v1/status`` shows it,
and ``docs/CONCURRENCY.rst`` is written from a node of the default configuration, so neither can fall behind
the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

import attrs


class Kind(Enum):
    """What a part is."""

    #: Lets so many in at a time, and refuses or queues the others.
    GATE = "gate"
    #: Holds things until it is their turn.
    QUEUE = "queue"
    #: Makes bytes for somebody who may be slower, and is paused then.
    PRODUCER = "producer"
    #: Does something when a time has passed.
    TIMER = "timer"
    #: Holds bytes.
    BUFFER = "buffer"
    #: Keeps things for whoever needs one next.
    POOL = "pool"


@attrs.frozen
class Figure:
    """How a part is now, or one of several that are the same."""

    #: How much there is, in the part's unit.
    now: float
    #: How much there may be; None: nothing but what the part's ``bound_by`` says.
    bound: float | None = None
    #: Which one, of several: a facet, an owner.
    of: str = ""
    #: The objects it is read from, for who looks whether one is missing.
    objects: tuple[object, ...] = attrs.field(default=(), repr=False, eq=False)


def _nothing() -> tuple[Figure, ...]:
    return ()


@attrs.frozen(kw_only=True)
class Part:
    """One part of a node, or all that are the same: the gates of its facets, say."""

    #: Unique: ``calls``, ``owners.permits``.
    name: str
    kind: Kind
    #: The module, within the package, that makes it and answers for it.
    owner: str
    #: Other modules in which something of it is made.
    also: tuple[str, ...] = ()
    #: What is counted: ``calls``, ``bytes``, ``connections``.
    unit: str
    #: What bounds it, as half a sentence.
    bound_by: str
    #: What happens at the bound, or when the time has passed, as a sentence.
    then: str
    #: The keys of the configuration that say so; none: it is a constant.
    keys: tuple[str, ...] = ()
    #: Reads it. Nothing: what there is of it lives and ends with a call or connection, and is not counted.
    figures: Callable[[], Iterable[Figure]] = _nothing


class Topology:
    """The parts of one node, in the order in which they were registered."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}

    def register(self, *parts: Part) -> None:
        """Add *parts*, which stay for as long as the node lives.

        :raises ValueError: the name of one is taken.
        """
        for part in parts:
            if part.name in self._parts:
                raise ValueError(f"two parts of a node are called {part.name}")
            self._parts[part.name] = part

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts.values())

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def as_list(self) -> list[dict[str, Any]]:
        """Return how every part is now, as ``/api/v1/status`` shows it."""
        return [
            {
                "name": part.name,
                "kind": part.kind.value,
                "owner": part.owner,
                "unit": part.unit,
                "keys": list(part.keys),
                "figures": [{"of": each.of, "now": each.now, "bound": each.bound} for each in part.figures()],
            }
            for part in self
        ]
