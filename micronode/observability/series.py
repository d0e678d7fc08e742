"""Counters, gauges and histograms as plain numbers, by their labels; a scrape reads them.

*Why not the library's.* Its own take a lock and look for exemplars whenever something is counted, ten times
the cost of the addition, and a call counts a dozen times. Here everything is counted on the reactor's thread,
and the library does what it is good at: it keeps the registry, and writes the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import ClassVar, Final, Generic, TypeAlias, TypeVar

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

#: Six buckets a histogram, +Inf included: 5 ms to half the stock timeout, in seconds.
BUCKETS: Final = (0.005, 0.025, 0.1, 0.5, 2.5)
_BOUNDS: Final = (*(f"{bound}" for bound in BUCKETS), "+Inf")

#: What a child shows as: suffix of the name, labels beside its own, value.
Sample: TypeAlias = tuple[str, dict[str, str], float]


class Counter:
    """What only grows.

    :ivar value: how far it has come.
    """

    __slots__ = ("value",)
    kind: ClassVar = "counter"
    #: How many lines of a scrape it takes.
    series: ClassVar = 1

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Count *amount*, which is not negative."""
        self.value += amount

    def samples(self) -> Iterator[Sample]:
        """Yield its lines."""
        yield "_total", {}, self.value


class Gauge:
    """What rises and falls.

    :ivar value: where it stands.
    """

    __slots__ = ("value",)
    kind: ClassVar = "gauge"
    series: ClassVar = 1

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self) -> None:
        """One more."""
        self.value += 1

    def dec(self) -> None:
        """One less."""
        self.value -= 1

    def set(self, value: float) -> None:
        """It is *value* now."""
        self.value = value

    def samples(self) -> Iterator[Sample]:
        """Yield its lines."""
        yield "", {}, self.value


class Histogram:
    """How often what took how long."""

    __slots__ = ("_counts", "_sum")
    kind: ClassVar = "histogram"
    #: Its buckets with +Inf, its count and its sum.
    series: ClassVar = len(_BOUNDS) + 2

    def __init__(self) -> None:
        #: How many were in each bucket, and in none below it.
        self._counts = [0] * len(_BOUNDS)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count something that took *seconds*."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def samples(self) -> Iterator[Sample]:
        """Yield its lines: a bucket counts those below it too."""
        for bound, count in zip(_BOUNDS, accumulate(self._counts), strict=True):
            yield "_bucket", {"le": bound}, count
        yield "_count", {}, sum(self._counts)
        yield "_sum", {}, self._sum


Child = TypeVar("Child", Counter, Gauge, Histogram)


class Budget:
    """How many series there may still be."""

    def __init__(self, series: int) -> None:
        self.left = series

    def take(self, series: int) -> bool:
        """Whether there is room for *series* more; if so they are taken."""
        if series > self.left:
            return False
        self.left -= series
        return True


class Family(Collector, Generic[Child]):
    """The children of one metric by their labels. Those the budget has no room for share one.

    *Why.* Every label's set is closed, but their product (route x method x status, times the lines of a
    histogram) is thousands, and an owner or a curious caller chooses which of it appears. A fixed bound
    a family would waste what the others do not need; one budget gives it to whoever comes first, and the
    room for each family's rest is set aside beforehand.
    """

    def __init__(
        self,
        make: type[Child],
        name: str,
        text: str,
        labels: list[str],
        budget: Budget,
        rest: tuple[str, ...],
    ) -> None:
        """:param rest: labels of the child for what there is no room for."""
        self._make: type[Child] = make
        self._name = name.removesuffix("_total")
        self._text = text
        self._labels = labels
        self._budget = budget
        self._rest: tuple[str | int, ...] = rest
        self._children: dict[tuple[str | int, ...], Child] = {}
        budget.take(make.series)

    def __call__(self, *labels: str | int) -> Child:
        """Return the child of *labels*."""
        child = self._children.get(labels)
        if child is None:
            if labels != self._rest and not self._budget.take(self._make.series):
                return self(*self._rest)
            child = self._children[labels] = self._make()
        return child

    # For the registry

    def describe(self) -> Iterator[Metric]:
        """Yield the metric without its samples: its name is taken."""
        yield Metric(self._name, self._text, self._make.kind)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        metric = Metric(self._name, self._text, self._make.kind)
        for values, child in self._children.items():
            labels = dict(zip(self._labels, map(str, values), strict=True))
            for suffix, more, value in child.samples():
                metric.add_sample(self._name + suffix, labels | more, value)
        yield metric
