"""Tests for :mod:`micronode.devowners.deliveries`: who waits; see also ``test_mailbox_web``."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners import deliveries
from micronode.devowners.deliveries import Deliveries
from micronode.devowners.mailbox import Mailbox, Wish
from micronode.errors import ErrorCode, NodeError

HERE = ("0" * 32, "t")


class DeliveriesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.mailbox = Mailbox()
        self.addCleanup(self.mailbox.close)
        self.deliveries = Deliveries(self.mailbox, self.clock, self.clock.seconds)

    def receive(
        self, wait_s: float = 60.0, *, max_bytes: int = 10**6, visibility_s: float = 5.0
    ) -> Deferred[list[dict[str, Any]]]:
        wish = Wish(max_messages=1, max_bytes=max_bytes, visibility_s=visibility_s)
        return self.deliveries.receive(HERE, wish, wait_s)

    def send(self, key: str, size: int = 0) -> str:
        return self.deliveries.send(HERE, key, bytes(size), {})[0]

    def test_nobody_waits_without_asking_to(self) -> None:
        self.assertEqual(self.successResultOf(self.receive(0)), [])

    def test_not_for_ever(self) -> None:
        waiting = self.receive(1.0)
        self.clock.advance(0.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(waiting), [])
        self.assertEqual((self.deliveries.waiting, self.clock.getDelayedCalls()), (0, []))

    def test_a_message_ends_it(self) -> None:
        waiting = self.receive()
        msg_id = self.send("a")
        self.assertEqual(self.successResultOf(waiting)[0]["msg_id"], msg_id)
        # Only the message's own time is left.
        self.assertEqual([call.time for call in self.clock.getDelayedCalls()], [5.0])

    def test_so_does_one_that_comes_back(self) -> None:
        self.send("a")
        self.successResultOf(self.receive())
        waiting = self.receive()
        self.clock.advance(4.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(waiting)[0]["attempt"], 2)

    def test_one_clock_for_all_that_is_held(self) -> None:
        for key in "abc":
            self.send(key)
        for visibility_s in (5.0, 3.0, 9.0):
            self.successResultOf(self.receive(visibility_s=visibility_s))
        self.assertEqual([call.time for call in self.clock.getDelayedCalls()], [3.0])
        self.clock.advance(3.0)
        self.assertEqual([call.time for call in self.clock.getDelayedCalls()], [5.0])

    def test_who_has_no_room_lets_the_next_one_pass(self) -> None:
        small, large = self.receive(max_bytes=500), self.receive()
        self.send("a", 1000)
        self.assertNoResult(small)
        self.assertEqual(self.successResultOf(large)[0]["attempt"], 1)
        self.send("b")
        self.assertEqual(len(self.successResultOf(small)), 1)

    def test_one_that_left(self) -> None:
        waiting = self.receive()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual((self.deliveries.waiting, self.clock.getDelayedCalls()), (0, []))
        self.send("a")
        self.assertEqual(self.successResultOf(self.receive())[0]["attempt"], 1)

    def test_one_that_makes_another_leave(self) -> None:
        first, second = self.receive(), self.receive()
        first.addCallback(lambda _: second.cancel())
        self.send("a")
        self.failureResultOf(second, CancelledError)
        self.send("b")
        self.assertEqual(self.successResultOf(self.receive())[0]["attempt"], 1)

    def test_one_that_makes_another_leave_leaves_its_message(self) -> None:
        for key in "ab":
            self.send(key)
            self.successResultOf(self.receive())
        first, second = self.receive(), self.receive()
        first.addCallback(lambda _: second.cancel())
        # Both messages come back at once.
        self.clock.advance(5)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(self.receive(0))[0]["attempt"], 2)

    def test_nobody_waits_after_the_end(self) -> None:
        waiting = self.receive()
        self.assertTrue(self.deliveries.end())
        self.assertEqual(self.successResultOf(waiting), [])
        self.assertEqual(self.successResultOf(self.receive()), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_so_many(self) -> None:
        self.patch(deliveries, "MAX_WAITING", 2)
        waiting = [self.receive(), self.receive()]
        error = self.assertRaises(NodeError, self.receive)
        self.assertIs(error.code, ErrorCode.BUSY)
        self.assertEqual(self.successResultOf(self.receive(0)), [])
        waiting.pop().addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self.receive()

    def test_what_was_held_when_the_process_before_ended(self) -> None:
        self.send("a")
        self.successResultOf(self.receive())
        self.deliveries.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        again = Deliveries(self.mailbox, self.clock, self.clock.seconds)
        self.clock.advance(5.0)
        wish = Wish(max_messages=1, max_bytes=10**6, visibility_s=5.0)
        self.assertEqual(self.successResultOf(again.receive(HERE, wish, 0))[0]["attempt"], 2)
