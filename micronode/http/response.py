"""Writes response heads and error bodies: values in, bytes out. It never does IO.

What every answer carries stands here once: no banner, nothing a browser could sniff or embed, the
request's id, and no caching of errors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from random import random
from typing import Any, Final

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError, http_status
from micronode.oap.wire.jsontext import make_encoder

JSON: Final = "application/json"
#: Statuses whose answers have no body (RFC 9110 section 6.4.1).
BODILESS: Final = frozenset({204, 304})
_json: Final = make_encoder(ascii_only=True)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus if status >= 200
}
_ALWAYS: Final = "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"
#: Fields that are this module's to write; an operation's own are dropped.
_OURS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "cross-origin-resource-policy",
        "date",
        "keep-alive",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-content-type-options",
        "x-request-id",
    }
)


class DateField:
    """The ``Date`` line, made once a second.

    :param wall: returns unix time in seconds.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._second = -1
        self._line = ""

    def __call__(self) -> str:
        """Return the line, with its end."""
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self._line = f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._line


def head_bytes(
    head: ResponseHead, *, date: str, request_id: str, chunked: bool = False, close: bool = False
) -> bytes:
    """Return *head* as it goes out.

    :param chunked: the body is sent in chunks; else by its length, or up to the connection's end.
    :raises ValueError: for what an owner must not write into our head: a value that would end its line; a
        status that announces another answer (1xx) or is none; a length below 0.
    """
    status = head.status
    if not 200 <= status <= 599 or (head.length or 0) < 0:
        raise ValueError("status or length cannot be written")
    pairs = [(name, value) for name, value in head.headers if name.lower() not in _OURS]
    for name, value in (
        ("Content-Range", head.range),
        ("ETag", head.etag),
        ("Content-Type", head.content_type),
    ):
        if value is not None:
            pairs.append((name, value))
    fields = ""
    for name, value in pairs:
        if _CONTROL.search(value) or _NAME.fullmatch(name) is None:
            raise ValueError("a response field cannot be written")
        fields += f"{name}: {value}\r\n"
    if chunked:
        fields += "Transfer-Encoding: chunked\r\n"
    elif head.length is not None and status not in BODILESS:
        fields += f"Content-Length: {head.length}\r\n"
    if close:
        fields += "Connection: close\r\n"
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
    text = f"{line}{date}{fields}{_ALWAYS}X-Request-ID: {request_id}\r\n\r\n"
    # An owner's field may hold bytes that are no UTF-8; they stay what they are.
    return text.encode("utf-8", "surrogateescape")


def json_bytes(value: Any) -> bytes:
    """Return *value* as compact JSON, ending in a newline for people with curl."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


#: Errors whose time to come back is the very one at which it may go well; that of others is a spread guess.
_EXACT: Final = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.OWNER_UNAVAILABLE})


def whole_seconds(error: NodeError, retry_after_ms: int, chance: Callable[[], float] = random) -> int:
    """Return *retry_after_ms* of *error* in whole seconds, as ``Retry-After`` wants them; 1 at least.

    Rounded up where an earlier call would fail as well. Else up or down by chance, so that the mean is what
    it was: rounded up, all that is just above a second would be two, for everybody.

    :param chance: 0 to 1.
    """
    if error.code in _EXACT:
        return math.ceil(retry_after_ms / 1000)
    return max(1, math.floor(retry_after_ms / 1000 + chance()))


def error_parts(error: NodeError, *, request_id: str) -> tuple[ResponseHead, bytes]:
    """Return head and body of the answer that tells *error*.

    An error may bring fields of its own (``Allow``) as ``headers``: pairs, as in ResponseHead; and members
    beside those of every error as ``details``.
    """
    told = error.as_object(request_id=request_id)
    if error.details:
        told = told | {name: each for name, each in error.details.items() if name not in told}
    body = _json(told).encode() + b"\n"
    headers: tuple[tuple[str, str], ...] = (("Cache-Control", "no-store"), *error.headers)
    if error.retry_after_ms is not None and error.code.waits:
        headers = (*headers, ("Retry-After", str(whole_seconds(error, error.retry_after_ms))))
    head = ResponseHead(status=http_status(error.code), content_type=JSON, length=len(body), headers=headers)
    return head, body
