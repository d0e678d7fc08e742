"""Counters, gauges and histograms as plain numbers, by their labels; a scrape reads them.

*Why not the library's.* Its own take a lock and look for exemplars whenever something is counted, ten times
the cost of the addition, and a call counts a dozen times. Here everything is counted on the reactor's thread,
and the library does what it is good at: it keeps the registry, and writes the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
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

    def take(self, series: int, kept: int = 0) -> bool:
        """Whether there is room for *series* more, and *kept* stay; if so they are taken."""
        if series + kept > self.left:
            return False
        self.left -= series
        return True


#: How many look-ups of a family are kept that found it without room.
_MAX_SHARED: Final = 4096


def nothing_kept() -> int:
    """Keep no room for others."""
    return 0


class Family(Collector, Generic[Child]):
    """The children of one metric by their labels. Those the budget has no room for share some.

    *Why.* Every label's set is closed, but their product (route x method x status, times the lines of a
    histogram) is thousands, and an owner or a curious caller chooses which of it appears. A fixed bound
    a family would waste what the others do not need; one budget gives it to whoever comes first, leaves
    what is kept for what matters more, and has the room for each family's rest set aside beforehand.

    :ivar shared: how many children there are of labels that *coarser* stands for.
    """

    def __init__(
        self,
        make: type[Child],
        name: str,
        text: str,
        labels: list[str],
        budget: Budget,
        rest: tuple[str, ...],
        coarser: Sequence[str | None] | None = None,
        kept: Callable[[], int] = nothing_kept,
    ) -> None:
        """Begin without children.

        :param rest: labels of the child for what there is no room for.
        :param coarser: labels to be tried before those, without regard to *kept*; None: the label stays.
        :param kept: how many series to leave to others.
        """
        self._make: type[Child] = make
        self._name = name.removesuffix("_total")
        self._text = text
        self._labels = labels
        self._budget = budget
        self._rest: tuple[str | int, ...] = rest
        self._coarser = coarser
        self._kept = kept
        self.shared = 0
        self._children: dict[tuple[str | int, ...], Child] = {}
        #: Those and, by their labels, what has none of its own: room that is gone does not come back.
        self._found: dict[tuple[str | int, ...], Child] = {}
        budget.take(make.series)

    def __len__(self) -> int:
        """How many children there are."""
        return len(self._children)

    def __call__(self, *labels: str | int) -> Child:
        """Return the child of *labels*."""
        return self._found.get(labels) or self._find(labels)

    def _find(self, labels: tuple[str | int, ...]) -> Child:
        child = self._children.get(labels) or self._make_own(labels) or self._coarse(labels)
        if child is None:
            child = self._children.setdefault(self._rest, self._make())
        if len(self._found) < _MAX_SHARED:
            self._found[labels] = child
        return child

    def _make_own(self, labels: tuple[str | int, ...]) -> Child | None:
        """Return a child of *labels* alone, if there is room."""
        if labels == self._rest or not self._budget.take(self._make.series, self._kept()):
            return None
        child = self._children[labels] = self._make()
        return child

    def _coarse(self, labels: tuple[str | int, ...]) -> Child | None:
        """Return the child that *labels* share with others like them, if there is room."""
        if self._coarser is None:
            return None
        coarse = tuple(
            own if shared is None else shared for own, shared in zip(labels, self._coarser, strict=True)
        )
        child = self._children.get(coarse)
        if child is None and coarse != self._rest and self._budget.take(self._make.series):
            self.shared += 1
            child = self._children[coarse] = self._make()
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
