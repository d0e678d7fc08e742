"""A measure is judged by the median against its threshold, and by the last one alone where it matters."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.measure import Level, Measure, process_rss


class MeasureTests(SynchronousTestCase):
    """Of which all is refused at twice its threshold, and which is well below half of it."""

    def setUp(self) -> None:
        self.measure = Measure("lag", 2.0, 0.5)
        self.measure.watch(10.0)

    def judge(self, *values: float) -> tuple[Level, bool, bool]:
        for value in values:
            self.measure.add(value)
        return self.measure.level, self.measure.well, self.measure.calm

    def test_by_the_median(self) -> None:
        self.assertEqual(self.judge(0, 99), (Level.NONE, True, False))
        self.assertEqual(self.judge(10), (Level.WRITES, False, False))
        self.assertEqual(self.judge(20), (Level.ALL, False, False))
        self.assertEqual(self.judge(4), (Level.WRITES, False, True))
        self.assertEqual(self.judge(4), (Level.NONE, True, True))

    def test_without_a_threshold_all_is_well(self) -> None:
        self.measure.watch(0.0)
        self.assertEqual(self.judge(99, 99, 99), (Level.NONE, True, True))

    def test_cleared(self) -> None:
        self.judge(99, 99, 99)
        self.measure.clear()
        self.assertEqual(self.measure.level, Level.NONE)

    def test_the_memory_of_this_process(self) -> None:
        self.assertGreater(process_rss(), 10 * 1024**2)
