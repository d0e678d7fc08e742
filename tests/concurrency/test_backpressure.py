"""Gates count, answer at once, and let in those that wait in their order."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.backpressure import JITTER, MAX_RETRY_S, Gate, retry_after_s


class GateTests(SynchronousTestCase):
    """Gate."""

    def test_as_many_as_its_limit(self) -> None:
        gate = Gate(2)
        self.assertEqual([gate.try_acquire() for _ in range(4)], [True, True, False, False])
        self.assertEqual((gate.in_use, gate.limit), (2, 2))

    def test_a_refusal_takes_nothing(self) -> None:
        gate = Gate(1)
        gate.try_acquire()
        gate.try_acquire()
        gate.release()
        self.assertEqual(gate.in_use, 0)
        self.assertTrue(gate.try_acquire())

    def test_none(self) -> None:
        self.assertFalse(Gate(0).try_acquire())

    def test_resized_while_permits_are_out(self) -> None:
        gate = Gate(3)
        for _ in range(3):
            gate.try_acquire()
        gate.limit = 2
        gate.release()
        self.assertFalse(gate.try_acquire())
        gate.release()
        self.assertTrue(gate.try_acquire())
        gate.limit = 3
        self.assertEqual([gate.try_acquire(), gate.try_acquire()], [True, False])
        self.assertEqual(gate.in_use, 3)

    def test_released_twice(self) -> None:
        """A permit given back twice would let one call too many in for ever: it is a defect, and loud."""
        gate = Gate(1)
        gate.try_acquire()
        gate.release()
        self.assertRaises(RuntimeError, gate.release)
        self.assertEqual(gate.in_use, 0)


class WithinTests(SynchronousTestCase):
    """A permit of the node's and one of the facet's, or none of either."""

    def setUp(self) -> None:
        self.node = Gate(3)
        self.one = Gate(2, within=self.node)
        self.two = Gate(2, within=self.node)

    def in_use(self) -> tuple[int, int, int]:
        return self.node.in_use, self.one.in_use, self.two.in_use

    def test_both(self) -> None:
        self.assertTrue(self.one.try_acquire())
        self.assertEqual(self.in_use(), (1, 1, 0))
        self.one.release()
        self.assertEqual(self.in_use(), (0, 0, 0))

    def test_the_inner_one_is_full(self) -> None:
        self.assertEqual([self.one.try_acquire() for _ in range(3)], [True, True, False])
        self.assertEqual(self.in_use(), (2, 2, 0))
        self.assertIs(self.one.full, self.one)

    def test_the_outer_one_is_full(self) -> None:
        taken = [gate.try_acquire() for gate in (self.one, self.one, self.two, self.two)]
        self.assertEqual(taken, [True, True, True, False])
        self.assertEqual(self.in_use(), (3, 2, 1))
        self.assertIs(self.two.full, self.node)
        self.assertIs(self.one.full, self.one, "its own limit is what it would meet first")
        self.one.release()
        self.assertTrue(self.two.try_acquire())

    def test_released_twice(self) -> None:
        """What another facet has of the node's is not given back by it."""
        self.two.try_acquire()
        self.assertRaises(RuntimeError, self.one.release)
        self.assertEqual(self.in_use(), (1, 0, 1))


