"""What a walk up the load came to: a row for each load, and what was to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Final

import attrs

from tests.chaos.tally import Tally, percentile_ms


@attrs.frozen
class Step:
    """What came of one load."""

    name: str
    offered: float
    good: float
    refused: float
    shed: float
    #: In milliseconds.
    admitted_p50: float
    admitted_p99: float
    refused_p99: float
    #: Refusals that did not say when to come back.
    silent: int
    lost: int
    #: Of one processor.
    cpu: float
    #: By how many milliseconds this process itself was late: a measure of what else the machine does.
    late: float

    @classmethod
    def of(cls, name: str, tally: Tally, cpu_s: float, late_ms: float) -> Step:
        """Sum up *tally*."""
        good = tally.good()
        return cls(
            name=name,
            offered=tally.count() / tally.seconds,
            good=len(good) / tally.seconds,
            refused=tally.share("429"),
            shed=tally.share("503"),
            admitted_p50=percentile_ms(good, 50),
            admitted_p99=percentile_ms(good, 99),
            refused_p99=percentile_ms(tally.refused_s, 99),
            silent=sum(tally.silent.values()),
            lost=sum(tally.lost.values()),
            cpu=cpu_s / tally.seconds,
            late=late_ms,
        )

    @classmethod
    def median(cls, steps: Iterable[Step]) -> Step:
        """Return a step whose every figure is the median of those of *steps*, which are of one load."""
        rows = list(map(attrs.asdict, steps))
        return cls(
            **{
                name: each if isinstance(each, str) else statistics.median(row[name] for row in rows)
                for name, each in rows[0].items()
            }
        )

    def __str__(self) -> str:
        return (
            f"{self.name:<16}{self.offered:>8.0f}{self.good:>8.0f}{self.refused:>7.0%}{self.shed:>7.0%}"
            f"{self.admitted_p50:>9.1f}{self.admitted_p99:>9.1f}{self.refused_p99:>9.1f}{self.cpu:>7.0%}{self.late:>8.1f}"
        )


HEAD: Final = (
    f"{'gates':<16}{'calls/s':>8}{'good/s':>8}{'429':>7}{'503':>7}{'p50 ms':>9}{'p99 ms':>9}"
    f"{'429 p99':>9}{'CPU':>7}{'late ms':>8}"
)


@attrs.frozen
class Target:
    """What is to be reached, and what was.

    :ivar figure: NaN where it could not be told: that meets no target.
    :ivar most: whether the target is what it may be at most.
    """

    what: str
    figure: float
    bound: float
    most: bool

    @property
    def met(self) -> bool:
        """Whether it was."""
        return self.figure <= self.bound if self.most else self.figure >= self.bound

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'}  {self.what}: {self.figure:.2f} (target {self.bound:g})"


def at_least(what: str, figure: float, bound: float) -> Target:
    """Return a target that is to be reached."""
    return Target(what, figure, bound, most=False)


def at_most(what: str, figure: float, bound: float) -> Target:
    """Return a target that is not to be exceeded."""
    return Target(what, figure, bound, most=True)
