"""Reads request heads: bytes in, :class:`RequestHead` or a NodeError out. It never does IO.

Stricter than twisted.web, which takes a missing or second Host, folded lines, ``Transfer-Encoding:
identity`` and TE on HTTP/1.0: whatever two parsers could read differently is refused, and the
connection with it, because after such a head nobody knows where the next request begins
(RFC 9112 section 11.2). The answer does not depend on how the bytes were cut into reads.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from micronode.errors import ErrorCode, NodeError
from micronode.http.limits import MAX_HTTP_FIELDS, MAX_HTTP_HEAD_BYTES

_TCHARS: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rf"({_TCHARS}) ([\x21\x22\x24-\x7e]+) HTTP/([0-9]\.[0-9])")
_FIELD_NAME: Final = re.compile(_TCHARS)
#: What no field value may hold (RFC 9110 section 5.5); lines are cut at CR LF before.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_TCHAR_BYTES: Final = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
#: uri-host [":" port], RFC 9110 section 7.2: a name or IPv4 address, or an IPv6 address in brackets. No name
#: has a comma, though one may: it is what two fields look like that somebody has joined.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ABSOLUTE: Final = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
#: Twenty digits are 10**20: no honest body, and int() stays cheap. Some take a zero in front for octal.
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,18}")
#: Who takes what Connection names for this connection's alone (RFC 9110 section 7.6.1) would pass on another
#: request than the one that was read.
_NOT_OF_A_CONNECTION: Final = frozenset({"content-length", "transfer-encoding", "host"})
#: Fields whose repetition leaves it open which one counts.
_SINGLE: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "content-type",
        "content-encoding",
        "authorization",
        "idempotency-key",
        "x-tenant-id",
        "range",
    }
)


@attrs.frozen(kw_only=True)
class RequestHead:
    """A request's line and fields, checked.

    ``path`` and ``query`` are as the caller sent them, still percent-encoded. Names in ``fields`` are
    lower-case; values of a repeated one are joined by ``", "``, and bytes above 127 are latin-1.
    """

    method: str
    path: str
    query: str
    fields: dict[str, str]
    http11: bool
    #: Whether the caller wants the connection kept.
    keep_alive: bool
    #: Declared length of the body in bytes; None: chunked.
    body_length: int | None
    #: Path and query as one: an empty query differs from none.
    target: str = attrs.field(default="", eq=False, repr=False)

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow."""
        return self.body_length != 0

    @property
    def expects_continue(self) -> bool:
        """Whether the caller waits for ``100 Continue`` before it sends the body."""
        return self.http11 and self.fields.get("expect", "").lower() == "100-continue"


#: Stands in for a head that could not be read, so that its refusal has a request to belong to, and is
#: answered and counted like any other.
UNREADABLE: Final = RequestHead(
    method="", path="", query="", fields={}, http11=True, keep_alive=False, body_length=0
)


def _bad(message: str) -> NodeError:
    return NodeError(ErrorCode.BAD_REQUEST, message)


def _too_large() -> NodeError:
    return NodeError(
        ErrorCode.HEAD_TOO_LARGE,
        f"a request head is at most {MAX_HTTP_HEAD_BYTES} bytes and {MAX_HTTP_FIELDS} fields",
    )


