"""The account of memory under random histories: who is told what, who makes way, and for how long it is deaf.

Requests come, bring more, are whole; buffers grow and shrink, within a turn of the reactor and across turns:
so it becomes tight, and easy, before anybody hears of it.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from micronode.concurrency.memory import DEAF_S, LOOK_S, Buffers
from micronode.concurrency.unfinished import GRACE_S

LIMIT = 1000


class Request:
    """A part of a request; it makes room as a connection does, and somebody may take that at once."""

    def __init__(self, machine: BuffersMachine, taken_at_once: int) -> None:
        self.size = 0
        self.taken_at_once = taken_at_once
        self._machine = machine

    def make_room(self) -> None:
        assert self._machine.buffers.tight, "there is room"
        self._machine.requests.remove(self)
        if self.taken_at_once:
            # In the turn in which it is told that there is room, and before.
            self._machine.clock.callLater(0, self._machine.take, self.taken_at_once)
        self._machine.buffers.add(-self.size)


class BuffersMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.buffers = Buffers(LIMIT, self.clock)
        self.told = False
        self.tight_s: float | None = None
        self.buffers.watchers.append(self.hear)
        self.requests: list[Request] = []
        #: What other buffers hold.
        self.others = 0

    def hear(self, deaf: bool) -> None:
        assert deaf is self.buffers.deaf
        self.told = deaf

    def take(self, size: int) -> None:
        self.others += size
        self.buffers.add(size)

    @rule(size=st.integers(1, 600), taken_at_once=st.sampled_from((0, 0, 900)))
    def come(self, size: int, taken_at_once: int) -> None:
        request = Request(self, taken_at_once)
        self.requests.append(request)
        self.bring(len(self.requests) - 1, size)

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 9), size=st.integers(1, 600))
    def bring(self, which: int, size: int) -> None:
        request = self.requests[which % len(self.requests)]
        request.size += size
        self.buffers.unfinished.came(request, request.size, self.clock.seconds())
        self.buffers.add(size)

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 9))
    def complete(self, which: int) -> None:
        request = self.requests.pop(which % len(self.requests))
        self.buffers.unfinished.over(request)
        self.buffers.add(-request.size)

    @rule(share=st.floats(-1, 1))
    def other(self, share: float) -> None:
        self.take(-round(-share * self.others) if share < 0 else round(share * LIMIT))

    @rule()
    def turn(self) -> None:
        self.clock.advance(0)

    @rule(seconds=st.sampled_from((LOOK_S, GRACE_S, DEAF_S)))
    def pass_time(self, seconds: float) -> None:
        self.clock.pump([LOOK_S / 2] * round(2 * seconds / LOOK_S))

    @rule()
    def last(self) -> None:
        """When it lasts, those who are silent have gone, and those who wait are read."""
        self.clock.pump([LOOK_S / 2] * round(4 * DEAF_S / LOOK_S))
        assert not self.told
        assert self.buffers.tight or not self.buffers.deaf
        if self.buffers.tight:
            assert not self.requests
        else:
            assert not self.clock.getDelayedCalls()

    @invariant()
    def is_in_order(self) -> None:
        if not hasattr(self, "buffers"):
            return
        assert self.buffers.held == self.others + sum(each.size for each in self.requests)
        assert len(self.buffers.unfinished) == len(self.requests)
        assert self.buffers.unfinished.size == sum(each.size for each in self.requests)
        assert self.buffers.tight or self.buffers.held < 0.8 * LIMIT
        assert not self.buffers.tight or self.buffers.held >= 0.7 * LIMIT


TestBuffers = BuffersMachine.TestCase
TestBuffers.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
