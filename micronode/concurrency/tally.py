"""Tells of what may come in floods, without a line for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from micronode.concurrency.timer import LazyTimer

_log = Logger()

#: Seconds between two lines of one kind.
PERIOD_S: Final = 5.0


class Spell:
    """Tells of the first at once, then every :data:`PERIOD_S` how many there were, and last that it is over.

    :param tell: called with how many there were since it was called last.
    :param ended: called, when there was none for :data:`PERIOD_S`, with how many there were in all, and in
        how many seconds.
    :param lasts: whether what the last one began goes on; while it does, it is not over.
    :ivar timer: runs while it is not over.
    """

    __slots__ = ("_began_s", "_clock", "_closed", "_count", "_ended", "_lasts", "_tell", "_total", "timer")

    def __init__(
        self,
        clock: IReactorTime,
        tell: Callable[[int], None],
        ended: Callable[[int, float], None],
        lasts: Callable[[], bool] = lambda: False,
    ) -> None:
        self.timer = LazyTimer(clock, self._look)
        self._clock = clock
        self._tell = tell
        self._ended = ended
        self._lasts = lasts
        self._closed = False
        self._count = self._total = 0
        self._began_s = 0.0

    def add(self) -> None:
        """Note one more."""
        if self._closed:
            return
        self._total += 1
        if self.timer.at_s is not None:
            self._count += 1
            return
        self._began_s = self._clock.seconds()
        self._wait()
        self._tell(1)

    def close(self) -> None:
        """End it, and tell of nothing after that."""
        if not self._closed:
            self._closed = True
            goes_on = self.timer.at_s is not None
            self.timer.close()
            if goes_on:
                self._end()

    def _wait(self) -> None:
        self.timer.expect(self._clock.seconds() + PERIOD_S)

    def _look(self) -> None:
        count, self._count = self._count, 0
        if count or self._lasts():
            self._wait()
            if count:
                self._tell(count)
        else:
            self._end()

    def _end(self) -> None:
        total, self._total = self._total, 0
        self._ended(total, round(self._clock.seconds() - self._began_s, 3))


def logged(
    clock: IReactorTime,
    event: str,
    lasts: Callable[[], bool] = lambda: False,
    *,
    level: Any = LogLevel.warn,
    more: Callable[[], Mapping[str, object]] = dict,
    **fields: object,
) -> Spell:
    """Return what logs *event*, each time at *level* with what *more* returns then, and ``EVENT_ended``.

    :param fields: of both.
    """

    def tell(count: int) -> None:
        _log.emit(level, event, **fields, **more(), count=count)

    def ended(count: int, seconds: float) -> None:
        _log.info(f"{event}_ended", **fields, count=count, seconds=seconds)

    return Spell(clock, tell, ended, lasts)
