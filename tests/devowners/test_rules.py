"""Tests for :mod:`micronode.devowners.rules`."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners import rules
from micronode.devowners.rules import RuleFile, Rules, RulesError

QUESTION: dict[str, str | None] = {
    "tenant": "0" * 32,
    "token_id": "1" * 32,
    "facet": "media",
    "op": "put",
    "method": "POST",
}
RULE = '[[rule]]\naction = "deny"\n'


def decide(text: str, **changes: str | None) -> str:
    """Return the name of the rule that counts."""
    return Rules.parse(text).decide({**QUESTION, **changes}).name


class DecideTests(SynchronousTestCase):
    def test_without_rules_everything_is_allowed(self) -> None:
        self.assertEqual(
            Rules.parse("").decide(QUESTION).decision(),
            {"action": "allow", "rule": "default", "reason": "", "ttl_s": 5.0},
        )

    def test_the_default_may_be_another(self) -> None:
        said = Rules.parse('[default]\naction = "deny"\nreason = "no"\nttl_s = 0').decide(QUESTION).decision()
        self.assertEqual(said, {"action": "deny", "rule": "default", "reason": "no", "ttl_s": 0.0})

    def test_the_first_that_matches(self) -> None:
        text = f'{RULE}name = "a"\nfacet = "feed"\n{RULE}name = "b"\nfacet = "media"\n{RULE}name = "c"'
        self.assertEqual([decide(text, facet=facet) for facet in ("feed", "media", "x")], ["a", "b", "c"])

    def test_every_field_has_to_match(self) -> None:
        for field, value in QUESTION.items():
            text = f'{RULE}name = "a"\n{field} = "{value}"\nop = ["x", "put"]'.replace('op = "put"\n', "")
            self.assertEqual(decide(text), "a")
            self.assertEqual(decide(text, op="y"), "default")
            other = "2" * 32 if field in ("tenant", "token_id") else "X"
            self.assertEqual(decide(text, **{field: other}), "default")

    def test_nobody_is_in_no_list(self) -> None:
        self.assertEqual(decide(f'{RULE}tenant = "{"0" * 32}"', tenant=None), "default")

    def test_a_decision(self) -> None:
        text = '[[rule]]\naction = "allow"\nmax_bytes = 0\nttl_s = 1.5\nreason = "r"'
        self.assertEqual(
            Rules.parse(text).decide(QUESTION).decision(),
            {"action": "allow", "rule": "rule 1", "reason": "r", "ttl_s": 1.5, "max_bytes": 0},
        )


class RefusalTests(SynchronousTestCase):
    def test_each_says_what_is_wrong(self) -> None:
        for text, *words in (
            ("x = \n", "line 1"),
            ("[rules]", "'rules'", "did you mean rule?"),
            ("[rule]", "[[rule]]"),
            ("rule = [1]", "rule 1", "[[rule]]"),
            ("default = 1", "[default]"),
            ("[[rule]]", "rule 1: action", '"allow" or "deny"'),
            (f'{RULE}[[rule]]\nname = "b"\naction = "refuse"', "rule 2 (b): action"),
            (f'{RULE}facets = "x"', "rule 1", "'facets'", "did you mean facet?"),
            ('[default]\nfacet = "x"', "[default]", "'facet'"),
            (f"{RULE}name = 1", "rule 1: name"),
            (f'{RULE}name = "{"x" * 65}"', "name"),
            (f"{RULE}facet = []", "facet"),
            (f"{RULE}facet = [1]", "facet"),
            (f'{RULE}facet = ""', "facet"),
            (f'{RULE}tenant = "x"', "tenant must be 32"),
            (f'{RULE}token_id = ["{"A" * 32}"]', "token_id must be 32"),
            (f'{RULE}method = "get"', "capitals"),
            (f"{RULE}reason = 1", "reason"),
            (f'{RULE}reason = "a\\nb"', "reason"),
            (f"{RULE}max_bytes = -1", "max_bytes"),
            (f"{RULE}max_bytes = true", "max_bytes"),
            (f"{RULE}ttl_s = nan", "ttl_s"),
            (f"{RULE}ttl_s = 86401", "ttl_s"),
            (f'{RULE}ttl_s = "1s"', "ttl_s"),
        ):
            message = str(self.assertRaises(RulesError, Rules.parse, text))
            for word in words:
                self.assertIn(word, message)


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text(RULE)
        self.stamp = 1_700_000_000

    def write(self, text: str) -> None:
        """Write the file anew, at another time."""
        self.path.write_text(text)
        self.stamp += 1
        os.utime(self.path, (self.stamp, self.stamp))

    def test_read_again_when_it_has_changed(self) -> None:
        file = RuleFile(self.path)
        self.assertEqual(len(file.rules.rules), 1)
        self.assertFalse(file.refresh())
        self.write(RULE + RULE)
        self.assertTrue(file.refresh())
        self.assertEqual(len(file.rules.rules), 2)
        self.assertFalse(file.refresh())

    def test_one_of_the_same_length_is_another(self) -> None:
        file = RuleFile(self.path)
        self.write(RULE.replace("deny", "DENY").replace("DENY", "deny"))
        self.assertTrue(file.refresh())
        replaced = Path(self.mktemp())
        replaced.write_text(RULE)
        os.utime(replaced, (self.stamp, self.stamp))
        replaced.rename(self.path)
        self.assertTrue(file.refresh())

    def test_one_that_has_become_unusable_is_told_once(self) -> None:
        file = RuleFile(self.path)
        for act in (lambda: self.write("nonsense"), self.path.unlink):
            act()
            self.assertIn(str(self.path), str(self.assertRaises(RulesError, file.refresh)))
            self.assertFalse(file.refresh())
            self.assertEqual(len(file.rules.rules), 1)
        self.write("")
        self.assertTrue(file.refresh())
        self.assertEqual(file.rules, Rules())

    def test_what_is_no_file_of_rules(self) -> None:
        for content in (b"\xff", b"#" * (rules._MAX_FILE_BYTES + 1), b"x ="):
            self.path.write_bytes(content)
            self.assertIn(str(self.path), str(self.assertRaises(RulesError, RuleFile, self.path)))
        self.assertRaises(RulesError, RuleFile, self.path.parent)
        self.assertRaises(RulesError, RuleFile, self.path / "x")
