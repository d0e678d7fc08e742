"""The node's log: flat JSON lines off a terminal, short lines for people on one.

Twisted's logger stays the one way to log; this module is an observer of it. An event's name is its
format (``_log.info("listening", listener="http")``), its other plain values become the line's fields.
Only ``cli`` calls :func:`start_logging`: a host program that embeds a node keeps its own log.
"""

from __future__ import annotations

import atexit
import math
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import IO, Any, Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent, globalLogBeginner
from zope.interface import implementer

from micronode.oap.wire.jsontext import make_encoder
from micronode.observability.version import SERVICE
from micronode.observability.writer import open_writer

LEVELS: Final = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warning": LogLevel.warn,
    "error": LogLevel.error,
}
_NAMES: Final = {
    LogLevel.debug: "debug",
    LogLevel.info: "info",
    LogLevel.warn: "warning",
    LogLevel.error: "error",
    LogLevel.critical: "critical",
}
#: ASCII only: whatever a reader takes for the end of a line (U+2028 too) is escaped, and so is a lone
#: surrogate, which no stream would take.
_text: Final[Callable[[str], str]] = encode_basestring_ascii
_json: Final = make_encoder(ascii_only=True)
#: Types of values that keep a line flat.
_FLAT: Final = frozenset((str, int, float, bool, type(None)))
#: What every line begins with, and of that what is the same in all lines of a level.
_EVERY: Final = frozenset(("ts", "level", "service", "event"))
_SAME: Final = {level: f'"level":"{name}","service":"{SERVICE}"' for level, name in _NAMES.items()}
_QUIET: Final = frozenset((LogLevel.debug, LogLevel.info))
#: Stock Twisted tells of every factory and connection at info; of those only what went wrong matters.
_CHATTY: Final = ("twisted.", "log_legacy")


def log_fields(log: Logger, level: Any, name: str, fields: Mapping[str, object]) -> None:
    """Tell the observers of *log* of an event, as its own methods do: for what there is one of a request.

    They make sure that *level* is one, which takes longer than all the rest of telling. Such an event is in
    no hurry: our own observer writes those of one turn of the reactor together.

    :param fields: none of them begins with ``log_``.
    """
    log.observer(
        {
            **fields,
            # Together, too: who writes a line of each need not look for them among the rest.
            "log_fields": fields,
            "log_logger": log,
            "log_level": level,
            "log_namespace": log.namespace,
            "log_source": log.source,
            "log_format": name,
            "log_time": time.time(),
            "log_hurry": False,
        }
    )


def start_logging(stream: IO[str], level: str, format: str, clock: IReactorTime) -> LineObserver:
    """Send the process's log to *stream* from now on; see :func:`stream_observer`.

    :return: the observer, whose level can be changed.
    """
    observer = stream_observer(stream, level, format, clock)
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    return observer


def stream_observer(
    stream: IO[str],
    level: str,
    format: str,
    clock: IReactorTime,
    at_end: Callable[[Callable[[], None]], object] = atexit.register,
) -> LineObserver:
    """Return a log observer that writes to *stream*, and never waits for its reader.

    A reader that was too slow gets a line ``log_dropped`` with the ``count`` of those it missed.

    :param level: the least that is written: ``debug``, ``info``, ``warning`` or ``error``.
    :param format: ``json``, ``console``, or ``auto``: console on a terminal, else json.
    :param clock: times the looks at a reader that is behind.
    :param at_end: called with what is to be called when the process ends; it gives such a reader a last
        moment, and does nothing the second time.
    """

    def dropped(count: int) -> None:
        event = {"log_level": LogLevel.warn, "log_format": "log_dropped", "log_time": time.time()}
        observer(event | {"count": count})

    if format == "auto":
        format = "console" if stream.isatty() else "json"
    writer = open_writer(stream, clock, dropped)
    observer = LineObserver(writer.write, level, console=format == "console")
    # Only a process of our own comes here.
    at_end(writer.close)
    return observer


class Write(Protocol):
    """What takes the lines; see :meth:`micronode.observability.writer.LineWriter.write`."""

    def __call__(self, line: str, /, *, hurry: bool = True) -> object:
        """Take *line*."""


