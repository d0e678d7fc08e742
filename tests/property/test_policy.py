"""Calls under any interleaving of an owner's moods, rules, time, callers that leave, and reloads.

What a call is told follows from what the owner has said last: within its time, and a minute beyond where it
cannot be asked; without that from ``fail`` alone. Nobody waits longer than a question may take, and no
question is left behind.

Run by pytest. The examples are the same in every run.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from micronode.calls.call import Call
from micronode.errors import ErrorCode, NodeError
from micronode.security.decider import Decider
from micronode.security.decisions import MAX_TTL_S, STALE_S, Decision, question_of, read_decision
from micronode.security.policy import Policy
from tests.support.policy import READ, WRITE, TimedPolicyOwner, call_of
from tests.support.policy_page import FAILS

STATES = ("up", "down", "slow", "lying")
TTLS = (0.0, 0.5, 5.0, 300.0)
#: Calls of four questions: two callers, a read and a write.
CALLS = [call_of(op, tenant=bytes([tenant]) * 16) for op in (READ, WRITE) for tenant in (1, 2)]
picks = st.integers(min_value=0, max_value=len(CALLS) - 1)
numbers = st.integers(min_value=0, max_value=100)
pauses = st.sampled_from([0.0, 0.005, 0.02, 0.1, 0.25, 0.6, 4.0, 5.5, 30.0, 61.0, 310.0])


@attrs.define(eq=False)
class Asked:
    """A call that is being judged."""

    call: Call
    fail: str
    began: float
    judged: Deferred[Call] | None = None
    left: bool = False


class Policies(RuleBasedStateMachine):
    """A policy in memory, and an owner that is as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000.0)
        self.owner = TimedPolicyOwner(self.clock)
        self.decider = Decider(self.owner, self.clock.seconds)
        self.policy = Policy(self.decider, "closed")
        self.waiting: list[Asked] = []
        self.defects: list[Any] = []
        globalLogPublisher.addObserver(self._observe)

    def _observe(self, event: Any) -> None:
        if event.get("log_failure") is not None:
            self.defects.append(event)

    @rule(pick=picks)
    def call(self, pick: int) -> None:
        asked = Asked(CALLS[pick], self.policy.fail, self.clock.seconds())
        try:
            judged = self.policy.admit(asked.call)
        except NodeError as error:
            self.told(asked, error)
            return
        if not isinstance(judged, Deferred):
            self.told(asked, judged)
            return
        self.waiting.append(asked)
        asked.judged = judged

        def over(result: Any) -> None:
            self.waiting.remove(asked)
            if not asked.left:
                self.told(asked, result.value if isinstance(result, Failure) else result)

        judged.addBoth(over)

    @rule(state=st.sampled_from(STATES))
    def mood(self, state: str) -> None:
        self.owner.state = state

    @rule(pick=picks, allow=st.booleans(), ttl_s=st.sampled_from(TTLS))
    def rules(self, pick: int, allow: bool, ttl_s: float) -> None:
        self.owner.rule[question_of(CALLS[pick])] = Decision(allow=allow, rule="r", reason="w", ttl_s=ttl_s)

    @rule(pause=pauses)
    def wait(self, pause: float) -> None:
        # In steps, so that nothing is told later than it happened.
        until = self.clock.seconds() + pause
        while (times := [each.getTime() for each in self.clock.getDelayedCalls()]) and min(times) <= until:
            self.clock.advance(max(0.0, min(times) - self.clock.seconds()))
        self.clock.advance(max(0.0, until - self.clock.seconds()))

    @rule(number=numbers)
    def leave(self, number: int) -> None:
        if self.waiting:
            asked = self.waiting[number % len(self.waiting)]
            asked.left = True
            assert asked.judged is not None
            asked.judged.cancel()

    @rule(fail=st.sampled_from(FAILS))
    def reload(self, fail: str) -> None:
        self.policy = Policy(self.decider, fail)

    def told(self, asked: Asked, result: Any) -> None:
        """Hold what a call was told against what the owner has said."""
        now = self.clock.seconds()
        assert now - asked.began <= TimedPolicyOwner.PATIENCE_S + 1e-6, "it waited too long"
        question = question_of(asked.call)
        said = [(at, decision) for at, of, decision in self.owner.said if of == question]
        if said and now < said[-1][0] + said[-1][1].ttl_s + STALE_S:
            at, decision = said[-1]
            if decision.allow:
                assert result is asked.call
            else:
                assert isinstance(result, NodeError)
                assert result.code is ErrorCode.FORBIDDEN
            is_fresh = now < at + decision.ttl_s or now == at
            assert is_fresh or self.decider.trouble is not None, "it was to be asked"
            return
        assert self.decider.trouble is not None, "nobody was asked"
        if asked.fail == "open" or (asked.fail == "reads-open" and asked.call.operation is READ):
            assert result is asked.call
        else:
            assert isinstance(result, NodeError)
            assert result.code is ErrorCode.OWNER_UNAVAILABLE
            assert result.retry_after_ms is not None

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.owner.asking == self.decider.asking <= len(CALLS)
        assert self.decider.asking <= len(self.waiting), "nobody waits for it"
        assert bool(self.waiting) == bool(self.decider.asking)
        assert not self.defects

    def teardown(self) -> None:
        globalLogPublisher.removeObserver(self._observe)
        self.wait(1.0)
        assert not self.waiting
        assert not self.clock.getDelayedCalls()


TestPolicies = Policies.TestCase
TestPolicies.settings = settings(
    max_examples=150, stateful_step_count=40, derandomize=True, deadline=None, database=None
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["allow"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
members = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(["allow", "deny"]) | json_values,
        "rule": st.text() | json_values,
        "reason": st.text() | json_values,
        "ttl_s": st.integers() | st.floats() | json_values,
        "max_bytes": st.integers() | json_values,
    },
)


def _read(data: bytes) -> Decision | None:
    try:
        return read_decision(data)
    except ValueError:
        return None


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(members | json_values)
def test_whatever_an_owner_says(said: Any) -> None:
    """It is read or refused, and what is read keeps its bounds."""
    decision = _read(json.dumps(said).encode())
    if decision is not None:
        assert said["action"] == ("allow" if decision.allow else "deny")
        assert 0.0 <= decision.ttl_s <= MAX_TTL_S
        assert decision.max_bytes is None or decision.max_bytes >= 0
        for text in (decision.rule, decision.reason):
            assert len(text) <= 200
            assert text.isprintable()


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_whatever_bytes_it_says(data: bytes) -> None:
    assert _read(data) is None
