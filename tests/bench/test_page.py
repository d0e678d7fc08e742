"""The page about performance says what was measured: JSON, plot and page agree."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.bench.page import BEGIN, END, PAGE, figures, filled
from tests.bench.plot import SOURCE, draw


class PageTests(SynchronousTestCase):
    """``docs/PERFORMANCE.rst`` and ``docs/perf/``."""

    def setUp(self) -> None:
        self.document: dict[str, Any] = json.loads(SOURCE.read_text("utf-8"))
        self.page = PAGE.read_text("utf-8")

    def test_figures(self) -> None:
        """Every figure of the page is of the saved run."""
        self.assertEqual(self.page, filled(self.page, self.document))

    def test_plot(self) -> None:
        """So is the plot, which the page shows and which is XML; it brings its own background."""
        plot = SOURCE.with_suffix(".svg").read_text("utf-8")
        self.assertEqual(plot, draw(self.document))
        self.assertIn(f".. image:: {SOURCE.parent.name}/{SOURCE.stem}.svg\n", self.page)
        root = ElementTree.fromstring(plot)
        rect = next(element for element in root if element.tag.endswith("rect"))
        self.assertEqual((rect.get("width"), rect.get("height")), (root.get("width"), root.get("height")))

    def test_stale(self) -> None:
        """Another run would be noticed, in the page and in the plot."""
        other = json.loads(json.dumps(self.document))
        other["rows"][0]["value"] += 1
        other["figures"]["decode 64"]["micronode"] *= 2
        self.assertNotEqual(figures(other), figures(self.document))
        self.assertNotEqual(draw(other), draw(self.document))

    def test_verdicts(self) -> None:
        """A verdict follows from the row's own figures, and what is missed is explained."""
        missed = []
        for row in self.document["rows"]:
            value, target = row["value"], row["target"]
            met = None if target is None else (value <= target if row["most"] else value >= target)
            self.assertIs(row["met"], met, row["name"])
            if met is False:
                missed.append(row["name"].partition(",")[0])
        self.assertEqual(self.page.split(BEGIN)[1].split(END)[0].count("**missed**"), len(missed))
        why = self.page.partition("What misses its target, and why")[2]
        for name in missed:
            self.assertIn(f"*{name.capitalize()}*", why)

    def test_nothing_of_the_machine(self) -> None:
        """What is saved tells of versions and processors, not whose they are."""
        self.assertEqual(set(self.document), {"date", "cpus", "machine", "versions", "rows", "figures"})
