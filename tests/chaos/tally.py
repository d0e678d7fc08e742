"""What became of calls, counted: how they ended, how long they took, and what refusals said."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs

from tests.chaos.lines import Ended

#: What says that nothing was done, or could be: each must say when to come back.
_REFUSED: Final = (429, 503)
#: How a call ended that found no listener.
NO_LISTENER: Final = "lost: no listener"


@attrs.define
class Tally:
    """The calls of one phase.

    :ivar ends: door, call, and how it ended (``200``, ``429 busy``, ``lost: closed``) -> how often.
    :ivar seconds: for how long calls were made.
    :ivar dropped: calls that were not made, because this process was late.
    """

    ends: Counter[tuple[str, str, str]] = attrs.field(factory=Counter)
    good_s: dict[str, list[float]] = attrs.field(factory=dict)
    refused_s: list[float] = attrs.field(factory=list)
    #: How a refusal ended that did not say when to come back.
    silent: Counter[str] = attrs.field(factory=Counter)
    #: In seconds, by status.
    retry_after_s: dict[int, list[float]] = attrs.field(factory=dict)
    seconds: float = 0.0
    dropped: int = 0

    def add(self, door: str, call: str, ended: Ended, took_s: float) -> None:
        """Count a call."""
        if ended.lost:
            self.ends[door, call, f"lost: {ended.lost}"] += 1
            return
        self.ends[door, call, f"{ended.status} {ended.code}".strip()] += 1
        if ended.status < 300:
            self.good_s.setdefault(call, []).append(took_s)
        elif ended.status in _REFUSED:
            self.refused_s.append(took_s)
            # Until the next token is due that may be less, where the door can say so.
            least_s = 0.001 if ended.code == "rate_limited" else 1.0
            if ended.retry_after_s is None or ended.retry_after_s < least_s:
                self.silent[f"{door} {call} {ended.status} {ended.code}: {ended.retry_after_s}"] += 1
            else:
                self.retry_after_s.setdefault(ended.status, []).append(ended.retry_after_s)

    def merge(self, other: Tally) -> None:
        """Take in what *other* has counted."""
        self.ends += other.ends
        self.silent += other.silent
        self.refused_s += other.refused_s
        for call, took_s in other.good_s.items():
            self.good_s.setdefault(call, []).extend(took_s)
        for status, waits_s in other.retry_after_s.items():
            self.retry_after_s.setdefault(status, []).extend(waits_s)
        self.seconds += other.seconds
        self.dropped += other.dropped

    def count(self, *beginnings: str, call: str = "", door: str = "") -> int:
        """Return how many calls ended with one of *beginnings* (``2``, ``429``, ``lost``)."""
        return sum(
            times
            for (by, what, how), times in self.ends.items()
            if how.startswith(beginnings or ("",)) and call in ("", what) and door in ("", by)
        )

    def share(self, *beginnings: str, call: str = "") -> float:
        """Return :meth:`count` to all; 0.0 of none."""
        return self.count(*beginnings, call=call) / max(1, self.count(call=call))

    @property
    def lost(self) -> dict[str, int]:
        """The calls without an answer."""
        found: Counter[str] = Counter()
        for (door, call, how), times in self.ends.items():
            if how.startswith("lost"):
                found[f"{door} {call} {how}"] += times
        return dict(found)

    @property
    def lost_on_a_line(self) -> dict[str, int]:
        """The same, but for those that found no listener: of a node that ends these were never let in."""
        return {each: times for each, times in self.lost.items() if not each.endswith(NO_LISTENER)}

    def good(self, call: str = "") -> list[float]:
        """Return the seconds of each call that went well."""
        return [took for name, each in self.good_s.items() if call in ("", name) for took in each]


def percentile_ms(seconds: Iterable[float], percent: int) -> float:
    """Return the percentile of *seconds* in milliseconds; NaN of fewer than two."""
    found = list(seconds)
    return statistics.quantiles(found, n=100)[percent - 1] * 1000 if len(found) > 1 else float("nan")
