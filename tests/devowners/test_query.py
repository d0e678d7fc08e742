"""Tests for :mod:`micronode.devowners.query`."""

import random
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.query import MAX_TERMS, fts_queries, terms

NASTY = [
    "", " ", '"', '""', '" "', "*", "a*", "NEAR(", "NEAR(a b, 2)", "a NEAR b", "AND", "OR", "NOT", "a AND",
    "NOT a", "a-b", "-a", "^a", "a:b", "text:a", "{a b}:c", "(", ")", "()", "a + b", "a\x00b", "\x00", "_",
    "__", "😀", "é", "e\u0301", "日本語", "\u202ea", "'", "a' OR '1'='1", ";", "--", "\\", "%", "a\tb\nc",
    "\ufffe", "ß", "İ", "\U0001e94b", "x" * 5000, "a " * 5000, '"' * 5000,
]  # fmt: skip


class TermsTests(SynchronousTestCase):
    def test_words_come_once_and_in_order(self) -> None:
        self.assertEqual(terms("b a  b\tc"), ["b", "a", "c"])

    def test_pieces_without_letter_or_digit_are_dropped(self) -> None:
        self.assertEqual(terms("- a _ * 😀 7"), ["a", "7"])

    def test_their_number_is_bounded(self) -> None:
        self.assertEqual(len(terms(" ".join(map(str, range(1000))))), MAX_TERMS)


class FTSQueriesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.addCleanup(self.database.close)
        self.database.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'porter unicode61')")
        self.database.execute("INSERT INTO texts VALUES ('alpha beta well-known \"quoted\" near and or not')")

    def count(self, query: str) -> int:
        (count,) = self.database.execute(
            "SELECT count(*) FROM texts WHERE texts MATCH ?", (query,)
        ).fetchone()
        assert isinstance(count, int)
        return count

    def test_all_words_first_then_any(self) -> None:
        self.assertEqual(fts_queries("a b"), ['"a" AND "b"*', '"a" OR "b"*'])

    def test_one_word_is_tried_once(self) -> None:
        self.assertEqual(fts_queries("a"), ['"a"*'])

    def test_nothing_to_look_for(self) -> None:
        self.assertEqual(fts_queries(" * "), [])

    def test_the_last_word_may_be_a_beginning(self) -> None:
        self.assertEqual(self.count(fts_queries("alpha be")[0]), 1)
        self.assertEqual(self.count(fts_queries("al beta")[0]), 0)

    def test_operators_are_words(self) -> None:
        self.assertEqual(self.count(fts_queries("NOT alpha")[0]), 1)
        self.assertEqual(self.count(fts_queries('"quoted" NEAR(')[0]), 1)
        self.assertEqual(self.count(fts_queries("well-known")[0]), 1)

    def test_no_input_is_an_error(self) -> None:
        rng = random.Random(1)
        alphabet = "\"*()^:-+{}\\'\x00 \tabAND_é日😀\u0301\ufeff"
        inputs = NASTY + ["".join(rng.choices(alphabet, k=rng.randrange(1, 40))) for _ in range(2000)]
        for text in inputs:
            for query in fts_queries(text):
                self.assertIn(self.count(query), (0, 1), text)
