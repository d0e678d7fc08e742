"""micronode.adapters.lease: one slot, one timer, one outcome."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.lease import Lease
from micronode.concurrency.alarms import Alarms
from micronode.errors import ErrorCode


class SpyExchange:
    """Counts aborts, and what it finds when it is aborted."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.ended_at_abort: list[bool] = []

    def abort(self) -> None:
        self.ended_at_abort.append(self.lease.ended)


class SpyLease(Lease):
    """Keeps how it ended."""

    outcomes: list[str]

    def released(self, outcome: str) -> None:
        super().released(outcome)
        self.outcomes.append(outcome)


class LeaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lease = SpyLease("index", Alarms(self.clock), idle_s=60.0, max_body=None)
        self.outcomes = self.lease.outcomes = []
        self.exchange = SpyExchange(self.lease)
        self.lease.exchange = self.exchange  # type: ignore[assignment]

    def test_first_outcome_counts(self) -> None:
        self.lease.end("ok")
        self.lease.end("timeout")
        self.lease.abort()
        self.assertEqual((self.outcomes, self.exchange.ended_at_abort), (["ok"], []))

    def test_abort_finds_the_call_over(self) -> None:
        self.lease.watch(5.0, lambda: None)
        self.lease.abort()
        self.lease.abort()
        self.assertEqual((self.outcomes, self.exchange.ended_at_abort), (["cancelled"], [True]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abort_before_there_is_an_exchange(self) -> None:
        self.lease.exchange = None
        self.lease.abort()
        self.assertEqual(self.outcomes, ["cancelled"])

    def test_outcomes_of_failures(self) -> None:
        for make, code, outcome in (
            (Lease.too_slow, ErrorCode.OWNER_TIMEOUT, "timeout"),
            (Lease.stalled, ErrorCode.OWNER_TIMEOUT, "timeout"),
            (lambda lease: lease.unavailable("x"), ErrorCode.OWNER_UNAVAILABLE, "unavailable"),
            (lambda lease: lease.bad_answer("x"), ErrorCode.BAD_GATEWAY, "bad_gateway"),
        ):
            self.setUp()
            error = make(self.lease)
            self.assertIs(self.lease.fail(error), error)
            self.assertEqual((error.code, error.source, self.outcomes), (code, "index", [outcome]))

    def test_one_timer(self) -> None:
        fired: list[str] = []
        self.lease.touch(1.0)
        self.lease.watch(5.0, lambda: fired.append("first"))
        self.lease.watch(3.0, lambda: fired.append("second"))
        self.clock.advance(2.0)
        self.lease.touch(3.0)
        self.clock.advance(2.9)
        self.assertEqual(fired, [])
        self.clock.advance(0.2)
        self.assertEqual(fired, ["second"])
        self.lease.rest()
        self.assertEqual(self.clock.getDelayedCalls(), [])
