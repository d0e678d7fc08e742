"""Tests for :mod:`micronode.devowners.policy_web`."""

import io
import json
import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.log import JSONLog
from micronode.devowners.policy_web import PolicyOwner
from micronode.devowners.rules import RuleFile
from tests.contracts.owner_policy import QUESTION, PolicyOwnerContract
from tests.devowners.support import InMemory

RULES = '[[rule]]\nname = "closed"\nfacet = "search"\naction = "deny"\nreason = "closed"\nmax_bytes = 7\n'


class PolicyCase(InMemory, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log = io.StringIO()
        self.owner = PolicyOwner(self.make_file(), JSONLog(self.log))
        self.owner.is_ready = True

    def make_file(self) -> RuleFile | None:
        return None


class WithoutRulesTests(PolicyCase, PolicyOwnerContract):
    def test_everything_is_allowed(self) -> None:
        self.assertEqual(self.ask_json("POST", "/v1/decide", QUESTION).json["action"], "allow")


class WithRulesTests(PolicyCase, PolicyOwnerContract):
    def make_file(self) -> RuleFile:
        self.path = Path(self.mktemp())
        self.path.write_text(RULES)
        os.utime(self.path, (1, 1))
        return RuleFile(self.path)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    def test_denied(self) -> None:
        self.assertEqual(
            self.ask_json("POST", "/v1/decide", QUESTION).json,
            {"action": "deny", "rule": "closed", "reason": "closed", "ttl_s": 5.0, "max_bytes": 7},
        )

    def test_the_file_changes(self) -> None:
        self.path.write_text("")
        self.assertEqual(self.ask_json("POST", "/v1/decide", QUESTION).json["action"], "allow")
        self.assertEqual(self.events(), ["rules_read"])

    def test_facets_that_are_not_built_in_are_told(self) -> None:
        """They may be custom ones, of which it hears nothing."""
        rule = '[[rule]]\nfacet = ["{}", "feed"]\naction = "deny"\n'
        for facet in ("serch", "search"):
            self.path.write_text(rule.format(facet))
            self.ask_json("POST", "/v1/decide", QUESTION)
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        self.assertEqual(
            [(line["event"], line.get("facets")) for line in lines],
            [("rules_read", None), ("rules_name_others", "serch"), ("rules_read", None)],
        )
        PolicyOwner(RuleFile(self.written(rule.format("my_api"))), JSONLog(self.log))
        self.assertEqual(self.events()[3:], ["rules_name_others"])

    def written(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def test_the_file_becomes_unusable(self) -> None:
        self.path.write_text("nonsense")
        for _ in range(2):
            self.assertEqual(self.ask_json("POST", "/v1/decide", QUESTION).json["action"], "deny")
        self.assertEqual(self.events(), ["rules_refused"])
