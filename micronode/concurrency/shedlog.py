"""What is told of refusals in the log: that they began, how many there are, and that they ended.

A node that is asked for more than it does refuses thousands of calls a second; a line for each would cost
more than the refusal. So the first one is told at once, then there is a line every few seconds, each with how
many were refused since the one before, and one when an interval has passed without any.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()

#: Seconds between two lines of one reason and facet.
INTERVAL_S: Final = 5.0


@attrs.define(eq=False)
class _Spell:
    """Refusals of one kind that go on."""

    began_s: float
    total: int = 0
    #: Of these, how many were told.
    told: int = 0
    timer: IDelayedCall | None = None


class ShedLog(Service):
    """Logs refusals by reason and facet, both from small closed sets. It may be told before it is started.

    A stop tells of those that go on, and is the end of it: after that nothing is told.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._spells: dict[tuple[str, str], _Spell] = {}
        self._stopped = False

    def refused(self, reason: str, facet: str) -> None:
        """Count a refusal, and tell of it if it is the first."""
        spell = self._spells.get((reason, facet))
        if spell is None:
            if self._stopped:
                return
            spell = self._spells[reason, facet] = _Spell(self._clock.seconds())
            _log.warn("refusing", reason=reason, facet=facet, refused=1)
            spell.told = 1
            spell.timer = self._clock.callLater(INTERVAL_S, self._look, reason, facet, spell)
        spell.total += 1

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopped = True
        spells, self._spells = self._spells, {}
        for (reason, facet), spell in spells.items():
            if spell.timer is not None:
                spell.timer.cancel()
            self._end(reason, facet, spell)

    def _look(self, reason: str, facet: str, spell: _Spell) -> None:
        spell.timer = None
        since = spell.total - spell.told
        if not since:
            del self._spells[reason, facet]
            self._end(reason, facet, spell)
            return
        spell.told = spell.total
        _log.warn("refusing", reason=reason, facet=facet, refused=since)
        spell.timer = self._clock.callLater(INTERVAL_S, self._look, reason, facet, spell)

    def _end(self, reason: str, facet: str, spell: _Spell) -> None:
        lasted_s = round(self._clock.seconds() - spell.began_s, 3)
        _log.info("refusing_ended", reason=reason, facet=facet, refused=spell.total, seconds=lasted_s)
