"""A reader of server-sent events, step by step as WHATWG HTML, section 9.2.6, interprets a stream."""

from __future__ import annotations

import attrs


@attrs.frozen
class Event:
    """One event as a listener gets it."""

    type: str
    data: str
    last_event_id: str


class EventReader:
    """Takes a stream as it comes, in pieces of any size.

    :ivar events: what was dispatched.
    :ivar comments: how many comment lines there were.
    :ivar last_event_id: what a next request would say in ``Last-Event-ID``.
    :ivar retry_ms: what the stream set the reconnection time to; None: it did not.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.comments = 0
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._buffer = b""
        self._begun = False
        self._data: list[str] = []
        self._type = ""
        self._id = ""

    def feed(self, piece: bytes) -> None:
        """Take *piece*. A line counts when its end is certain: an LF may follow a CR."""
        self._buffer += piece
        while True:
            ends = [at for at in (self._buffer.find(b"\n"), self._buffer.find(b"\r")) if at >= 0]
            if not ends:
                return
            end = min(ends)
            width = 1
            if self._buffer[end : end + 1] == b"\r":
                if end + 1 == len(self._buffer):
                    return
                width = 2 if self._buffer[end + 1 : end + 2] == b"\n" else 1
            line, self._buffer = self._buffer[:end], self._buffer[end + width :]
            text = line.decode("utf-8", "replace")
            if not self._begun:
                self._begun = True
                text = text.removeprefix("\ufeff")
            self._line(text)

    @property
    def messages(self) -> list[str]:
        """The data of the events of type ``message``."""
        return [event.data for event in self.events if event.type == "message"]

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
        elif line.startswith(":"):
            self.comments += 1
        else:
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        data, kind = "\n".join(self._data), self._type or "message"
        there = bool(self._data)
        self._data, self._type = [], ""
        if there:
            self.events.append(Event(kind, data, self.last_event_id))