class QueueTests(SynchronousTestCase):
    """Who waits."""

    def setUp(self) -> None:
        self.node = Gate(2)
        self.one = Gate(1, queue=9, within=self.node)
        self.two = Gate(2, queue=9, within=self.node)
        self.got: list[str] = []

    def wait(self, gate: Gate, name: str) -> Deferred[None]:
        return gate.wait().addCallback(lambda _: self.got.append(name))

    def fill(self) -> None:
        self.assertTrue(self.one.try_acquire() and self.two.try_acquire())

    def test_places(self) -> None:
        self.assertFalse(Gate(1).has_place)
        gate = Gate(1, queue=2)
        gate.try_acquire()
        for _ in range(2):
            self.assertTrue(gate.has_place)
            gate.wait()
        self.assertEqual((gate.has_place, gate.waiting), (False, 2))

    def test_in_order(self) -> None:
        self.fill()
        self.wait(self.one, "a")
        self.wait(self.one, "b")
        self.assertEqual((self.got, self.one.waiting, self.node.waiting), ([], 2, 2))
        self.one.release()
        self.assertEqual(self.got, ["a"])
        self.one.release()
        self.assertEqual((self.got, self.one.in_use, self.one.waiting), (["a", "b"], 1, 0))

    def test_in_order_across_facets(self) -> None:
        """Where the node is full, a permit of one facet's is what a call to another waits for."""
        self.fill()
        self.two.queue = 9
        self.wait(self.two, "two")
        self.wait(self.one, "one")
        self.one.release()
        self.assertEqual((self.got, self.node.in_use), (["two"], 2))
        self.two.release()
        self.assertEqual(self.got, ["two", "one"])
        self.assertEqual((self.node.in_use, self.one.in_use, self.two.in_use), (2, 1, 1))

    def test_in_order_whichever_facet_waited_first(self) -> None:
        self.two.limit = 1
        self.fill()
        for gate, name in ((self.two, "a"), (self.one, "b"), (self.two, "c"), (self.one, "d")):
            self.wait(gate, name)
        self.one.limit = self.two.limit = 9
        for _ in range(4):
            (self.one if self.one.in_use else self.two).release()
        self.assertEqual(self.got, ["a", "b", "c", "d"])

    def test_who_cannot_be_let_in_holds_up_nobody(self) -> None:
        self.node.limit = 3
        self.fill()
        self.two.try_acquire()
        self.wait(self.one, "one")
        self.wait(self.two, "two")
        self.two.release()
        self.assertEqual(self.got, ["two"])

    def test_nobody_overtakes(self) -> None:
        """Who comes while those that wait are let in is behind them."""
        gate = Gate(1, queue=9)
        gate.try_acquire()
        overtook: list[bool] = []

        def answered_at_once(_: None) -> None:
            gate.release()
            overtook.append(gate.try_acquire())

        gate.wait().addCallback(answered_at_once)
        self.wait(gate, "last")
        gate.release()
        self.assertEqual((overtook, self.got, gate.in_use), ([False], ["last"], 1))

    def test_a_long_queue_of_short_calls(self) -> None:
        """Each ends at once and lets in the next: that is no deep stack."""
        gate = Gate(1, queue=5_000)
        gate.try_acquire()
        for _ in range(5_000):
            gate.wait().addCallback(lambda _: gate.release())
        gate.release()
        self.assertEqual((gate.in_use, gate.waiting), (0, 0))

    def test_leaving(self) -> None:
        self.fill()
        left, stays = self.wait(self.one, "left"), self.wait(self.one, "stays")
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.assertEqual(self.one.waiting, 1)
        self.one.release()
        self.assertEqual(self.got, ["stays"])
        self.successResultOf(stays)

    def test_forgotten(self) -> None:
        """Its Deferred is left alone, and it gets no permit."""
        self.fill()
        waiter, stays = self.one.wait(), self.one.wait()
        self.one.forget(waiter)
        self.one.forget(waiter)
        self.one.release()
        self.assertNoResult(waiter)
        self.successResultOf(stays)
        self.one.forget(stays)
        self.assertEqual((self.one.in_use, self.node.waiting), (1, 0))

    def test_all_leave(self) -> None:
        self.fill()
        for left in [self.wait(self.one, "") for _ in range(3)]:
            left.cancel()
            self.failureResultOf(left, CancelledError)
        self.one.release()
        self.assertEqual((self.node.waiting, self.node.in_use, self.got), (0, 1, []))

    def test_a_larger_limit(self) -> None:
        self.fill()
        for name in "abc":
            self.wait(self.one, name)
        self.one.limit = 3
        self.assertEqual(self.got, [], "the node is full")
        self.node.limit = 3
        self.assertEqual(self.got, ["a"])
        self.node.limit = 9
        self.assertEqual((self.got, self.one.in_use, self.node.in_use), (["a", "b"], 3, 4))

    def test_a_smaller_limit(self) -> None:
        """No permit is lost by it, and who waits goes on waiting."""
        gate = Gate(3, queue=1)
        for _ in range(3):
            gate.try_acquire()
        self.wait(gate, "a")
        gate.limit, gate.queue = 1, 0
        for left in (2, 1):
            gate.release()
            self.assertEqual((gate.in_use, self.got), (left, []))
        gate.release()
        self.assertEqual((gate.in_use, self.got), (1, ["a"]))

    def test_waiting_where_there_is_room(self) -> None:
        self.wait(self.one, "a")
        self.assertEqual((self.got, self.one.in_use, self.node.in_use), (["a"], 1, 1))


