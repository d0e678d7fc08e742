"""Turns by bytes, and the bound of what waits for them; no transport anywhere."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.fairness import HELD_BYTES, QUANTUM_BYTES, Backlog, Rounds, Stock
from tests.contracts.sink import SpyProducer


class BacklogTests(SynchronousTestCase):
    def test_bytes_come_out_in_order_however_they_are_cut(self) -> None:
        chance = random.Random(5)
        for _ in range(50):
            data = chance.randbytes(chance.randrange(1, 300))
            backlog, at = Backlog(), 0
            while at < len(data):
                size = chance.randrange(1, 60)
                backlog.append(data[at : at + size])
                at += size
            self.assertEqual(len(backlog), len(data))
            out = b""
            while backlog:
                most = chance.randrange(1, 100)
                piece = backlog.take(most)
                self.assertEqual(len(piece), min(most, len(data) - len(out)))
                out += piece
                self.assertEqual(len(backlog), len(data) - len(out))
            self.assertEqual(out, data)
            self.assertEqual(backlog.take(10), b"")

    def test_whole_pieces_are_not_copied(self) -> None:
        backlog, piece = Backlog(), bytes(1000)
        backlog.append(piece)
        self.assertIs(backlog.take(1000), piece)

    def test_cleared(self) -> None:
        backlog = Backlog()
        backlog.append(b"abc")
        backlog.take(1)
        backlog.clear()
        backlog.append(b"xyz")
        self.assertEqual((len(backlog), backlog.take(9)), (3, b"xyz"))


class _Sender:
    """Has *left* bytes; each turn is noted in *turns* with *key*.

    :param squeeze: what is sent is so many times shorter than what is taken.
    :param head: bytes that the first turn sends beside.
    """

    def __init__(
        self, key: str, left: int, turns: list[tuple[str, int]], *, squeeze: int = 1, head: int = 0
    ) -> None:
        self.left = left
        self.sent = 0
        self._key = key
        self._turns = turns
        self._squeeze = squeeze
        self._head = head

    @property
    def ready(self) -> bool:
        return self.left > 0

    def take_turn(self, limit: int) -> int:
        taken = min(limit, self.left)
        self.left -= taken
        size, self._head = -(-taken // self._squeeze) + self._head, 0
        self.sent += size
        self._turns.append((self._key, size))
        return size


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.turns: list[tuple[str, int]] = []
        self.rounds = Rounds(quantum=100, alone=400)

    def sender(self, number: int, left: int, **fields: int) -> _Sender:
        sender = _Sender("abcdefgh"[number], left, self.turns, **fields)
        self.rounds.offer(number, sender)
        return sender

    def run_turns(self, count: int) -> list[tuple[str, int]]:
        """Give *count* turns; return them."""
        self.turns.clear()
        self.rounds.run(lambda: len(self.turns) < count)
        return self.turns

    def test_one_after_the_other(self) -> None:
        self.sender(0, 250), self.sender(1, 1000), self.sender(2, 30)
        self.assertEqual(
            self.run_turns(7),
            [("a", 100), ("b", 100), ("c", 30), ("a", 100), ("b", 100), ("a", 50), ("b", 400)],
        )

    def test_alone_has_longer_turns_until_somebody_comes(self) -> None:
        self.sender(0, 2000)
        self.assertEqual(self.run_turns(2), [("a", 400), ("a", 400)])
        self.sender(1, 150)
        self.assertEqual(self.run_turns(4), [("a", 100), ("b", 100), ("a", 100), ("b", 50)])

    def test_who_is_offered_again_keeps_its_place(self) -> None:
        first, _ = self.sender(0, 500), self.sender(1, 500)
        self.rounds.offer(0, first)
        self.assertEqual(self.run_turns(3), [("a", 100), ("b", 100), ("a", 100)])

    def test_too_long_a_turn_is_taken_off_the_next(self) -> None:
        self.sender(0, 1000, head=30), self.sender(1, 1000)
        self.assertEqual(self.run_turns(4), [("a", 130), ("b", 100), ("a", 70), ("b", 100)])

    def test_turn_that_is_much_too_long_costs_whole_turns(self) -> None:
        self.sender(0, 1000, head=250), self.sender(1, 1000)
        self.assertEqual(
            self.run_turns(6), [("a", 350), ("b", 100), ("b", 100), ("b", 100), ("a", 50), ("b", 100)]
        )

    def test_compressed_bytes_count_as_they_are_sent(self) -> None:
        self.sender(0, 100_000, squeeze=4), self.sender(1, 100_000)
        self.run_turns(400)
        sent = {key: sum(size for each, size in self.turns if each == key) for key in "ab"}
        self.assertLessEqual(abs(sent["a"] - sent["b"]), 200)

    def test_nobody_gets_more_than_two_turns_beyond_another(self) -> None:
        chance = random.Random(11)
        for _ in range(30):
            self.setUp()
            senders = [self.sender(number, 1 << 30, head=chance.randrange(90)) for number in range(8)]
            for _ in range(20):
                stop = len(self.turns) + chance.randrange(1, 30)
                self.rounds.run(lambda stop=stop: len(self.turns) < stop)  # type: ignore[misc]
                sent = [sender.sent for sender in senders]
                self.assertLessEqual(max(sent) - min(sent), 200)

    def test_stops_where_there_is_no_room_and_goes_on_there(self) -> None:
        self.sender(0, 1000), self.sender(1, 1000)
        self.assertEqual(self.run_turns(1), [("a", 100)])
        self.assertEqual(self.run_turns(2), [("b", 100), ("a", 100)])
        self.assertEqual(self.run_turns(0), [])
        self.assertEqual(len(self.rounds), 2)

    def test_withdrawn(self) -> None:
        self.sender(0, 1000, head=50), self.sender(1, 150), self.sender(2, 1000)
        self.run_turns(2)
        self.rounds.withdraw(0)
        self.rounds.withdraw(9)
        self.assertEqual(self.run_turns(2), [("c", 100), ("b", 50)])
        self.rounds.clear()
        self.assertEqual((len(self.rounds), self.run_turns(5)), (0, []))

    def test_sender_that_has_nothing_after_all(self) -> None:
        class Idle(_Sender):
            def take_turn(self, limit: int) -> int:
                self.left = 0
                return 0

        self.rounds.offer(0, Idle("a", 1, self.turns))
        self.sender(1, 10)
        self.assertEqual(self.run_turns(9), [("b", 10)])

    def test_offered_in_a_turn(self) -> None:
        later = _Sender("z", 10, self.turns)
        rounds = self.rounds

        class Host(_Sender):
            def take_turn(self, limit: int) -> int:
                rounds.offer(7, later)
                assert rounds.running
                return super().take_turn(limit)

        rounds.offer(0, Host("a", 450, self.turns))
        rounds.run(lambda: True)
        self.assertEqual(self.turns, [("a", 400), ("z", 10), ("a", 50)])
        self.assertFalse(rounds.running)

    def test_defect_of_a_sender_does_not_stop_the_rounds_for_ever(self) -> None:
        class Broken(_Sender):
            def take_turn(self, limit: int) -> int:
                raise LookupError("a defect")

        self.rounds.offer(0, Broken("a", 1, self.turns))
        self.sender(1, 10)
        self.assertRaises(LookupError, self.rounds.run, lambda: True)
        self.assertEqual(self.run_turns(9), [("b", 10)])

    def test_default_turn(self) -> None:
        rounds = Rounds()
        for number in (0, 1):
            rounds.offer(number, _Sender("ab"[number], 1 << 20, self.turns))
        rounds.run(lambda: len(self.turns) < 2)
        self.assertEqual(self.turns, [("a", QUANTUM_BYTES), ("b", QUANTUM_BYTES)])


class StockTests(SynchronousTestCase):
    def stock(self, count: int) -> tuple[Stock, list[SpyProducer]]:
        """Return a stock of 100 bytes with *count* sources, each of which brings 20 at a time."""
        stock, spies = Stock(100, 20), [SpyProducer() for _ in range(count)]
        for key, spy in enumerate(spies):
            stock.add(key, spy)
        return stock, spies

    def told(self, spies: list[SpyProducer]) -> str:
        """Return the last that each was told, and forget it."""
        last = "".join(spy.told[-1][0] if spy.told else "-" for spy in spies)
        for spy in spies:
            spy.told.clear()
        return last

    def test_everyone_is_paused_at_the_limit_and_resumed_when_nothing_is_held(self) -> None:
        stock, spies = self.stock(3)
        stock.hold(0, 99)
        self.assertEqual((stock.full, self.told(spies)), (False, "---"))
        stock.hold(1, 1)
        stock.hold(1, 50)
        self.assertEqual((stock.full, self.told(spies)), (True, "ppp"))
        stock.give_back(99)
        self.assertEqual((stock.full, self.told(spies)), (True, "---"))
        stock.give_back(51)
        self.assertEqual((stock.full, stock.held, self.told(spies)), (False, 0, "rrr"))

    def test_below_half_of_it_as_many_as_there_is_room_for_in_order(self) -> None:
        stock, spies = self.stock(4)
        stock.hold(0, 50)
        stock.hold(2, 50)
        self.assertEqual(self.told(spies), "pppp")
        # The order is now 1, 3, 0, 2.
        stock.give_back(50)
        self.assertEqual(self.told(spies), "-r--")
        stock.give_back(10)
        self.assertEqual(self.told(spies), "----")
        stock.give_back(10)
        self.assertEqual(self.told(spies), "---r")
        stock.hold(1, 20)
        self.assertEqual(self.told(spies), "-p--")
        stock.hold(3, 5)
        self.assertEqual(self.told(spies), "---p")
        stock.give_back(5)
        self.assertEqual(self.told(spies), "r---")
        stock.remove(0)
        stock.give_back(0)
        self.assertEqual(self.told(spies), "--r-")
        # Those that bring nothing are in nobody's way.
        stock.give_back(50)
        self.assertEqual((stock.full, self.told(spies)), (False, "-rrr"))

    def test_begins_paused(self) -> None:
        stock, _ = self.stock(1)
        stock.hold(0, 100)
        late = SpyProducer()
        stock.add(7, late)
        self.assertEqual(late.told, ["pause"])

    def test_one_that_is_over_is_told_nothing(self) -> None:
        stock, first, second = Stock(100), SpyProducer(), SpyProducer()
        stock.add(0, first)
        stock.add(1, second)
        stock.remove(0)
        stock.remove(7)
        stock.hold(0, 100)
        self.assertEqual((first.told, second.told), ([], ["pause"]))
        stock.clear()
        stock.give_back(100)
        self.assertEqual(second.told, ["pause"])

    def test_one_that_ends_while_others_are_resumed(self) -> None:
        stock, second = Stock(100), SpyProducer()

        class Ending(SpyProducer):
            def resumeProducing(self) -> None:
                stock.remove(1)

        stock.add(0, Ending())
        stock.add(1, second)
        stock.hold(5, 100)
        stock.give_back(100)
        self.assertEqual(second.told, ["pause"])

    def test_default_limit(self) -> None:
        stock, spy = Stock(), SpyProducer()
        stock.add(0, spy)
        stock.hold(0, HELD_BYTES - 1)
        self.assertEqual(spy.told, [])
        stock.hold(0, 1)
        self.assertEqual(spy.told, ["pause"])
