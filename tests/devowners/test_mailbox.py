"""Tests for :mod:`micronode.devowners.mailbox`: what the contract, in ``test_mailbox_web``, cannot see."""

import sqlite3
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.mailbox import Limits, Mailbox, Wish
from micronode.errors import NodeError

HERE = ("0" * 32, "t")
ALL = Wish(max_messages=100, max_bytes=10**6, visibility_s=10.0)


class KeysTests(SynchronousTestCase):
    """Idempotency keys are kept for a time, and only so many."""

    def setUp(self) -> None:
        self.mailbox = Mailbox(limits=Limits(keys=3, keys_s=60.0))
        self.addCleanup(self.mailbox.close)

    def is_duplicate(self, key: str, now: float) -> bool:
        return self.mailbox.send(HERE, key, b"", {}, now)[1]

    def test_for_a_time(self) -> None:
        self.assertFalse(self.is_duplicate("a", 0.0))
        self.assertTrue(self.is_duplicate("a", 59.9))
        self.assertFalse(self.is_duplicate("a", 60.0))
        self.assertTrue(self.is_duplicate("a", 61.0))

    def test_only_so_many(self) -> None:
        for key in "abc":
            self.assertFalse(self.is_duplicate(key, 0.0))
        self.assertTrue(self.is_duplicate("a", 0.0))
        self.assertFalse(self.is_duplicate("d", 0.0))
        self.assertEqual([self.is_duplicate(key, 0.0) for key in "bcd"], [True] * 3)
        self.assertFalse(self.is_duplicate("a", 0.0))

    def test_a_message_that_cannot_be_stored_is_not_half_there(self) -> None:
        ask = self.mailbox._database.execute
        ask("CREATE TRIGGER full BEFORE INSERT ON keys BEGIN SELECT RAISE(ABORT, 'full'); END")
        self.assertRaises(sqlite3.Error, self.mailbox.send, HERE, "a", b"", {}, 0.0)
        ask("DROP TRIGGER full")
        self.assertEqual(self.mailbox.take(HERE, ALL, 0.0), [])
        self.assertFalse(self.is_duplicate("a", 0.0))
        self.assertEqual(len(self.mailbox.take(HERE, ALL, 0.0)), 1)

    def test_refused_messages_have_none(self) -> None:
        self.mailbox.send(HERE, "a", b"", {}, 0.0)
        self.assertRaises(NodeError, self.mailbox.send, HERE, "a", b"x", {}, 0.0)
        self.assertTrue(self.is_duplicate("a", 0.0))


class HeldTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.mailbox = Mailbox()
        self.addCleanup(self.mailbox.close)

    def test_when_the_next_comes_back(self) -> None:
        self.assertIsNone(self.mailbox.next_late())
        for key in "ab":
            self.mailbox.send(HERE, key, b"", {}, 0.0)
        [first] = self.mailbox.take(HERE, Wish(max_messages=1, max_bytes=10**6, visibility_s=5.0), 1.0)
        self.mailbox.take(HERE, ALL, 1.0)
        self.assertEqual(self.mailbox.next_late(), 6.0)
        self.assertEqual(self.mailbox.give_back_late(5.9), set())
        self.assertEqual(self.mailbox.give_back_late(6.0), {HERE})
        self.assertEqual(self.mailbox.next_late(), 11.0)
        self.assertEqual([m["msg_id"] for m in self.mailbox.take(HERE, ALL, 7.0)], [first["msg_id"]])

    def test_more_than_one_step(self) -> None:
        for number in range(1100):
            self.mailbox.send(HERE, str(number), b"", {}, 0.0)
        for _ in range(11):
            self.mailbox.take(HERE, ALL, 0.0)
        self.assertEqual(self.mailbox.give_back_late(10.0), {HERE})
        self.assertIsNone(self.mailbox.next_late())

    def test_the_dead_are_told_of_where_they_are(self) -> None:
        self.mailbox.send(HERE, "a", b"", {}, 0.0)
        for attempt in range(5):
            self.assertEqual(len(self.mailbox.take(HERE, ALL, attempt * 10.0)), 1)
            found = self.mailbox.give_back_late(attempt * 10.0 + 10)
        self.assertEqual(found, {(HERE[0], "t.dlq")})


class KeptTests(SynchronousTestCase):
    """In a file all of it outlives the process: messages, attempts, who holds what, keys and bounds."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.open()
        self.addCleanup(lambda: self.mailbox.close())

    def open(self) -> None:
        self.mailbox = Mailbox(self.folder, Limits(messages=3, topics=1))

    def open_again(self) -> None:
        self.mailbox.close()
        self.open()

    def test_again(self) -> None:
        sent = [self.mailbox.send(HERE, key, key.encode(), {"k": key}, 0.0)[0] for key in "abc"]
        [held] = self.mailbox.take(HERE, Wish(max_messages=1, max_bytes=10**6, visibility_s=5.0), 0.0)
        self.open_again()
        self.assertEqual(self.mailbox.next_late(), 5.0)
        self.assertEqual([m["msg_id"] for m in self.mailbox.take(HERE, ALL, 0.0)], sent[1:])
        self.mailbox.give_back_late(5.0)
        self.open_again()
        [again] = self.mailbox.take(HERE, ALL, 5.0)
        self.assertEqual((again["msg_id"], again["attempt"], again["attrs"]), (held["msg_id"], 2, {"k": "a"}))
        self.assertTrue(self.mailbox.send(HERE, "a", b"a", {"k": "a"}, 5.0)[1])
        self.assertRaises(NodeError, self.mailbox.send, HERE, "d", b"", {}, 5.0)
        for msg_id in sent:
            self.assertTrue(self.mailbox.ack(HERE[0], msg_id))
        self.open_again()
        for topic, key in (("other", "x"), ("other", "y")):
            self.mailbox.send((HERE[0], topic), key, b"", {}, 6.0)

    def test_no_id_is_used_twice(self) -> None:
        before, _ = self.mailbox.send(HERE, "a", b"", {}, 0.0)
        self.mailbox.ack(HERE[0], before)
        self.open_again()
        after, _ = self.mailbox.send(HERE, "b", b"", {}, 0.0)
        self.assertNotEqual(before, after)
        self.assertFalse(self.mailbox.ack(HERE[0], before))
