"""micronode.facets.polls: who is asked for, when, and what becomes of what comes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.backpressure import Gate
from micronode.errors import ErrorCode, NodeError
from micronode.facets.messages import Received
from micronode.facets.polls import (
    MAX_PAUSE_S,
    MAX_POLLS,
    MAX_REST_S,
    MIN_PAUSE_S,
    PATIENCE_S,
    WAIT_S,
    Polls,
)
from micronode.facets.seeker import Place

TENANT = bytes(16)
DOWN = NodeError(ErrorCode.OWNER_UNAVAILABLE, "owner mailbox cannot be reached")


def message(name: str = "m") -> Received:
    return Received(name, b"{}", 1)


class Slowest(Random):
    """Spreads nothing: each pause has its full length."""

    def uniform(self, a: float, b: float) -> float:
        return b


class StubSeeker:
    """A subscriber whose polls the test answers."""

    def __init__(
        self,
        topic: str = "jobs",
        max_bytes: int = 65_536,
        visibility_ms: int = 30_000,
        token_id: str | None = None,
    ) -> None:
        self.place: Place = (TENANT, topic)
        self.token_id = token_id
        self.max_bytes = max_bytes
        self.visibility_ms = visibility_ms
        self.waits: list[float] = []
        self.asked: list[Deferred[Sequence[Received]]] = []
        self.given_back: list[str] = []
        self.giving: Deferred[None] | None = None

    def poll(self, wait_s: float) -> Deferred[Sequence[Received]]:
        self.waits.append(wait_s)
        asked: Deferred[Sequence[Received]] = Deferred()
        self.asked.append(asked)
        return asked

    def give_back(self, messages: Sequence[Received]) -> Deferred[None]:
        self.given_back += [each.msg_id for each in messages]
        return self.giving or succeed(None)

    def answer(self, *messages: Received) -> None:
        self.asked[-1].callback(messages)

    def fail(self, error: Exception = DOWN) -> None:
        self.asked[-1].errback(error)


class PollsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = Gate(64)
        self.polls = Polls(self.clock, lambda: self.gate, Slowest())

    def tearDown(self) -> None:
        self.assertEqual(self.gate.in_use, 0, "a permit was lost")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def end(self, *waiting: Deferred[Sequence[Received]]) -> None:
        """Let subscribers leave."""
        for each in waiting:
            each.addErrback(lambda failure: failure.trap(CancelledError) and None)
            each.cancel()


class OneTopicTests(PollsCase):
    def test_messages(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        self.assertEqual((self.gate.in_use, seeker.waits), (1, [WAIT_S]))
        self.assertNoResult(got)
        seeker.answer(message("a"), message("b"))
        self.assertEqual([each.msg_id for each in self.successResultOf(got)], ["a", "b"])

    def test_an_owner_that_waited_is_asked_again_at_once(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        for count in range(1, 4):
            self.assertEqual(len(seeker.asked), count)
            self.clock.advance(WAIT_S)
            seeker.answer()
        self.assertEqual(self.gate.in_use, 1)
        self.end(got)
        seeker.answer()

    def test_an_owner_that_does_not_wait_is_asked_ever_more_seldom(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        pause_s = MIN_PAUSE_S
        for _ in range(9):
            count = len(seeker.asked)
            seeker.answer()
            self.assertEqual(self.gate.in_use, 0)
            self.clock.advance(pause_s * 0.99)
            self.assertEqual(len(seeker.asked), count)
            self.clock.advance(pause_s * 0.02)
            self.assertEqual(len(seeker.asked), count + 1)
            pause_s = min(MAX_PAUSE_S, 2 * pause_s)
        seeker.answer(message())
        self.successResultOf(got)
        got = self.polls.next(seeker)
        self.assertEqual(len(seeker.asked), 11)
        seeker.answer()
        self.clock.advance(MIN_PAUSE_S)
        self.assertEqual(len(seeker.asked), 12, "a topic with messages begins anew")
        seeker.answer()
        self.end(got)

    def test_first_come_first_served(self) -> None:
        seekers = [StubSeeker() for _ in range(3)]
        got = [self.polls.next(seeker) for seeker in seekers]
        for seeker, each in zip(seekers, got, strict=True):
            self.assertEqual(self.gate.in_use, 1, "one poll at a time")
            seeker.answer(message())
            self.successResultOf(each)

    def test_one_who_had_some_comes_last(self) -> None:
        one, two = StubSeeker(), StubSeeker()
        first = self.polls.next(one)
        second = self.polls.next(two)
        again: list[Deferred[Sequence[Received]]] = []
        first.addCallback(lambda _: again.append(self.polls.next(one)))
        one.answer(message())
        self.assertEqual((len(one.asked), len(two.asked)), (1, 1))
        two.answer(message())
        self.successResultOf(second)
        self.assertEqual(len(one.asked), 2)
        one.answer(message())
        self.successResultOf(again[0])

    def test_one_for_whom_there_is_nothing_keeps_nobody_waiting(self) -> None:
        """It takes less than the longest messages, say, or its token gets none of them."""
        ones = [StubSeeker(), StubSeeker(max_bytes=100), StubSeeker(token_id="a"), StubSeeker()]
        got = [self.polls.next(each) for each in ones]
        for number in (0, 1, 2, 3, 1):
            self.assertEqual([each for each in ones if self.is_asked(each)], [ones[number]])
            self.clock.advance(WAIT_S)
            ones[number].answer()
        ones[2].answer(message("a"))
        self.assertEqual([each.msg_id for each in self.successResultOf(got.pop(2))], ["a"])
        self.end(*got)
        next(each for each in ones if self.is_asked(each)).answer()

    def is_asked(self, seeker: StubSeeker) -> bool:
        return bool(seeker.asked) and not seeker.asked[-1].called

    def test_what_is_sent_is_looked_for_at_once(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        seeker.answer()
        self.polls.wake((TENANT, "other"))
        self.assertEqual(len(seeker.asked), 1)
        self.polls.wake(seeker.place)
        self.assertEqual(len(seeker.asked), 2)
        # While it is asked, too: it may have been too late for that one.
        self.polls.wake(seeker.place)
        seeker.answer()
        self.assertEqual(len(seeker.asked), 3)
        seeker.answer()
        self.end(got)


class LeavingTests(PollsCase):
    def test_before_the_next_poll(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        seeker.answer()
        self.end(got)
        self.assertIsNone(self.successResultOf(self.polls.settled(seeker.place)))

    def test_what_comes_goes_to_the_next(self) -> None:
        one, two = StubSeeker(), StubSeeker()
        leaving, staying = self.polls.next(one), self.polls.next(two)
        self.end(leaving)
        self.successResultOf(self.polls.settled(one.place))
        one.answer(message("a"))
        self.assertEqual([each.msg_id for each in self.successResultOf(staying)], ["a"])
        self.assertEqual((one.given_back, two.given_back), ([], []))

    def test_what_comes_for_nobody_goes_back(self) -> None:
        seeker = StubSeeker()
        seeker.giving = Deferred()
        self.end(self.polls.next(seeker))
        settled = self.polls.settled(seeker.place)
        seeker.answer(message("a"))
        self.assertEqual(seeker.given_back, ["a"])
        self.assertNoResult(settled)
        seeker.giving.callback(None)
        self.assertIsNone(self.successResultOf(settled))

    def test_what_does_not_fit_the_next_goes_back(self) -> None:
        for other in (StubSeeker(max_bytes=4_058), StubSeeker(visibility_ms=1_000), StubSeeker(token_id="a")):
            seeker = StubSeeker()
            leaving, staying = self.polls.next(seeker), self.polls.next(other)
            self.end(leaving)
            seeker.answer(message("a"))
            self.assertEqual(seeker.given_back, ["a"])
            self.assertNoResult(staying)
            other.answer(message("b"))
            self.successResultOf(staying)

    def test_a_poll_that_takes_too_long_is_broken_off(self) -> None:
        seeker = StubSeeker()
        self.end(self.polls.next(seeker))
        settled = self.polls.settled(seeker.place)
        self.clock.advance(WAIT_S + 0.2)
        self.assertNoResult(settled)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(settled))
        self.assertTrue(seeker.asked[0].called)

    def test_one_who_comes_takes_it_over(self) -> None:
        one, two = StubSeeker(), StubSeeker()
        self.end(self.polls.next(one))
        got = self.polls.next(two)
        self.clock.advance(10.0)
        one.answer(message())
        self.successResultOf(got)
        self.assertEqual(two.asked, [])

    def test_waiting_for_that_may_be_given_up(self) -> None:
        seeker = StubSeeker()
        self.end(self.polls.next(seeker))
        settled = self.polls.settled(seeker.place)
        settled.addErrback(lambda failure: failure.trap(CancelledError) and None)
        settled.cancel()
        seeker.answer()


class ManyTopicsTests(PollsCase):
    def many(self, count: int) -> tuple[list[StubSeeker], list[Deferred[Sequence[Received]]]]:
        seekers = [StubSeeker(f"topic {number}") for number in range(count)]
        return seekers, [self.polls.next(seeker) for seeker in seekers]

    def test_there_are_few_polls_at_a_time(self) -> None:
        seekers, got = self.many(1024)
        self.assertEqual(self.gate.in_use, MAX_POLLS)
        for seeker in seekers:
            self.assertEqual(len(seeker.asked), 1)
            seeker.answer(message())
            self.assertLessEqual(self.gate.in_use, MAX_POLLS)
        for each in got:
            self.successResultOf(each)

    def test_nobody_waits_at_the_owner_where_others_wait_for_that(self) -> None:
        seekers, got = self.many(MAX_POLLS + 1)
        for seeker in seekers:
            seeker.answer()
        self.clock.advance(MIN_PAUSE_S)
        self.assertEqual([seeker.waits[1:] for seeker in seekers[:-1]], [[0.0]] * MAX_POLLS)
        self.end(*got)
        for seeker in seekers:
            if not seeker.asked[-1].called:
                seeker.answer()

    def test_in_the_order_in_which_they_fell_due(self) -> None:
        self.polls.bound(4)
        seekers, got = self.many(5)
        asked: list[int] = []
        for _ in range(3):
            for number, seeker in enumerate(seekers):
                if not seeker.asked[-1].called:
                    asked.append(number)
                    seeker.answer(message())
                    self.successResultOf(got[number])
                    got[number] = self.polls.next(seeker)
        self.assertEqual(asked, [0, 1, 2, 3, 4] * 3)
        self.end(*got)
        seekers[0].answer()

    def test_few_permits_few_polls(self) -> None:
        for permits, polls, waits in (
            (1, 1, 0.0),
            (3, 1, 0.0),
            (4, 1, WAIT_S),
            (8, 2, WAIT_S),
            (65_536, 16, WAIT_S),
        ):
            self.polls.bound(permits)
            seekers, got = self.many(polls)
            self.assertEqual(seekers[0].waits, [waits], permits)
            late = StubSeeker("late")
            got.append(self.polls.next(late))
            self.assertEqual((self.gate.in_use, late.asked), (polls, []))
            self.end(*got)
            for seeker in seekers:
                seeker.answer()

    def test_a_gate_without_permits_is_waited_for(self) -> None:
        self.gate.limit = 1
        self.gate.try_acquire()
        seekers, got = self.many(2)
        self.clock.advance(5.0)
        self.assertEqual([seeker.asked for seeker in seekers], [[], []])
        self.gate.release()
        self.clock.advance(0.1)
        self.assertEqual([len(seeker.asked) for seeker in seekers], [1, 0])
        seekers[0].answer(message())
        self.clock.advance(0.1)
        self.assertEqual([len(seeker.asked) for seeker in seekers], [1, 1])
        seekers[1].answer(message())
        for each in got:
            self.successResultOf(each)

    def test_leaving_while_there_is_no_permit(self) -> None:
        self.gate.limit = 0
        seekers, got = self.many(3)
        self.end(*got)
        self.assertEqual([seeker.asked for seeker in seekers], [[]] * 3)


class FailureTests(PollsCase):
    def test_an_owner_that_fails_is_asked_ever_more_seldom(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        for rest_s in (0.5, 1.0, 2.0, 4.0, MAX_REST_S, MAX_REST_S):
            count = len(seeker.asked)
            seeker.fail()
            # What is sent meanwhile is no reason.
            self.polls.wake(seeker.place)
            self.clock.advance(rest_s * 0.99)
            self.assertEqual(len(seeker.asked), count)
            self.clock.advance(rest_s * 0.02)
            self.assertEqual(len(seeker.asked), count + 1)
        seeker.answer(message())
        self.successResultOf(got)

    def test_subscribers_are_told_in_the_end(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        began = self.clock.seconds()
        while not got.called:
            seeker.fail()
            if not got.called:
                self.clock.pump([0.1] * 51)
        self.assertIs(self.failureResultOf(got, NodeError).value, DOWN)
        self.assertGreaterEqual(self.clock.seconds() - began, PATIENCE_S)
        self.assertLess(self.clock.seconds() - began, PATIENCE_S + 6)

    def test_one_who_came_late_has_the_same_time(self) -> None:
        seeker, late = StubSeeker(), StubSeeker()
        got = self.polls.next(seeker)
        seeker.fail()
        self.clock.advance(PATIENCE_S)
        waiting = self.polls.next(late)
        seeker.fail()
        self.failureResultOf(got, NodeError)
        self.assertNoResult(waiting)
        self.clock.advance(MAX_REST_S)
        late.answer(message())
        self.successResultOf(waiting)

    def test_one_whose_token_fails_does_not_take_others_along(self) -> None:
        seeker, other = StubSeeker(token_id="a"), StubSeeker(token_id="b")
        got, waiting = self.polls.next(seeker), self.polls.next(other)
        while not got.called:
            seeker.fail()
            self.clock.advance(MAX_REST_S)
            if not got.called:
                other.answer()
                self.clock.advance(MAX_REST_S)
        self.assertIs(self.failureResultOf(got, NodeError).value, DOWN)
        self.assertLess(self.clock.seconds(), PATIENCE_S + 2 * MAX_REST_S + 1)
        self.assertNoResult(waiting)
        other.answer(message())
        self.successResultOf(waiting)

    def test_an_owner_that_recovers_has_its_time_again(self) -> None:
        seeker = StubSeeker()
        got = self.polls.next(seeker)
        for _ in range(3):
            seeker.fail()
            self.clock.advance(PATIENCE_S * 0.6)
            seeker.answer()
            self.clock.advance(MAX_REST_S)
        self.assertNoResult(got)
        seeker.answer(message())
        self.successResultOf(got)

    def test_what_asking_again_does_not_change(self) -> None:
        seeker, other = StubSeeker(), StubSeeker()
        got, waiting = self.polls.next(seeker), self.polls.next(other)
        wrong = NodeError(ErrorCode.BAD_REQUEST, "the mailbox does not take such a topic")
        seeker.fail(wrong)
        self.assertIs(self.failureResultOf(got, NodeError).value, wrong)
        self.assertNoResult(waiting)
        other.answer(message())
        self.successResultOf(waiting)

    def test_a_defect_ends_the_one_whose_poll_it_was(self) -> None:
        seeker, other = StubSeeker(), StubSeeker()
        got, waiting = self.polls.next(seeker), self.polls.next(other)
        seeker.fail(ZeroDivisionError())
        self.assertIs(self.failureResultOf(got, NodeError).value.code, ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        other.answer(message())
        self.successResultOf(waiting)

    def test_failing_when_nobody_is_there(self) -> None:
        seeker = StubSeeker()
        self.end(self.polls.next(seeker))
        seeker.fail()
        self.assertIsNone(self.successResultOf(self.polls.settled(seeker.place)))
