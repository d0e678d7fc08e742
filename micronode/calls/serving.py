"""What is served, and within which bounds: one immutable snapshot, replaced as a whole by a reload.

The gates in it are not: a facet has one gate of each kind for as long as the node lives, also while it is
switched off, since permits of it may be out; another limit is set in place. So there are never two
generations of a gate that would let in twice as many. Facets get their names from configuration alone, so
there are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from micronode.calls.table import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.facets.hosted import Served
from micronode.interfaces import IPolicy

#: Calls at a time, of all facets, where nothing says another number.
MAX_CALLS: Final = 512


@attrs.frozen(kw_only=True)
class Bound:
    """What bounds the calls of one facet."""

    gate: Gate
    #: Of its subscriptions, which take no permit of the other one.
    slots: Gate
    #: Seconds from dispatch to the head that the caller gets.
    timeout_s: float


@attrs.frozen(kw_only=True)
class Serving:
    """A table of operations, and the bounds of its facets by name.

    Facets that were served earlier have their bounds in it, too: of them a call may be under way whose
    head was read before, and it is served yet.
    """

    table: OperationTable
    bounds: Mapping[str, Bound]
    #: The node's own gate, of which each call takes a permit beside that of its facet's.
    calls: Gate = attrs.field(factory=lambda: Gate(MAX_CALLS))
    #: What the gates are set to when this snapshot is in force: their permits, and how many may wait.
    limits: tuple[tuple[Gate, int, int], ...] = ()
    #: Calls a second that one caller may make; 0: as many as it likes.
    rps: int = 0
    #: Who is asked about every call; None: nobody.
    policy: IPolicy | None = None

    @classmethod
    def of(
        cls,
        served: Mapping[str, Served],
        before: Serving,
        policy: IPolicy | None = None,
        *,
        max_calls: int = MAX_CALLS,
        rps: int = 0,
    ) -> Serving:
        """Build what serves *served*; nothing changes until its limits are set.

        :param before: whose gates are taken over.
        :param max_calls: calls at a time, of all facets.
        :param rps: calls a second of one caller; 0: as many as it likes.
        :raises ValueError: two operations are the same.
        """
        table = OperationTable(operation for each in served.values() for operation in each.operations)
        bounds = dict(before.bounds)
        limits: list[tuple[Gate, int, int]] = [(before.calls, max_calls, 0)]
        for name, each in served.items():
            settings, known = each.settings, before.bounds.get(name)
            bound = Bound(
                gate=known.gate if known else Gate(settings.limit, within=before.calls),
                slots=known.slots if known else Gate(settings.subscriptions),
                timeout_s=settings.timeout,
            )
            bounds[name] = bound
            limits += [
                (bound.gate, settings.limit, settings.queue),
                (bound.slots, settings.subscriptions, 0),
            ]
        return cls(
            table=table, bounds=bounds, calls=before.calls, limits=tuple(limits), rps=rps, policy=policy
        )

    @classmethod
    def within(
        cls,
        table: OperationTable,
        gates: Mapping[str, Gate],
        slots: Mapping[str, Gate],
        timeouts: Mapping[str, Any],
        policy: IPolicy | None = None,
    ) -> Serving:
        """Build what serves *table* within bounds that are given, each by facet.

        :raises ValueError: a facet of the table has no gate or no timeout, or subscribes without slots.
        """
        for operation in table:
            if operation.facet not in gates or operation.facet not in timeouts:
                raise ValueError(f"facet {operation.facet} has no gate or no timeout")
            if operation.subscribes and operation.facet not in slots:
                raise ValueError(f"facet {operation.facet} has no slots for subscriptions")
        bounds = {
            name: Bound(gate=gate, slots=slots.get(name) or Gate(0), timeout_s=timeouts[name])
            for name, gate in gates.items()
            if name in timeouts
        }
        return cls(table=table, bounds=bounds, policy=policy)

    def set_limits(self) -> None:
        """Resize the gates, and let in those that wait where there is room now.

        One that has more permits out than its new limit refuses until it has fewer.
        """
        for gate, limit, queue in self.limits:
            gate.queue = queue
            gate.limit = limit
