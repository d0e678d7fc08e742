"""What comes in floods is told of now and then."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.tally import PERIOD_S, Spell, logged


class SpellTests(SynchronousTestCase):
    """With an end that is told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[int] = []
        self.ends: list[tuple[int, float]] = []
        self.goes_on = False
        self.spell = Spell(
            self.clock, self.told.append, lambda *end: self.ends.append(end), lambda: self.goes_on
        )

    def add(self, times: int = 1) -> None:
        for _ in range(times):
            self.spell.add()

    def test_the_last_of_a_flood_are_told_and_its_end(self) -> None:
        self.add(1000)
        self.assertEqual((self.told, self.ends), ([1], []))
        self.clock.advance(PERIOD_S)
        self.assertEqual((self.told, self.ends), ([1, 999], []))
        self.clock.advance(PERIOD_S)
        self.assertEqual((self.told, self.ends), ([1, 999], [(1000, 2 * PERIOD_S)]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_goes_on_is_told_again_and_again(self) -> None:
        for _ in range(4):
            self.add(2)
            self.clock.advance(PERIOD_S)
        self.assertEqual((self.told, self.ends), ([1, 1, 2, 2, 2], []))

    def test_the_next_one_begins_anew(self) -> None:
        for _ in range(2):
            self.add()
            self.clock.advance(PERIOD_S)
        self.assertEqual((self.told, self.ends), ([1, 1], [(1, PERIOD_S)] * 2))

    def test_what_lasts_is_not_over(self) -> None:
        self.goes_on = True
        self.add()
        self.clock.pump([PERIOD_S] * 3)
        self.assertEqual((self.told, self.ends), ([1], []))
        self.goes_on = False
        self.clock.advance(PERIOD_S)
        self.assertEqual(self.ends, [(1, 4 * PERIOD_S)])

    def test_a_close_is_its_end(self) -> None:
        self.add(3)
        self.clock.advance(1)
        self.spell.close()
        self.spell.close()
        self.add()
        self.assertEqual((self.told, self.ends), ([1], [(3, 1.0)]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_close_of_one_that_never_was(self) -> None:
        self.spell.close()
        self.assertEqual(self.ends, [])

    def test_its_timer_tells_whether_it_goes_on(self) -> None:
        self.assertIsNone(self.spell.timer.at_s)
        self.add()
        self.assertIsNotNone(self.spell.timer.at_s)


class LoggedTests(SynchronousTestCase):
    """As lines in the log."""

    def test_each_line_says_how_it_is_then(self) -> None:
        clock, states = Clock(), iter("abc")
        with capturedLogs() as logs:
            spell = logged(
                clock, "late", level=LogLevel.error, more=lambda: {"state": next(states)}, listener="http"
            )
            for _ in range(3):
                spell.add()
            clock.pump([PERIOD_S] * 2)
        told = [(each["log_format"], each["log_level"], each["count"], each.get("state")) for each in logs]
        self.assertEqual(
            told,
            [
                ("late", LogLevel.error, 1, "a"),
                ("late", LogLevel.error, 2, "b"),
                ("late_ended", LogLevel.info, 3, None),
            ],
        )
        self.assertEqual({each["listener"] for each in logs}, {"http"})
        self.assertEqual(logs[-1]["seconds"], 2 * PERIOD_S)
