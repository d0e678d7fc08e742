"""How the process of a node collects garbage."""

from __future__ import annotations

import gc
from weakref import ref

from twisted.trial.unittest import SynchronousTestCase

from micronode.cli.garbage import settle


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


class SettleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        # Whatever a node that another test ran in this process has left.
        gc.set_threshold(700, 10, 10)

    def test_leaves_what_there_is_alone(self) -> None:
        settle()
        self.assertGreater(gc.get_freeze_count(), 10_000)

    def test_leaves_no_garbage_behind(self) -> None:
        knot = ref(Knot())
        settle()
        self.assertIsNone(knot())

    def test_looks_less_often_but_looks(self) -> None:
        before = gc.get_threshold()
        settle()
        self.assertGreater(gc.get_threshold()[0], before[0])
        self.assertTrue(gc.isenabled())
        knot = ref(Knot())
        kept = [[] for _ in range(20_000)]  # type: list[list[object]]
        self.assertIsNone(knot(), f"{len(kept)} objects later it is still there")