class ShutTests(SynchronousTestCase):
    """Whether a permit could be had, without taking one."""

    def test_says_what_taking_one_would(self) -> None:
        node = Gate(2)
        one, two = Gate(1, queue=1, within=node), Gate(2, within=node)
        self.assertFalse(one.shut)
        one.try_acquire()
        self.assertEqual((one.shut, two.shut), (True, False))
        two.try_acquire()
        self.assertTrue(two.shut, "the node is full")
        one.release()
        two.wait()
        two.wait()
        self.assertTrue(two.shut)
        for gate in (one, two):
            self.assertEqual(gate.try_acquire(), not gate.shut)


class Middle(Random):
    """Spreads nothing."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class RetryAfterTests(SynchronousTestCase):
    """When there is likely a permit."""

    def full(self, limit: int, *held_s: float) -> Gate:
        gate = Gate(limit, within=Gate(1_000))
        for each in held_s:
            gate.try_acquire()
            gate.release(each)
        while gate.try_acquire():
            pass
        return gate

    def test_nothing_is_known(self) -> None:
        self.assertEqual(retry_after_s(self.full(4), Middle()), 1 + JITTER / 2)

    def test_by_service_time_and_limit(self) -> None:
        self.assertEqual(retry_after_s(self.full(2, 20.0), Middle()), 10.0)
        self.assertEqual(retry_after_s(self.full(40, 20.0), Middle()), 1 + JITTER / 2, "no less")

    def test_the_outer_gate_s(self) -> None:
        gate = self.full(2, 20.0)
        assert gate.within is not None
        gate.within.limit = 4
        self.assertEqual(retry_after_s(gate.within, Middle()), 5.0)

    def test_behind_those_that_wait(self) -> None:
        gate = self.full(2, 20.0)
        gate.wait()
        self.assertEqual(retry_after_s(gate, Middle()), 20.0)

    def test_lately(self) -> None:
        """It follows what calls take now."""
        gate = self.full(1, *[20.0] * 5)
        gate.release()
        for _ in range(40):
            gate.try_acquire()
            gate.release(2.0)
        self.assertAlmostEqual(gate.held_s, 2.0, places=0)

    def test_bounded(self) -> None:
        self.assertEqual(retry_after_s(self.full(1, 36_000.0), Middle()), MAX_RETRY_S)

    def test_spread(self) -> None:
        gate, random = self.full(2, 20.0), Random(1)
        found = sorted(retry_after_s(gate, random) for _ in range(500))
        self.assertTrue(10 * (1 - JITTER) <= found[0] < 7.5, found[0])
        self.assertTrue(12.5 < found[-1] <= 10 * (1 + JITTER), found[-1])

    def test_spread_at_the_floor(self) -> None:
        """Upwards, and evenly: as few are told the least there is as any other time."""
        gate, random = self.full(2), Random(1)
        found = sorted(retry_after_s(gate, random) for _ in range(500))
        self.assertTrue(1.0 <= found[0] < 1.01 and 1.29 < found[-1] <= 1.3, (found[0], found[-1]))
        self.assertTrue(1.13 < found[250] < 1.17, found[250])

    def test_spread_above_the_floor_stays_above_it(self) -> None:
        gate, random = self.full(2, 2.4), Random(1)
        found = sorted(retry_after_s(gate, random) for _ in range(500))
        self.assertTrue(1.0 <= found[0] < 1.05 and 1.5 < found[-1] <= 1.56, (found[0], found[-1]))
