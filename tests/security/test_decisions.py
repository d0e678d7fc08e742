"""micronode.security.decisions: how a decision is read, and how long it is known."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.security.decisions import (
    MAX_DECISION_BYTES,
    MAX_TTL_S,
    STALE_S,
    Decision,
    Decisions,
    Question,
    question_of,
    read_decision,
)
from tests.support.policy import ALLOW, DENY, WRITE, call_of

SAID: dict[str, Any] = {"action": "allow", "rule": "default", "reason": "", "ttl_s": 5}


def said(**members: Any) -> bytes:
    return json.dumps({**SAID, **members}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in SAID.items() if key != name}).encode()


class ReadTests(SynchronousTestCase):
    def test_good(self) -> None:
        self.assertEqual(
            read_decision(said()), Decision(allow=True, rule="default", reason="", max_bytes=None, ttl_s=5.0)
        )
        denied = read_decision(said(action="deny", rule="r", reason="why", ttl_s=0.5, max_bytes=0))
        self.assertEqual(denied, Decision(allow=False, rule="r", reason="why", max_bytes=0, ttl_s=0.5))
        self.assertEqual(read_decision(said(more={"x": 1}, max_bytes=None)).max_bytes, None)

    def test_ttl_is_bounded(self) -> None:
        for ttl_s, holds_s in ((-1, 0.0), (0, 0.0), (300, 300.0), (300.5, 300.0), (2**53, MAX_TTL_S)):
            self.assertEqual(read_decision(said(ttl_s=ttl_s)).ttl_s, holds_s)

    def test_no_decision(self) -> None:
        bad = [
            b"",
            b"null",
            b"[]",
            b'"allow"',
            b"{",
            b"\xff",
            said() + b"x",
            b'{"action":"allow",' + said()[1:],
            said(ttl_s="5").replace(b'"5"', b"NaN"),
            said(ttl_s="5").replace(b'"5"', b"1e999"),
            said(ttl_s=2**60),
            said(rule="\ud800"),
            said(rule="x" * MAX_DECISION_BYTES),
            *(without(name) for name in SAID),
            *(said(action=value) for value in ("Allow", "", None, True, 1, ["allow"], {})),
            *(said(rule=value) for value in (None, 1, ["r"])),
            *(said(reason=value) for value in (None, False, {})),
            *(said(ttl_s=value) for value in (None, "5", True, [5])),
            *(said(max_bytes=value) for value in (-1, 1.0, True, "1", [])),
        ]
        for data in bad:
            self.assertRaises(ValueError, read_decision, data)

    def test_texts_are_made_printable_and_short(self) -> None:
        decision = read_decision(said(rule="a\r\nb\u202e\x00", reason="é" * 500))
        self.assertEqual((decision.rule, decision.reason), ("a??b??", "é" * 200))


class QuestionTests(SynchronousTestCase):
    def test_what_it_is_made_of(self) -> None:
        call = call_of(WRITE, tenant=b"t" * 16, token_id="0" * 32, request_id="r", capability="secret")
        self.assertEqual(question_of(call), (b"t" * 16, "0" * 32, "graph", "write", "POST"))


def q(number: int) -> Question:
    return bytes(16), None, "graph", str(number), "GET"


class DecisionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.decisions = Decisions(self.clock.seconds, most=3)

    def test_it_holds_for_its_time(self) -> None:
        self.assertIsNone(self.decisions.holding(q(1)))
        self.decisions.keep(q(1), DENY)
        self.clock.advance(4.9)
        self.assertIs(self.decisions.holding(q(1)), DENY)
        self.assertIsNone(self.decisions.holding(q(2)))
        self.clock.advance(0.1)
        self.assertIsNone(self.decisions.holding(q(1)))

    def test_it_is_known_a_minute_longer(self) -> None:
        self.decisions.keep(q(1), DENY)
        self.clock.advance(DENY.ttl_s + STALE_S - 0.1)
        self.assertIs(self.decisions.last(q(1)), DENY)
        self.clock.advance(0.1)
        self.assertIsNone(self.decisions.last(q(1)))
        self.assertEqual(len(self.decisions), 0, "it is of no use any more")
        self.assertIsNone(self.decisions.last(q(2)))

    def test_one_without_time_holds_never_and_is_known(self) -> None:
        never = Decision(allow=True, rule="x", ttl_s=0.0)
        self.decisions.keep(q(1), never)
        self.assertIsNone(self.decisions.holding(q(1)))
        self.assertIs(self.decisions.last(q(1)), never)

    def test_the_next_one_counts(self) -> None:
        self.decisions.keep(q(1), DENY)
        self.clock.advance(4.0)
        self.decisions.keep(q(1), ALLOW)
        self.clock.advance(4.0)
        self.assertIs(self.decisions.holding(q(1)), ALLOW)
        self.assertEqual(len(self.decisions), 1)

    def test_the_least_used_go(self) -> None:
        for number in (1, 2, 3):
            self.decisions.keep(q(number), ALLOW)
        self.assertIs(self.decisions.holding(q(1)), ALLOW)
        self.decisions.keep(q(4), ALLOW)
        self.assertIsNone(self.decisions.holding(q(2)))
        self.assertIs(self.decisions.last(q(3)), ALLOW)
        self.decisions.keep(q(1), DENY)
        self.decisions.keep(q(5), ALLOW)
        self.assertEqual([number for number in range(1, 6) if self.decisions.holding(q(number))], [1, 3, 5])

    def test_a_clock_that_is_set_back(self) -> None:
        """What comes from the future is not known: nobody can say how old it is."""
        self.decisions.keep(q(1), ALLOW)
        self.clock.rightNow -= 500.0
        self.assertIsNone(self.decisions.holding(q(1)))
        self.assertIsNone(self.decisions.last(q(1)))