@implementer(ILogObserver)
class LineObserver:
    """Writes one line an event of at least a level, which may be changed at any time."""

    def __init__(self, write: Write, level: str, *, console: bool) -> None:
        """:param write: takes a line, and whether it is in a hurry; raises nothing.
        :param level: ``debug``, ``info``, ``warning`` or ``error``.
        """
        self._write = write
        self._render = _console_line if console else _json_line
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Write what is at least *level* from now on."""
        least = LEVELS[level]
        # Comparing two of them takes longer than looking one up.
        self._written = frozenset(each for each in _NAMES if each >= least)

    def __call__(self, event: LogEvent) -> None:
        found = event.get("log_level", LogLevel.info)
        if found not in self._written:
            return
        hurry = event.get("log_hurry", True)
        # What is told of every request is our own.
        if hurry and found in _QUIET and _is_chatter(event):
            return
        self._write(self._render(event, found) + "\n", hurry=hurry)


def _is_chatter(event: LogEvent) -> bool:
    namespace = event.get("log_namespace", "")
    return isinstance(namespace, str) and namespace.startswith(_CHATTY)


def fields_of(event: LogEvent) -> dict[str, Any]:
    """Return the event's own fields: what its author passed, plus a failure's traceback as text."""
    fields = {key: value for key, value in event.items() if key[:4] != "log_" and key not in _STOCK}
    failure = event.get("log_failure")
    if failure is not None:
        fields["reason"] = f"{failure.type.__name__}: {failure.getErrorMessage()}"
        fields["traceback"] = "".join(traceback.format_tb(failure.getTracebackObject()))
    return fields


def name_of(event: LogEvent) -> str:
    """Return the event's name: its format where that is a bare word, else its rendered text."""
    template = event.get("log_format")
    if isinstance(template, str) and template.isidentifier():
        return template
    return formatEvent(event) or "event"


def in_words(event: LogEvent) -> LogEvent:
    """Return *event* so that who prints its format, as Twisted's own observers do, prints its fields as well.

    On one line, whatever is in them. The traceback of a failure is such an observer's own matter.
    """
    name = event.get("log_format")
    if not isinstance(name, str) or not name.isidentifier():
        return event
    fields = {key: _plain(value) for key, value in fields_of(event).items() if key.isidentifier()}
    fields.pop("traceback", None)
    fields = {key: on_one_line(value) if isinstance(value, str) else value for key, value in fields.items()}
    return event | fields | {"log_format": " ".join([name, *(f"{key}={{{key}}}" for key in fields)])}


def on_one_line(text: str) -> str:
    """Return *text* without what would end a line or act on a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _json_line(event: LogEvent, level: Any) -> str:
    begun = _begun(round(event.get("log_time", 0.0) * 1_000_000) // 1_000, level, name_of(event))
    fields = event.get("log_fields") or fields_of(event)
    # What every line has comes first, and no field can take its place.
    if not _EVERY.isdisjoint(fields):
        fields = {key: value for key, value in fields.items() if key not in _EVERY}
    if not _FLAT.issuperset(map(type, fields.values())):
        fields = {key: _plain(value) for key, value in fields.items()}
    try:
        text = _json(fields)
    except ValueError:
        # A number that is none.
        text = _json({key: _plain(value) for key, value in fields.items()})
    return f"{begun},{text[1:]}" if fields else begun + "}"


@lru_cache(maxsize=4)
def _begun(millisecond: int, level: Any, name: str) -> str:
    """Return what a line of that moment begins with; a busy node has several such in a millisecond."""
    second, rest = divmod(millisecond, 1_000)
    return f'{{"ts":"{_spelled(second)}.{rest:03d}Z",{_SAME[level]},"event":{_text(name)}'


@lru_cache(maxsize=1)
def _spelled(second: int) -> str:
    """Return the second of that Unix time; a busy node asks for the same one thousands of times."""
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def _plain(value: Any) -> str | int | float | None:
    """Return *value* as it is where JSON has its kind and the line stays flat, else as text."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    try:
        return str(value)
    except Exception:
        # Somebody else's object in an event of Twisted's: the line is worth more than the value.
        return f"<{type(value).__name__}>"


def _console_line(event: LogEvent, level: Any) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0)).astimezone()
    fields = fields_of(event)
    trace = fields.pop("traceback", "")
    words = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
    text = f"{moment:%H:%M:%S} {_NAMES[level]:<7} {name_of(event)} {words}".rstrip()
    # A value with a line feed in it must not look like a second event.
    return f"{on_one_line(text)}\n{trace}".rstrip()


#: What twisted.python.log adds to every event it passes on.
_STOCK: Final = frozenset(
    ("isError", "message", "time", "system", "format", "failure", "why", "printed", "logLevel")
)
