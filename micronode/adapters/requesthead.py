"""The head of a request to an owner, and the last gate before it is written.

Whoever makes up a request has quoted and refused already. But what gets past all of them must not become
a second line here: a name that is no token, a value with CR, LF or NUL, a space in a target. And what says
where a request ends, or what becomes of its connection, is said here alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from twisted.web.iweb import UNKNOWN_LENGTH

from micronode.errors import ErrorCode, NodeError

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: As it stands in the request line: visible ASCII without ``#``, which would begin a fragment.
_TARGET: Final = re.compile(rb"/[!\"$-~]*")
#: No control characters but tabs within; what is no ASCII is nobody's business.
_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
#: Fields that are written here or not at all.
CONNECTION_FIELDS: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
#: Methods that mean something without a body, so that none needs to be announced.
_BODILESS: Final = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"))
#: Names that have passed: a node sends few, and looking one up costs a third of matching it.
_passed: Final[set[bytes]] = set()
_PASSED_NAMES: Final = 256


class UnwritableRequestError(NodeError):
    """A request that must not be written, and nothing of it was. It is the node's fault and no owner's.

    :param what: is wrong with it, for whoever looks for the defect; callers are not told.
    """

    def __init__(self, what: str) -> None:
        super().__init__(ErrorCode.INTERNAL, "the node would have made a request that is none")
        self.what = what


def write_request_head(
    method: bytes,
    target: bytes,
    host: bytes,
    fields: Iterable[tuple[bytes, bytes]],
    *,
    length: Any = None,
    keep: bool = True,
) -> bytes:
    """Return the head of a request, with the empty line at its end.

    :param target: path and query, quoted.
    :param host: what ``Host`` says; it comes from configuration and is not looked at.
    :param length: of the body in bytes; ``UNKNOWN_LENGTH``: it goes out in chunks; None: there is none.
    :param keep: whether the connection may be used again.
    :raises UnwritableRequestError: something in it would not stay where it is put.
    """
    bodiless = method in _BODILESS
    if not bodiless and (not _TOKEN.fullmatch(method) or method == b"CONNECT"):
        raise UnwritableRequestError("a method that is none")
    if not _TARGET.fullmatch(target):
        raise UnwritableRequestError("a path that is not quoted")
    lines = [method + b" " + target + b" HTTP/1.1\r\nHost: " + host]
    if not keep:
        lines.append(b"Connection: close")
    if length is UNKNOWN_LENGTH:
        lines.append(b"Transfer-Encoding: chunked")
    elif length is not None:
        lines.append(b"Content-Length: %d" % length)
    elif not bodiless:
        lines.append(b"Content-Length: 0")
    for name, value in fields:
        if name not in _passed:
            _judge_name(name)
        if not _VALUE.fullmatch(value):
            raise UnwritableRequestError("a field whose value is none")
        lines.append(name + b": " + value)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def _judge_name(name: bytes) -> None:
    if not _TOKEN.fullmatch(name):
        raise UnwritableRequestError("a field whose name is none")
    if name.lower() in CONNECTION_FIELDS:
        raise UnwritableRequestError("a field that is the connection's")
    if len(_passed) < _PASSED_NAMES:
        _passed.add(name)
