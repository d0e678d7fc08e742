"""The owner client's pure parts under any history: each keeps its promise whatever happens in which order.

Run by pytest. The examples are the same in every run.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from micronode.adapters.breaker import (
    FAILED_PERCENT,
    LEAST_CALLS,
    LONGEST_OPEN_S,
    Breaker,
    BreakerState,
    Pass,
)
from micronode.adapters.budget import PERCENT, RESERVE, WINDOW_S, RetryBudget
from micronode.adapters.endpoints import Endpoint, Health, Standing, choose, keep_one
from micronode.adapters.permits import NoPermitError, Permits

STEPS = settings(derandomize=True, database=None, deadline=None, max_examples=60, stateful_step_count=60)
verdicts = st.sampled_from([True, False, False, None])
numbers = st.integers(min_value=0, max_value=100)


class Breakers(RuleBasedStateMachine):
    """A breaker never opens without cause, never stays open, and lets one call through when half open."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(self.clock.seconds)
        self.out: list[Pass] = []
        #: Judgements since it closed last: when, and whether well.
        self.judged: list[tuple[float, bool]] = []
        self.probes: list[Pass] = []

    @rule(count=st.integers(min_value=1, max_value=12))
    def enter(self, count: int) -> None:
        for _ in range(count):
            if not self.breaker.admits:
                return
            half_open = self.breaker.state is BreakerState.HALF_OPEN
            self.out.append(self.breaker.enter())
            if half_open:
                self.probes.append(self.out[-1])
                assert not self.breaker.admits, "one at a time"

    @precondition(lambda self: self.out)
    @rule(number=numbers, count=st.integers(min_value=1, max_value=12), well=verdicts)
    def judge(self, number: int, count: int, well: bool | None) -> None:
        for _ in range(min(count, len(self.out))):
            entered = self.out.pop(number % len(self.out))
            was = self.breaker.state
            if was is BreakerState.CLOSED and well is not None:
                self.judged.append((self.clock.seconds(), well))
            self.breaker.judge(entered, well)
            self.breaker.judge(entered, False)
            is_probe = entered in self.probes
            if was is BreakerState.CLOSED and not self.breaker.is_closed:
                # A second is the most it looks back; what it counts may be fewer, by calls of before.
                recent = [good for when, good in self.judged if when > self.clock.seconds() - 1.0]
                assert len(recent) >= LEAST_CALLS
                assert recent.count(False) >= LEAST_CALLS * FAILED_PERCENT // 100
                assert well is False
            if was is not BreakerState.CLOSED:
                assert self.breaker.is_closed == (is_probe and well is True)
                assert self.breaker.is_closed or not (is_probe and well is False) or self.breaker.wait_s > 0
            if was is not BreakerState.CLOSED and self.breaker.is_closed:
                self.judged.clear()
            if is_probe and well is None:
                self.probes.remove(entered)
            elif is_probe:
                self.probes = []

    @precondition(lambda self: self.probes)
    @rule()
    def answer(self) -> None:
        self.breaker.answered(self.probes.pop())
        self.probes = []
        assert self.breaker.is_closed
        self.judged.clear()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 1.0, 5.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def never_stuck(self) -> None:
        """It lets a call through when the pause is over, or one is out that will decide."""
        assert self.breaker.wait_s <= LONGEST_OPEN_S
        if not self.breaker.admits:
            assert self.breaker.wait_s > 0 or self.probes

    def teardown(self) -> None:
        """Whatever was: every call ends, time passes, one is good, and all is well."""
        for entered in self.out:
            self.breaker.judge(entered, None)
        self.clock.advance(LONGEST_OPEN_S)
        assert self.breaker.admits
        self.breaker.judge(self.breaker.enter(), True)
        assert self.breaker.is_closed


