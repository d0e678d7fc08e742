"""The parts of a node: which gates, queues, timers and so on there are, and what bounds each.

:mod:`micronode.concurrency.registry` says what a part is. Whoever gives a node another one adds it in a
module of this package, beside what is like it; ``tests/test_topology.py`` finds the module that was
forgotten.
"""

from __future__ import annotations

from micronode.assembly import Assembly
from micronode.concurrency.registry import Topology
from micronode.topology.calls import call_parts
from micronode.topology.doors import door_parts
from micronode.topology.owners import owner_parts


def make_topology(parts: Assembly) -> Topology:
    """Return the topology of the node that is made of *parts*."""
    topology = Topology()
    topology.register(*call_parts(parts), *door_parts(parts), *owner_parts(parts))
    return topology
