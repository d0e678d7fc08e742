"""What benches have written into the page about performance is what they have saved."""

from __future__ import annotations

import copy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.bench.page import PAGE
from tests.bench.regions import ALL, WALK, Region
from tests.bench.tables import table

#: What each tells of the circumstances.
ABOUT = {"date", "cpus", "machine", "load", "versions"}


class RegionTests(SynchronousTestCase):
    """``docs/PERFORMANCE.rst`` and ``docs/perf/``."""

    def setUp(self) -> None:
        self.page = PAGE.read_text("utf-8")

    def each(self) -> list[tuple[Region, dict[str, Any]]]:
        return [(region, region.load()) for region in ALL]

    def test_figures(self) -> None:
        """Every figure of theirs is of a saved run, and each region is there once."""
        for region, document in self.each():
            for mark in (region.begin, region.end):
                self.assertEqual(self.page.count(mark), 1, mark)
            self.assertEqual(self.page, region.filled(self.page, document), region.name)
            self.assertRegex(self.page, rf"(?m)^(    |``)python -m tests\.bench\.{region.name}\b")

    def test_stale(self) -> None:
        """Another run would be noticed."""
        for region, document in self.each():
            for key in ("rows", "days", "steps", "crowded", "targets"):
                for number in range(len(document.get(key, ()))):
                    other = copy.deepcopy(document)
                    row = other[key][number]
                    name = next(name for name, value in row.items() if isinstance(value, int | float))
                    row[name] += 1000
                    self.assertNotEqual(region.figures(other), region.figures(document), (key, number))

    def test_what_was_not_measured(self) -> None:
        """A figure that could not be told is missed, and said to be."""
        document = WALK.load()
        document["targets"] = [{"what": "x", "figure": None, "bound": 2.0, "most": True, "met": False}]
        self.assertRegex(WALK.figures(document), r"(?m)^x +not told +at most 2 +\*\*missed\*\*$")

    def test_a_table(self) -> None:
        expected = "====  =\nname\n====  =\na     b\n====  =\n"
        self.assertEqual(table(("name", ""), [("a", "b")]), expected)

    def test_nothing_of_the_machine(self) -> None:
        """What is saved tells of versions and processors, not whose they are."""
        for region, document in self.each():
            self.assertLessEqual(ABOUT, set(document), region.name)
            self.assertNotIn("/", region.source.read_text("utf-8").replace("MiB/s", ""), region.name)
