"""``docs/CONCURRENCY.rst``, made from a node of the default configuration, which is built and not started.

``python -m tests.support.concurrency_page`` writes it; ``tests/test_topology.py`` fails when it is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twisted.internet.testing import MemoryReactorClock

from micronode import Config, make_node
from micronode.concurrency.registry import Figure, Kind, Part, Topology
from micronode.observability.writer import MAX_BYTES

PAGE: Final = Path(__file__).parents[2] / "docs" / "CONCURRENCY.rst"
_HEAD: Final = f"""\
Concurrency
===========

.. Made by ``python -m tests.support.concurrency_page`` from a node of the default configuration; not edited
   by hand.

A node is one process with one thread that does all of its work, the reactor's. So nothing needs a lock, and
whatever may take time is a Deferred. What there is at a time of anything that a caller can make more of is
bounded, and what happens at the bound is decided beforehand: it is refused, it waits in a queue that is
bounded too, or it is not read.

This page tells of all of it: every gate, queue, producer, timer, buffer and pool of a node, with the module
that answers for it. ``GET /api/v1/status`` on the admin plane shows the same with the figures of now, as
``topology``; ``micronode status`` prints the gates and queues. *Bound* is that of the default configuration,
in the part's unit; a part that several have, facets or owners, has one each. A part without a figure there
comes and goes with a call or a connection and is not counted one by one; the words beside it say what bounds
one of it, and the connections, streams and permits say how many there can be.

Two rules hold for all. Whatever is taken is given back by whoever took it, exactly once, whichever of the two
sides leaves first: ``tests/interleavings`` tries the orders in which a call, its caller, its owner, a reload
and a drain can come to their ends, and ``specs/models/drain.pml`` is the same as a model of which every state
is visited. And nothing is in the reactor's heap for what is over.

Of the process, and not of a node, is the queue of the log's lines: at most {MAX_BYTES // 1024} KiB wait
for a standard error that takes nothing; beyond it lines are dropped, and how many is told.
"""
_TITLES: Final = {
    Kind.GATE: ("Gates", "They let so many in at a time."),
    Kind.QUEUE: ("Queues", "They hold things until it is their turn."),
    Kind.PRODUCER: ("Producers", "They make bytes for somebody who may be slower, and are paused then."),
    Kind.BUFFER: ("Buffers", "They hold bytes."),
    Kind.POOL: ("Pools", "They keep what somebody will need, or has open."),
    Kind.TIMER: ("Timers", "They do something when a time has passed."),
}


def default_topology() -> Topology:
    """Return the topology of a node that nobody has configured."""
    return make_node(Config(), MemoryReactorClock()).topology


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_HEAD, *_kinds(default_topology())])


def _kinds(topology: Topology) -> Iterator[str]:
    for kind, (title, what) in _TITLES.items():
        yield f"\n{title}\n{'-' * len(title)}\n\n{what}\n"
        yield ".. list-table::\n   :header-rows: 1\n   :widths: 16 22 34 28\n"
        yield from ("   * - part", "     - bound", "     - what bounds it", "     - then")
        for part in topology:
            if part.kind is kind:
                yield from _row(part)


def _row(part: Part) -> Iterator[str]:
    modules = ", ".join(f"``{module}``" for module in (part.owner, *part.also))
    keys = "".join(f" ``{key}``" for key in part.keys)
    yield f"   * - ``{part.name}``, of {modules}"
    yield f"     - {_bound(part)}"
    yield f"     - {part.bound_by[0].upper()}{part.bound_by[1:]}.{keys}"
    yield f"     - {part.then}"


def _bound(part: Part) -> str:
    figures = list(part.figures())
    shown = [_shown(each) for each in figures if each.bound is not None]
    return f"{', '.join(shown)} {part.unit}" if shown else f"{part.unit}, see beside"


def _shown(figure: Figure) -> str:
    return f"{figure.of} {figure.bound:,.0f}".replace(",", " ").strip()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
