"""What waits of an answer, and when its producer is paused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.fairness import HELD_BYTES, Stock
from micronode.oap.waiting import ENOUGH_BYTES, Waiting
from tests.contracts.sink import SpyProducer


class WaitingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stock = Stock()
        self.waiting = Waiting(1, self.stock)
        self.producer = SpyProducer()

    def test_producer_is_paused_while_enough_is_at_hand(self) -> None:
        self.waiting.register(self.producer)
        self.waiting.hold(bytes(ENOUGH_BYTES - 1))
        self.assertEqual(self.producer.told, [])
        self.waiting.hold(b"x")
        self.waiting.hold(b"one read that was under way")
        self.assertEqual(self.producer.told, ["pause"])
        self.assertEqual(len(self.waiting.take(100)), 100)
        self.waiting.regulate()
        self.assertEqual(self.producer.told, ["pause", "resume"])
        self.waiting.regulate()
        self.assertEqual(self.producer.told, ["pause", "resume"])

    def test_producer_that_comes_late_is_paused_at_once(self) -> None:
        self.waiting.hold(bytes(ENOUGH_BYTES))
        self.assertFalse(self.waiting.has_producer)
        self.waiting.register(self.producer)
        self.assertTrue(self.waiting.has_producer)
        self.assertEqual(self.producer.told, ["pause"])
        self.waiting.unregister()
        self.waiting.take(ENOUGH_BYTES)
        self.waiting.regulate()
        self.assertEqual(self.producer.told, ["pause"])

    def test_all_together_may_hold_too_much(self) -> None:
        self.waiting.register(self.producer)
        self.stock.hold(2, HELD_BYTES)
        self.assertEqual(self.producer.told, ["pause"])
        self.stock.give_back(HELD_BYTES)
        self.assertEqual(self.producer.told, ["pause", "resume"])

    def test_producer_begins_paused_where_too_much_is_held(self) -> None:
        first, other = SpyProducer(), Waiting(2, self.stock)
        other.register(first)
        other.hold(bytes(HELD_BYTES))
        self.waiting.register(self.producer)
        self.assertEqual((first.told, self.producer.told), (["pause"], ["pause"]))
        other.close()
        self.assertEqual((first.told, self.producer.told), (["pause"], ["pause", "resume"]))

    def test_empty_window_pauses_it_and_counts_with_nobody(self) -> None:
        self.waiting.register(self.producer)
        self.waiting.hold(b"abc")
        self.waiting.starve(True)
        self.waiting.hold(b"def")
        self.assertEqual((self.producer.told, len(self.waiting), self.stock.held), (["pause"], 6, 0))
        self.waiting.starve(False)
        self.assertEqual((self.producer.told, self.stock.held), (["pause", "resume"], 6))

    def test_what_is_all_there_counts_with_nobody(self) -> None:
        self.waiting.hold(bytes(1 << 20))
        self.assertEqual((self.stock.held, self.stock.full), (0, False))
        self.waiting.take(100)
        self.waiting.close()
        self.assertEqual(self.stock.held, 0)

    def test_last_bytes_count_when_the_producer_has_gone(self) -> None:
        self.waiting.register(self.producer)
        self.waiting.hold(b"abc")
        self.waiting.unregister()
        self.waiting.hold(b"def")
        self.assertEqual(self.stock.held, 6)

    def test_what_waits_is_counted_until_it_is_taken_or_over(self) -> None:
        self.waiting.register(self.producer)
        self.waiting.hold(b"abcdef")
        self.assertEqual((len(self.waiting), self.stock.held), (6, 6))
        self.waiting.take(2)
        self.assertEqual((len(self.waiting), self.stock.held), (4, 4))
        self.waiting.close()
        self.assertEqual((len(self.waiting), self.stock.held, self.producer.told), (0, 0, []))
        self.waiting.close()
        self.assertEqual(self.stock.held, 0)
