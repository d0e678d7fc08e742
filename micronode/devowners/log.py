"""The owners' log: one JSON object a line, with ``ts level event``.

Writing waits for whoever reads; the node's own log never does.

It never carries a query, a payload or a path of a request. Twisted's own events are folded in:
failures as what and where, without the traceback.
"""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.devowners.options import LOG_LEVELS


@implementer(ILogObserver)
class JSONLog:
    """Writes lines to *stream*; as a Twisted log observer it takes warnings and worse.

    :param level: the least severe level that is written.
    """

    def __init__(self, stream: TextIO, level: str = "info") -> None:
        self._stream = stream
        self._threshold = LOG_LEVELS.index(level)

    def debug(self, event: str, **fields: object) -> None:
        """Write a line that only a developer of the owners needs."""
        self._emit("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Write a line about the normal course of things."""
        self._emit("info", event, fields)

    def warn(self, event: str, **fields: object) -> None:
        """Write a line about something the user may want to change."""
        self._emit("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Write a line about something that did not work."""
        self._emit("error", event, fields)

    def failed(self, event: str, error: BaseException) -> None:
        """Write an error line for a defect: its type and the place it came from.

        The exception's text is left out because it may quote what a caller sent.
        """
        frames = traceback.extract_tb(error.__traceback__, limit=-1)
        where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
        self.error(event, error=type(error).__name__, where=where)

    def __call__(self, event: LogEvent) -> None:
        """Take an event of Twisted's logger."""
        level = event.get("log_level", LogLevel.info)
        failure = event.get("log_failure")
        if isinstance(failure, Failure) and failure.value is not None:
            self.failed("unhandled", failure.value)
        elif level >= LogLevel.warn:
            name = "warning" if level is LogLevel.warn else "error"
            self._emit(name, "twisted", {"namespace": str(event.get("log_namespace", ""))})

    def _emit(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LOG_LEVELS.index(level) < self._threshold:
            return
        ts = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"ts": ts, "level": level, "event": event, **fields}, default=str)
        # Whoever read our standard error has gone: nobody is left to tell.
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()