class Budgets(RuleBasedStateMachine):
    """A budget is never exceeded, over any ten seconds, and never refuses what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.budget = RetryBudget(self.clock.seconds)
        self.calls: list[float] = []
        self.taken: list[float] = []

    def since(self, times: list[float], seconds: float) -> int:
        return sum(when > self.clock.seconds() - seconds for when in times)

    @rule(count=st.integers(min_value=1, max_value=60))
    def call(self, count: int) -> None:
        for _ in range(count):
            self.budget.call()
        self.calls += [self.clock.seconds()] * count

    @rule(count=st.integers(min_value=1, max_value=30))
    def take(self, count: int) -> None:
        for _ in range(count):
            # It looks back by nine to ten tenths of its window.
            least, most = WINDOW_S * 0.9, WINDOW_S
            if self.budget.take():
                self.taken.append(self.clock.seconds())
                bound = RESERVE + self.since(self.calls, most) * PERCENT / 100
                assert self.since(self.taken, least) <= bound
            else:
                bound = RESERVE + self.since(self.calls, least) * PERCENT / 100
                assert self.since(self.taken, most) + 1 > bound

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.9, 1.0, 3.3, 9.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)


class Owners(RuleBasedStateMachine):
    """However endpoints fail, come and go: one is left where one was, and a call goes where it may."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.random = Random(1)
        self.all: list[Endpoint] = [self.make(), self.make()]
        self.out: list[tuple[Endpoint, Pass]] = []

    def make(self) -> Endpoint:
        return Endpoint(None, self.clock.seconds)  # type: ignore[arg-type]

    @rule(count=st.integers(min_value=1, max_value=12))
    def call(self, count: int) -> None:
        for _ in range(count):
            chosen = choose(self.all, self.random)
            admitting = [each for each in self.all if each.breaker.admits]
            assert (chosen is None) == (not admitting)
            if chosen is None:
                return
            assert chosen.standing == min(each.standing for each in admitting)
            self.out.append((chosen, chosen.enter()))

    @precondition(lambda self: self.out)
    @rule(number=numbers, count=st.integers(min_value=1, max_value=12), well=verdicts)
    def end(self, number: int, count: int, well: bool | None) -> None:
        for _ in range(min(count, len(self.out))):
            endpoint, entered = self.out.pop(number % len(self.out))
            good = [each for each in self.all if each.standing is Standing.GOOD and each.breaker.is_closed]
            endpoint.leave()
            if endpoint.judge(entered, well, self.all) is not None and endpoint in self.all:
                assert set(good) - {endpoint}, "another one can take over"

    @rule(number=numbers, times=st.integers(min_value=4, max_value=6))
    def fail_often(self, number: int, times: int) -> None:
        """Let one endpoint fail some times in a row, too far apart for its breaker."""
        endpoint = self.all[number % len(self.all)]
        for _ in range(times):
            if endpoint.breaker.admits:
                self.clock.advance(0.2)
                self.out.append((endpoint, endpoint.enter()))
                self.end(len(self.out) - 1, 1, False)

    @rule(number=numbers, health=st.sampled_from(Health))
    def hear(self, number: int, health: Health) -> None:
        self.all[number % len(self.all)].health = health

    @rule(keep=st.lists(st.booleans(), min_size=4, max_size=4), new=st.integers(min_value=0, max_value=2))
    def reload(self, keep: list[bool], new: int) -> None:
        kept = [each for each, stays in zip(self.all, keep, strict=False) if stays]
        self.all = (kept + [self.make() for _ in range(new)])[:4] or [self.make()]
        keep_one(self.all)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0, 31.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def the_last_one_is_never_ejected(self) -> None:
        assert not all(each.outlier.ejected for each in self.all)

    @invariant()
    def calls_are_counted(self) -> None:
        for endpoint in self.all:
            assert endpoint.in_flight == sum(each is endpoint for each, _ in self.out)


class PermitQueues(RuleBasedStateMachine):
    """Permits are neither lost nor made, whoever comes, waits, leaves and gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.limit, self.queue = 2, 2
        self.permits = Permits(self.clock, self.limit, self.queue)
        self.held = 0
        #: Those that wait, the first first.
        self.waiting: list[Deferred[Any]] = []
        self.refused = 0

    @rule(wait_s=st.sampled_from([0.0, 0.5, 2.0]))
    def come(self, wait_s: float) -> None:
        if self.permits.try_acquire():
            assert not self.waiting
            assert self.held < self.limit
            self.held += 1
            return
        assert self.waiting or self.held >= self.limit
        full = wait_s == 0 or len(self.waiting) >= self.queue
        waiter: Deferred[Any] = self.permits.wait_for(wait_s)
        self.waiting.append(waiter)
        waiter.addCallbacks(self.got, self.lost, callbackArgs=(waiter,), errbackArgs=(waiter,))
        assert (waiter not in self.waiting) == full

    def got(self, _: None, waiter: Deferred[Any]) -> None:
        assert self.waiting[0] is waiter, "first come, first served"
        self.waiting.remove(waiter)
        self.held += 1

    def lost(self, failure: Any, waiter: Deferred[Any]) -> None:
        self.waiting.remove(waiter)
        self.refused += failure.check(NoPermitError) is not None

    @precondition(lambda self: self.held)
    @rule()
    def give_back(self) -> None:
        self.held -= 1
        self.permits.release()

    @precondition(lambda self: self.waiting)
    @rule(number=numbers)
    def leave(self, number: int) -> None:
        self.waiting[number % len(self.waiting)].cancel()

    @rule(limit=st.integers(min_value=1, max_value=4), queue=st.integers(min_value=0, max_value=3))
    def resize(self, limit: int, queue: int) -> None:
        self.limit, self.queue = limit, queue
        self.permits.resize(limit, queue)

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def conserved(self) -> None:
        assert (self.permits.in_use, self.permits.waiting) == (self.held, len(self.waiting))
        assert not self.waiting or self.held >= self.limit, "nobody waits for what is there"
        assert len(self.clock.getDelayedCalls()) == len(self.waiting)


for machine in (Breakers, Budgets, Owners, PermitQueues):
    machine.TestCase.settings = STEPS
TestBreakers = Breakers.TestCase
TestBudgets = Budgets.TestCase
TestOwners = Owners.TestCase
TestPermitQueues = PermitQueues.TestCase