class HeadReader:
    """Finds one head at a time at the front of a growing buffer."""

    __slots__ = ("_blank_seen", "_line", "_line_end", "_scanned")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._line: tuple[str, str, bool] | None = None
        self._line_end = 0
        #: What was searched already: a head that comes byte by byte must not cost its square.
        self._scanned = 0
        self._blank_seen = False

    @property
    def begun(self) -> bool:
        """Whether a head was begun of which nothing need be left in the buffer."""
        return self._blank_seen or self._line is not None

    def unreadable(self) -> RequestHead:
        """Return a head for what could not be read; it has the method, as far as there was one."""
        # An answer to HEAD has no body, whatever is wrong with the rest (RFC 9110 section 9.3.2).
        return UNREADABLE if self._line is None else attrs.evolve(UNREADABLE, method=self._line[0])

    def read(self, buffer: bytearray) -> RequestHead | None:
        """Take one head off the front of *buffer*; None: it is not whole yet.

        :raises NodeError: ``bad_request`` or ``head_too_large``, as early as it is certain. The
            connection is then past saving.
        """
        if self._line is None and not self._read_line(buffer):
            return None
        assert self._line is not None
        end = buffer.find(b"\r\n\r\n", max(self._line_end, self._scanned - 3), MAX_HTTP_HEAD_BYTES)
        if end < 0:
            self._check_unfinished(buffer)
            return None
        head = _make_head(self._line, _parse_fields(buffer[self._line_end + 2 : end].decode("latin-1")))
        del buffer[: end + 4]
        self._reset()
        return head

    def _read_line(self, buffer: bytearray) -> bool:
        # One empty line before a request is forgiven (RFC 9112 section 2.2).
        if not self._blank_seen and buffer.startswith(b"\r\n"):
            del buffer[:2]
            self._blank_seen = True
            self._scanned = 0
        if buffer and buffer[0] not in _TCHAR_BYTES and (buffer != b"\r" or self._blank_seen):
            raise _bad("this is not an HTTP request")
        end = buffer.find(b"\r\n", max(0, self._scanned - 1), MAX_HTTP_HEAD_BYTES)
        if end < 0:
            self._check_unfinished(buffer)
            return False
        self._line = _parse_line(buffer[:end].decode("latin-1"))
        self._line_end = self._scanned = end
        return True

    def _check_unfinished(self, buffer: bytearray) -> None:
        if _BARE_LF.search(buffer, self._scanned, MAX_HTTP_HEAD_BYTES):
            raise _bad("lines end in CR LF")
        if len(buffer) >= MAX_HTTP_HEAD_BYTES:
            raise _too_large()
        self._scanned = len(buffer)


def _parse_line(line: str) -> tuple[str, str, bool]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _bad("malformed request line")
    method, target, version = match.groups()
    if version not in ("1.1", "1.0"):
        raise _bad("only HTTP/1.1 and HTTP/1.0 are served here")
    return method, target, version == "1.1"


def _parse_fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if not block:
        return fields
    # All of the block's control characters before its size, as when it arrives byte by byte.
    if _CONTROL.search(block.replace("\r\n", "")):
        raise _bad("a header field holds a control character")
    lines = block.split("\r\n")
    if len(lines) > MAX_HTTP_FIELDS:
        raise _too_large()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or _FIELD_NAME.fullmatch(name) is None:
            # Folded lines (RFC 9112 section 5.2) end here too: they begin with white space.
            raise _bad("malformed header field")
        name = name.lower()
        value = value.strip(" \t")
        if name in fields:
            if name in _SINGLE:
                raise _bad(f"header field {name} is repeated")
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return fields


def _make_head(line: tuple[str, str, bool], fields: dict[str, str]) -> RequestHead:
    method, target, http11 = line
    host = fields.get("host")
    if host is None:
        if http11:
            raise _bad("an HTTP/1.1 request needs a Host")
    elif _HOST.fullmatch(host) is None:
        raise _bad("malformed Host")
    target = _origin_form(method, target, host)
    path, _, query = target.partition("?")
    # RFC 9112 section 9.3; HTTP/1.0 connections are never kept, its keep-alive never had a standard.
    keep_alive = http11
    if "connection" in fields:
        # Not strip() alone: what it takes for white space is not all HTTP's.
        options = {each.strip(" \t") for each in fields["connection"].lower().split(",")}
        if not options.isdisjoint(_NOT_OF_A_CONNECTION):
            raise _bad("Connection names a field that says where a request ends or goes")
        keep_alive = http11 and "close" not in options
    if "expect" in fields and fields["expect"].lower() != "100-continue":
        # Whether it is one that the next reader knows decides who waits for whom (RFC 9110 section 10.1.1).
        raise NodeError(ErrorCode.EXPECTATION_FAILED, "Expect may say 100-continue, and nothing else")
    return RequestHead(
        method=method,
        path=path,
        query=query,
        fields=fields,
        http11=http11,
        keep_alive=keep_alive,
        body_length=_body_length(fields, http11),
        target=target,
    )


def _origin_form(method: str, target: str, host: str | None) -> str:
    if method == "CONNECT":
        raise _bad("no tunnels are served here")
    if target[0] != "/":
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise _bad("the request target must be a path")
        authority, target = absolute.groups()
        if host is None or authority.lower() != host.lower():
            raise _bad("the request target names another host than Host")
        if not target.startswith("/"):
            target = f"/{target}"
    return target


def _body_length(fields: dict[str, str], http11: bool) -> int | None:
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None:
        if not http11 or length is not None or coding.lower() != "chunked":
            raise _bad("Transfer-Encoding must be chunked alone, on HTTP/1.1, without Content-Length")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise _bad("malformed Content-Length")
    return int(length)
