"""How many bytes of data an object keeps, by walking what it refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from operator import attrgetter
from typing import Any

#: What an object of a type refers to; None: nothing that counts. Types of ours are added as they are met.
_walks: dict[type, Callable[[Any], Iterable[Any]] | None] = {
    dict: lambda item: [*item, *item.values()],
    list: iter,
    tuple: iter,
    set: iter,
    int: None,
    str: None,
    bool: None,
    type(None): None,
}


def _walk(kind: type) -> Callable[[Any], Iterable[Any]] | None:
    """Return how objects of *kind* are walked: those of this project by their attributes, others not."""
    ours = any(base.__module__.startswith("micronode.") for base in kind.__mro__)
    if not ours or issubclass(kind, Enum):
        return None
    slots = [name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())]
    if not slots:
        return lambda item: item.__dict__.values()
    # Two names at least, so that it is a tuple; without a __dict__, that is another's.
    return attrgetter(*slots, "__dict__" if kind.__dictoffset__ else "__class__")


def bytes_held(thing: Any) -> int:
    """Return the bytes of all ``bytes`` and ``bytearray`` that *thing* reaches, through views too.

    It walks containers and the objects of this project, each once; functions and classes belong to the
    program, not to a connection.
    """
    total, seen, waiting = 0, set(), [thing]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is bytes or kind is bytearray:
            total += len(item)
            continue
        if kind is memoryview:
            # All of what it looks at stays, however little that is.
            waiting.append(item.obj)
            continue
        if kind not in _walks:
            _walks[kind] = _walk(kind)
        walk = _walks[kind]
        if walk is not None and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(walk(item))
    return total
