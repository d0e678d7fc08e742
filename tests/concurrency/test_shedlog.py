"""The log of refusals: the first at once, then a line every few seconds, and one at the end."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.shedlog import INTERVAL_S, ShedLog


class ShedLogTests(SynchronousTestCase):
    """ShedLog on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = ShedLog(self.clock)
        self.log.startService()

    def told(self, *acts: Any) -> list[tuple[str, str, str, int]]:
        """Return what is told while *acts* are done: event, reason, facet, how many."""
        with capturedLogs() as events:
            for act in acts:
                act()
        return [(event["log_format"], event["reason"], event["facet"], event["count"]) for event in events]

    def refuse(self, count: int = 1, reason: str = "busy", facet: str = "graph") -> None:
        for _ in range(count):
            self.log.refused(reason, facet)

    def test_the_first_at_once(self) -> None:
        self.assertEqual(self.told(self.refuse), [("refusing", "busy", "graph", 1)])

    def test_many_are_few_lines(self) -> None:
        self.refuse()
        self.assertEqual(self.told(lambda: self.refuse(1_000)), [])
        later = self.told(lambda: self.clock.advance(INTERVAL_S))
        self.assertEqual(later, [("refusing", "busy", "graph", 1_000)])

    def test_the_end(self) -> None:
        self.refuse(3)
        self.clock.advance(INTERVAL_S)
        with capturedLogs() as events:
            self.clock.advance(INTERVAL_S)
        (event,) = events
        self.assertEqual((event["log_format"], event["count"]), ("refusing_ended", 3))
        self.assertEqual(event["seconds"], 2 * INTERVAL_S)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_begins_anew(self) -> None:
        self.refuse(3)
        self.clock.pump([INTERVAL_S] * 3)
        self.assertEqual(self.told(self.refuse), [("refusing", "busy", "graph", 1)])

    def test_each_reason_and_facet(self) -> None:
        acts = [
            lambda: self.refuse(2, "busy", "graph"),
            lambda: self.refuse(2, "busy", "feed"),
            lambda: self.refuse(2, "rate_limited", "feed"),
        ]
        self.assertEqual([each[1:3] for each in self.told(*acts)], [
            ("busy", "graph"),
            ("busy", "feed"),
            ("rate_limited", "feed"),
        ])  # fmt: skip
        self.assertEqual(len(self.told(lambda: self.clock.advance(INTERVAL_S))), 3)

    def test_callers_that_are_cut_off(self) -> None:
        with capturedLogs() as events:
            for _ in range(3):
                self.log.cut_off("slow_reader", "oap")
            self.clock.pump([INTERVAL_S] * 2)
        found = [(event["log_format"], event["ingress"], event["count"]) for event in events]
        self.assertEqual(
            found, [("cutting_off", "oap", 1), ("cutting_off", "oap", 2), ("cutting_off_ended", "oap", 3)]
        )

    def test_stop(self) -> None:
        self.refuse(2)
        self.assertEqual(self.told(self.log.stopService), [("refusing_ended", "busy", "graph", 2)])
        self.assertEqual(self.told(self.refuse), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
