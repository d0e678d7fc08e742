"""The log where it is not ours: its user told twistd or twist where it goes, and how.

Destination and rotation stay theirs. But their observers print an event's format alone, which of ours is a
bare word, and know no level: so what is here stands between the process's events and whatever observers they
make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogBeginner
from zope.interface import implementer

from micronode.observability.logging import LEVELS, in_words


class HostLog:
    """Stands before somebody else's log observers: lets through what is at least of a level, in words."""

    def __init__(self, level: str, *, in_words: bool = True) -> None:
        """:param level: ``debug``, ``info``, ``warning`` or ``error``.
        :param in_words: whether the observers print formats; else they show fields by themselves.
        """
        self._in_words = in_words
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Let through what is at least *level* from now on."""
        self._least = LEVELS[level]

    def stand_before(self) -> None:
        """Stand before the observers that are handed to Twisted's logger next, which is once in a process.

        twistd takes one from its --logger, from the application or by its options, each in its own way; this
        is what all of them, and those of twist, come to in the end.
        """
        begin = globalLogBeginner.beginLoggingTo

        def begin_behind(observers: Iterable[ILogObserver], *args: Any, **options: Any) -> None:
            globalLogBeginner.beginLoggingTo = begin  # type: ignore[method-assign]
            begin([_Before(each, self.passed) for each in observers], *args, **options)

        globalLogBeginner.beginLoggingTo = begin_behind  # type: ignore[method-assign]

    def passed(self, event: LogEvent) -> LogEvent | None:
        """Return what of *event* an observer is to get, if anything."""
        if event.get("log_level", LogLevel.info) < self._least:
            return None
        return in_words(event) if self._in_words else event


@implementer(ILogObserver)
class _Before:
    """Takes the place of *observer*."""

    def __init__(self, observer: ILogObserver, passed: Callable[[LogEvent], LogEvent | None]) -> None:
        self._observer = observer
        self._passed = passed

    def __call__(self, event: LogEvent) -> None:
        passed = self._passed(event)
        if passed is not None:
            self._observer(passed)
