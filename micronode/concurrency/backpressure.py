"""Gates: how many calls may be worked on at a time, and how many may wait for their turn, mostly none.

A call takes a permit of its facet's gate and one of the node's together, or none of either: a facet's gate is
*within* the node's. So no facet's permit is held by a call that the node has no room for, nor the reverse.

*Why who waits is let in by the outer gate.* A permit that comes free at one facet may be what a call to
another one waits for, where the node was full. The outer gate knows all inner ones where somebody waits, and
lets in whoever came first of those for whom there is room: first come, first served, of all of them together.
Who is let in runs at once, and may end at once and let in the next; that is done in a loop and not on the
stack, and whoever comes meanwhile is behind those that wait.
"""

from __future__ import annotations

from collections import OrderedDict
from random import Random
from typing import Final

from twisted.internet.defer import Deferred

#: What a refused caller is told to wait at least and at most, in seconds, and how far that is spread.
MIN_RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 60.0
JITTER: Final = 0.3
#: What one permit counts for in the mean of how long they are held: the last ten or so make it up.
_WEIGHT: Final = 0.125


class Gate:
    """Permits with a limit, and a queue for them.

    :ivar in_use: how many are out. Of a gate that has others within, theirs too.
    :ivar queue: how many may wait. Those that wait when it is made smaller go on waiting.
    :ivar held_s: how long a permit was held lately, in the mean; 0 where that is not known.
    :ivar within: the gate that this one is within, or None.
    """

    __slots__ = (
        "_arrivals",
        "_crowded",
        "_limit",
        "_passing",
        "_waiters",
        "held_s",
        "in_use",
        "queue",
        "within",
    )

    def __init__(self, limit: int, *, queue: int = 0, within: Gate | None = None) -> None:
        """:param within: another gate, itself within none; a permit of it is taken with each of this one."""
        self.in_use = 0
        self.queue = queue
        self.held_s = 0.0
        self.within = within
        self._limit = limit
        #: Who waits here, in order, each with the number of its arrival.
        self._waiters: OrderedDict[Deferred[None], int] = OrderedDict()
        # Of the outer gate alone: the gates where somebody waits, and how many have waited in all.
        self._crowded: dict[Gate, None] = {}
        self._arrivals = 0
        self._passing = False

    @property
    def limit(self) -> int:
        """How many permits there are. It may be set at any time.

        Where more are out than it says, none is given until there are fewer; where there are free ones now,
        those that wait get them at once.
        """
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._outer._pass_on()

    @property
    def waiting(self) -> int:
        """How many wait; at a gate that has others within: at these, together."""
        return len(self._waiters) + sum(len(gate._waiters) for gate in self._crowded if gate is not self)

    def try_acquire(self) -> bool:
        """Take a permit if one is free and nobody waits for it.

        Whoever got one calls :meth:`release` exactly once.
        """
        # For every call: no call of ours in it.
        if self.in_use >= self._limit or self._waiters:
            return False
        within = self.within
        if within is not None:
            if within.in_use >= within._limit:
                return False
            within.in_use += 1
        self.in_use += 1
        return True

    def release(self, held_s: float | None = None) -> None:
        """Give a permit back; who waits for it has it when this returns.

        :param held_s: for how many seconds it was held; None: that says nothing of how long others will be.
        """
        if self.in_use == 0:
            raise RuntimeError("a permit was released twice")
        self.in_use -= 1
        within = self.within
        outer = self if within is None else within
        if within is not None:
            within.in_use -= 1
        if held_s is not None:
            self.held_s += (held_s - self.held_s) * (_WEIGHT if self.held_s else 1.0)
            if within is not None:
                within.held_s += (held_s - within.held_s) * (_WEIGHT if within.held_s else 1.0)
        if outer._crowded:
            outer._pass_on()

    @property
    def shut(self) -> bool:
        """Whether :meth:`try_acquire` would get none."""
        within = self.within
        if self.in_use >= self._limit or self._waiters:
            return True
        return within is not None and within.in_use >= within._limit

    @property
    def full(self) -> Gate:
        """The gate that has no permit, after :meth:`try_acquire` got none: this one, or that it is within."""
        within = self.within
        if within is not None and self.in_use < self._limit and within.in_use >= within._limit:
            return within
        return self

    # The queue

    @property
    def has_place(self) -> bool:
        """Whether one more may wait."""
        return len(self._waiters) < self.queue

    def wait(self) -> Deferred[None]:
        """Wait for a permit, in the order of arrival; after :meth:`try_acquire` had none.

        :return: fires (None) when a permit was taken. It never fails by itself; cancelling it leaves the
            queue.
        """
        outer = self._outer
        waiter: Deferred[None] = Deferred(self.forget)
        self._waiters[waiter] = outer._arrivals
        outer._arrivals += 1
        outer._crowded[self] = None
        outer._pass_on()
        return waiter

    def forget(self, waiter: Deferred[None]) -> None:
        """Let *waiter*, which :meth:`wait` returned, wait no more; harmless where it does not."""
        if self._waiters.pop(waiter, None) is not None and not self._waiters:
            del self._outer._crowded[self]

    @property
    def _outer(self) -> Gate:
        return self if self.within is None else self.within

    def _pass_on(self) -> None:
        """Let in those that wait, as far as there is room. Of the outer gate."""
        if self._passing:
            return
        self._passing = True
        try:
            while self.in_use < self._limit:
                gate = self._next()
                if gate is None:
                    break
                waiter, _ = gate._waiters.popitem(last=False)
                if not gate._waiters:
                    del self._crowded[gate]
                self.in_use += 1
                if gate is not self:
                    gate.in_use += 1
                waiter.callback(None)
        finally:
            self._passing = False

    def _next(self) -> Gate | None:
        """Return the gate with room whose first has waited longest."""
        found, arrived = None, 0
        for gate in self._crowded:
            if gate.in_use < gate._limit or gate is self:
                first = next(iter(gate._waiters.values()))
                if found is None or first < arrived:
                    found, arrived = gate, first
        return found


def retry_after_s(gate: Gate, random: Random) -> float:
    """Return when *gate*, which is full, is likely to have a permit for one more, in seconds from now.

    Its permits come free one in ``held_s / limit`` seconds, and those that wait get theirs before. No sooner
    than :data:`MIN_RETRY_S`, and spread by :data:`JITTER` either way, at the least upwards: callers that were
    refused together must not come back together.
    """
    expected = gate.held_s * (gate.waiting + 1) / max(1, gate.limit)
    bounded = min(max(MIN_RETRY_S, expected), MAX_RETRY_S)
    return random.uniform(max(MIN_RETRY_S, bounded * (1 - JITTER)), bounded * (1 + JITTER))
