"""Gates under random histories: no permit is lost or doubled, no limit passed, and nobody is passed over.

Calls come, wait, leave, end, and end as soon as they are let in; limits and queues change. A model keeps who
holds what and who waits, and is compared after every step.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred

from micronode.concurrency.backpressure import Gate

FACETS = ("a", "b", "c")
_facet = st.sampled_from(FACETS)
_limit = st.integers(0, 4)


class Waiter:
    """A call that waits; *brief* ones give their permit back at once."""

    def __init__(self, facet: str, number: int, brief: bool) -> None:
        self.facet, self.number, self.brief = facet, number, brief
        self.got: Deferred[None]


class GateMachine(RuleBasedStateMachine):
    """A node's gate and three facets' within it."""

    @initialize(node=_limit, limits=st.tuples(_limit, _limit, _limit), queue=st.integers(0, 4))
    def begin(self, node: int, limits: tuple[int, ...], queue: int) -> None:
        self.node = Gate(node)
        self.gates = {
            name: Gate(limit, queue=queue, within=self.node)
            for name, limit in zip(FACETS, limits, strict=True)
        }
        self.held = dict.fromkeys(FACETS, 0)
        self.waiters: list[Waiter] = []
        self.arrived = 0

    def has_room(self, facet: str) -> bool:
        gate = self.gates[facet]
        return self.held[facet] < gate.limit and sum(self.held.values()) < self.node.limit

    def check_in(self, waiter: Waiter) -> None:
        """Called when *waiter* is let in: nobody who could have been came before it."""
        assert self.has_room(waiter.facet), "a limit was passed"
        before = [each for each in self.waiters if self.has_room(each.facet)]
        assert before[0] is waiter, "somebody was passed over"
        self.waiters.remove(waiter)
        self.held[waiter.facet] += 1
        if waiter.brief:
            self.held[waiter.facet] -= 1
            self.gates[waiter.facet].release(0.1)

    @rule(facet=_facet, brief=st.booleans())
    def come(self, facet: str, brief: bool) -> None:
        gate = self.gates[facet]
        took = gate.try_acquire()
        assert took == self.has_room(facet), "nobody waits who could be let in"
        if took:
            self.held[facet] += 1
        elif gate.has_place:
            waiter = Waiter(facet, self.arrived, brief)
            self.arrived += 1
            self.waiters.append(waiter)
            waiter.got = gate.wait()
            waiter.got.addCallback(lambda _: self.check_in(waiter))

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        facet = data.draw(st.sampled_from([name for name in FACETS if self.held[name]]))
        self.held[facet] -= 1
        self.gates[facet].release(1.0)

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiters))
        self.waiters.remove(waiter)
        failed: list[object] = []
        waiter.got.addErrback(lambda failure: failed.append(failure.trap(CancelledError)))
        waiter.got.cancel()
        assert failed

    @rule(facet=_facet, limit=_limit)
    def resize(self, facet: str, limit: int) -> None:
        self.gates[facet].limit = limit

    @rule(limit=st.integers(0, 8))
    def resize_node(self, limit: int) -> None:
        self.node.limit = limit

    @rule(facet=_facet, queue=_limit)
    def requeue(self, facet: str, queue: int) -> None:
        self.gates[facet].queue = queue

    @precondition(lambda self: hasattr(self, "node"))
    @rule(facet=_facet)
    def end_too_often(self, facet: str) -> None:
        if self.held[facet]:
            return
        try:
            self.gates[facet].release()
        except RuntimeError:
            return
        raise AssertionError("a permit was given back that nobody had")

    @invariant()
    def as_the_model(self) -> None:
        if not hasattr(self, "node"):
            return
        for name, gate in self.gates.items():
            assert gate.in_use == self.held[name]
            assert gate.waiting == sum(waiter.facet == name for waiter in self.waiters)
        assert self.node.in_use == sum(self.held.values())
        assert self.node.waiting == len(self.waiters)
        assert not any(self.has_room(waiter.facet) for waiter in self.waiters), "a permit was lost"

    def teardown(self) -> None:
        """All permits come back, and everyone who waits gets one."""
        if not hasattr(self, "node"):
            return
        self.node.limit = 4
        for gate in self.gates.values():
            gate.limit = 1
        while any(self.held.values()):
            facet = next(name for name in FACETS if self.held[name])
            self.held[facet] -= 1
            self.gates[facet].release()
        assert not self.waiters
        assert self.node.in_use == self.node.waiting == 0


TestGates = GateMachine.TestCase
TestGates.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
