"""The explorer tries every order once, tells which one does not hold, and lets it happen again."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

from twisted.trial.unittest import SynchronousTestCase

from tests.interleavings.__main__ import main
from tests.interleavings.explorer import BrokenError, Schedule, explore, replay, schedule_of, text_of


class Letters:
    """Letters that come in any order, but for those that come after another.

    :param told: called with the whole order.
    """

    def __init__(
        self, letters: str, told: Callable[[str], None], after: dict[str, str] | None = None
    ) -> None:
        self.there = ""
        self._letters = letters
        self._told = told
        self._after = after or {}

    def enabled(self) -> list[str]:
        return [
            each
            for each in self._letters
            if each not in self.there and self._after.get(each, "") in self.there
        ]

    def do(self, event: str) -> None:
        self.there += event
        if "ca" in self.there:
            raise AssertionError("c before a")

    def end(self) -> None:
        self._told(self.there)


class ExplorerTests(SynchronousTestCase):
    def explore(self, letters: str, after: dict[str, str] | None = None) -> list[str]:
        seen: list[str] = []
        count = explore(lambda: Letters(letters, seen.append, after))
        self.assertEqual((count, len(set(seen))), (len(seen), len(seen)))
        return seen

    def test_every_order_once(self) -> None:
        for letters in ("", "d", "de", "defgh"):
            self.assertEqual(len(self.explore(letters)), factorial(len(letters)))

    def test_only_what_may_come(self) -> None:
        self.assertEqual(sorted(self.explore("def", {"e": "d"})), ["def", "dfe", "fde"])

    def test_at_most(self) -> None:
        self.assertEqual(explore(lambda: Letters("defg", lambda there: None), most=5), 5)

    def test_what_does_not_hold(self) -> None:
        def make() -> Letters:
            return Letters("abc", lambda there: None)

        error = self.assertRaises(BrokenError, explore, make, name="letters")
        self.assertEqual(error.schedule, ("b", "c", "a"))
        self.assertEqual(
            str(error).splitlines(),
            [
                "letters: AssertionError: c before a",
                "after:",
                "  1. b",
                "  2. c",
                "  3. a",
                "again: python -m tests.interleavings letters 'b, c, a'",
            ],
        )
        again = self.assertRaises(BrokenError, replay, make, error.schedule)
        self.assertEqual(again.schedule, error.schedule)
        self.assertEqual(replay(make, ("b", "a")), ("b", "a", "c"))
        wrong = self.assertRaises(ValueError, replay, make, ("c", "c"))
        self.assertIn("'c' cannot happen after 'c'", str(wrong))

    def test_as_text(self) -> None:
        schedule: Schedule = ("c1 asks", "time passes", "drain")
        self.assertEqual(schedule_of(text_of(schedule)), schedule)
        self.assertEqual(schedule_of(" "), ())


class CommandTests(SynchronousTestCase):
    def said(self, *argv: str) -> tuple[int, list[str]]:
        lines: list[str] = []
        self.patch(__import__("builtins"), "print", lambda text, **_: lines.append(text))
        return main(argv), lines

    def test_again(self) -> None:
        code, said = self.said("three-in-line-and-haste", "drain, hurry")
        self.assertEqual((code, said[:2]), (0, ["  1. drain", "  2. hurry"]))

    def test_a_wrong_name(self) -> None:
        code, said = self.said("nowhere")
        self.assertEqual(code, 2)
        self.assertIn("no world is called nowhere", said[0])
