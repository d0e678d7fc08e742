"""One stage of chaos: what came of its calls, and what must have.

A bound that speaks of time is *timed*: the suite does not hold the node to it, since the machine may have
been busy with something else; ``bin/chaos_degrade_shed.sh`` does.
"""

from __future__ import annotations

import time

import attrs

from tests.chaos.tally import Tally


@attrs.frozen
class Bound:
    """What must hold, and whether it did."""

    holds: bool
    what: str
    timed: bool = False


@attrs.define
class Stage:
    """One stage that is over, or under way.

    :ivar began: when it began, as ``time.monotonic`` tells it.
    :ivar from_s: when it began, as the watch tells time; ``until_s``: when it ended.
    :ivar cpu: the share of a processor that the node took.
    :ivar rss_bytes: what it had resident at the end; 0, and no *cpu*, where that ended it.
    :ivar unjudged: bounds of time that were not looked at, because the machine was busy with something else.
    """

    name: str
    tally: Tally = attrs.field(factory=Tally)
    bounds: list[Bound] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    began: float = attrs.field(factory=time.monotonic)
    from_s: float = 0.0
    until_s: float = 0.0
    cpu: float = 0.0
    rss_bytes: int = 0
    unjudged: int = 0

    def must(self, holds: bool, what: str, *, timed: bool = False) -> None:
        """Note a bound."""
        self.bounds.append(Bound(holds, what, timed))
