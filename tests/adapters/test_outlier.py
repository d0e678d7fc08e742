"""micronode.adapters.outlier: when an endpoint sits out, and for how long."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.outlier import EJECTED_S, FAILURES, LONGEST_EJECTED_S, Outlier


class OutlierTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.outlier = Outlier(self.clock.seconds)

    def calls(self, history: str) -> None:
        for each in history:
            self.outlier.judge(each == "+")

    def test_histories(self) -> None:
        for history, due in (
            ("", False),
            ("-" * (FAILURES - 1), False),
            ("-" * FAILURES, True),
            ("-" * 100, True),
            ("----+----", False),
            ("+" * 100 + "-----", True),
            ("-----+", False),
        ):
            self.setUp()
            self.calls(history)
            self.assertEqual(self.outlier.due, due, history)

    def test_ejected(self) -> None:
        self.calls("-----")
        self.assertFalse(self.outlier.ejected)
        self.assertEqual(self.outlier.eject(), EJECTED_S)
        self.assertTrue(self.outlier.ejected)
        self.assertEqual(self.outlier.left_s, EJECTED_S)
        # Calls of before that fail now change nothing.
        self.calls("---")
        self.assertFalse(self.outlier.due)
        self.clock.advance(EJECTED_S)
        self.assertFalse(self.outlier.ejected)

    def test_times_grow(self) -> None:
        self.calls("-----")
        times = []
        for _ in range(6):
            times.append(self.outlier.eject())
            self.clock.advance(times[-1])
            self.assertFalse(self.outlier.due)
            self.calls("-")
            self.assertTrue(self.outlier.due, "one failure is enough for one that is just back")
        self.assertEqual(times, [5.0, 10.0, 20.0, 40.0, LONGEST_EJECTED_S, LONGEST_EJECTED_S])

    def test_one_good_call_and_it_has_all_tries_again(self) -> None:
        self.calls("-----")
        self.outlier.eject()
        self.clock.advance(EJECTED_S)
        self.calls("+----")
        self.assertFalse(self.outlier.due)

    def test_readmitted(self) -> None:
        self.outlier.eject()
        self.outlier.readmit()
        self.assertFalse(self.outlier.ejected)
