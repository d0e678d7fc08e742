"""Writes the text of an event stream: values in, bytes out. It never does IO.

WHATWG HTML, "Server-sent events" (https://html.spec.whatwg.org/multipage/server-sent-events.html). A line
there ends in CR, LF or both, an empty one ends an event, and nothing can be escaped: so what stands in a
message is cut into lines of its own, and what stands in an id is refused.
"""

from __future__ import annotations

import re
from typing import Final

EVENT_STREAM: Final = "text/event-stream"
#: Characters of an id: it comes back in a field of a head, which has more to hold.
MAX_EVENT_ID: Final = 1024
#: A comment, which every reader skips: it tells a caller, and all between, that the stream lives.
HEARTBEAT: Final = b": \n\n"
#: What each further line of a message costs.
LINE_BYTES: Final = len(b"data: ")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_ID: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_EVENT_ID}}}")


def event_text(data: bytes, *, event_id: str = "", name: str = "") -> bytes:
    """Return one event; its reader gets *data*, with each of its line ends an LF.

    :param data: UTF-8, not empty.
    :param event_id: visible ASCII, at most :data:`MAX_EVENT_ID`; empty: the one before stays in force.
    :param name: what listeners know it by; empty: ``message``. A constant of ours.
    :raises ValueError: *event_id* cannot be written.
    """
    before = b""
    if event_id:
        if _ID.fullmatch(event_id) is None:
            raise ValueError(f"an event's id is at most {MAX_EVENT_ID} visible ASCII characters")
        before = b"id: %b\n" % event_id.encode("ascii")
    if name:
        before += b"event: %b\n" % name.encode("ascii")
    if b"\n" in data or b"\r" in data:
        data = _LINE_END.sub(b"\ndata: ", data)
    return b"%bdata: %b\n\n" % (before, data)


def retry_text(milliseconds: int) -> bytes:
    """Return the line that tells a reader how long to wait before it connects again."""
    return b"retry: %d\n\n" % milliseconds
