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
    """Logs refusals by reason and facet, and what else is better counted than told one by one.

    What it is told comes from small closed sets. It may be told before it is started.

    A stop tells of those that go on, and is the end of it: after that nothing is told.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._spells: dict[tuple[str, ...], _Spell] = {}
        self._stopped = False

    @property
    def going_on(self) -> int:
        """How many kinds of refusals go on."""
        return len(self._spells)

    def refused(self, reason: str, facet: str) -> None:
        """Count a call that was refused."""
        self._count("refusing", "facet", reason, facet)

    def cut_off(self, reason: str, ingress: str) -> None:
        """Count a caller that was cut off."""
        self._count("cutting_off", "ingress", reason, ingress)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopped = True
        spells, self._spells = self._spells, {}
        for key, spell in spells.items():
            if spell.timer is not None:
                spell.timer.cancel()
            self._end(key, spell)

    def _count(self, *key: str) -> None:
        """Count what *key* says, and tell of it if it is the first."""
        spell = self._spells.get(key)
        if spell is None:
            if self._stopped:
                return
            spell = self._spells[key] = _Spell(self._clock.seconds())
            self._tell(key, 1)
            spell.told = 1
            spell.timer = self._clock.callLater(INTERVAL_S, self._look, key, spell)
        spell.total += 1

    def _look(self, key: tuple[str, ...], spell: _Spell) -> None:
        spell.timer = None
        since = spell.total - spell.told
        if not since:
            del self._spells[key]
            self._end(key, spell)
            return
        spell.told = spell.total
        self._tell(key, since)
        spell.timer = self._clock.callLater(INTERVAL_S, self._look, key, spell)

    def _tell(self, key: tuple[str, ...], count: int) -> None:
        event, what, reason, name = key
        _log.warn(event, reason=reason, **{what: name}, count=count)

    def _end(self, key: tuple[str, ...], spell: _Spell) -> None:
        event, what, reason, name = key
        lasted_s = round(self._clock.seconds() - spell.began_s, 3)
        _log.info(f"{event}_ended", reason=reason, **{what: name}, count=spell.total, seconds=lasted_s)
