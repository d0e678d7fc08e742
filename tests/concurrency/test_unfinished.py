"""Requests that are not whole make way in the order in which they brought something."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.unfinished import BRISK_BYTES, GRACE_S, Unfinished


class Request:
    """Takes note that it was given up."""

    def __init__(self, name: str, gone: list[str]) -> None:
        self._name = name
        self._gone = gone

    def make_room(self) -> None:
        self._gone.append(self._name)


class UnfinishedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.gone: list[str] = []
        self.first, self.second, self.third = (Request(name, self.gone) for name in "abc")
        self.unfinished = Unfinished()
        for since_s, each in enumerate((self.first, self.second, self.third)):
            self.unfinished.came(each, 100 + since_s, float(since_s))

    def after(self, count: int) -> bool:
        return len(self.gone) == count

    def test_the_longest_silent_goes_first(self) -> None:
        self.unfinished.silent_make_way(10.0, lambda: self.after(2))
        self.assertEqual((self.gone, len(self.unfinished), self.unfinished.size), (["a", "b"], 1, 102))

    def test_each_has_its_time(self) -> None:
        self.unfinished.silent_make_way(1.0 + GRACE_S, lambda: False)
        self.assertEqual(self.gone, ["a", "b"])

    def test_who_brought_enough_is_the_last(self) -> None:
        self.unfinished.came(self.first, 100 + BRISK_BYTES, 3.0)
        self.unfinished.came(self.second, 101 + BRISK_BYTES - 1, 3.0)
        self.unfinished.silent_make_way(3.0 + GRACE_S / 2, lambda: False)
        self.assertEqual(self.gone, ["b", "c"])

    def test_the_largest_go(self) -> None:
        self.unfinished.came(self.first, 200, 0.1)
        self.unfinished.largest_make_way(lambda: self.after(2))
        self.assertEqual(self.gone, ["a", "c"])

    def test_one_that_is_over_is_forgotten(self) -> None:
        self.unfinished.over(self.first)
        self.unfinished.over(self.first)
        self.unfinished.largest_make_way(lambda: False)
        self.assertEqual((self.gone, self.unfinished.size), (["c", "b"], 0))
