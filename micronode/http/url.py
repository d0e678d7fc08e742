"""Reads the percent-encoded parts of a URL, strictly and once.

Whatever is decoded here is never decoded again, and was not decoded before: a path is matched raw.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from micronode.errors import ErrorCode, NodeError
from micronode.http.limits import MAX_QUERY_PARAMETERS

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: Where tokens end up in logs, histories and Referer: never accepted (the header Authorization is).
_TOKEN_PARAMETERS: Final = frozenset({"access_token", "token", "cap", "macaroon"})


def decode(text: str, *, what: str) -> str:
    """Return *text* with its escapes decoded once, as UTF-8.

    :param what: names the part in the error.
    :raises NodeError: ``bad_request`` for a broken escape, bytes that are not UTF-8, or ``%00``.
    """
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise NodeError(ErrorCode.BAD_REQUEST, f"broken percent escape in {what}")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise NodeError(ErrorCode.BAD_REQUEST, f"{what} is not UTF-8") from None
    if "\0" in decoded:
        raise NodeError(ErrorCode.BAD_REQUEST, f"{what} holds a NUL")
    return decoded


def decode_segment(segment: str) -> str:
    """Return the value of one path segment; an escaped ``/`` stays part of it.

    :raises NodeError: as :func:`decode`; also for ``.`` and ``..``, which the next parser may resolve.
    """
    value = decode(segment, what="the path")
    if value in (".", ".."):
        raise NodeError(ErrorCode.BAD_REQUEST, "the path holds a dot segment")
    return value


def refuse_tokens(query: str) -> None:
    """Look for a token in a *query* that is passed on as it is, whatever it is made of.

    :raises NodeError: ``bad_request`` for a parameter with the name of one.
    """
    if not query:
        return
    for pair in query.split("&"):
        name = unquote_to_bytes(pair.partition("=")[0]).decode("latin-1")
        if name.lower() in _TOKEN_PARAMETERS:
            raise _is_token(name)


def _is_token(name: str) -> NodeError:
    return NodeError(
        ErrorCode.BAD_REQUEST, f"query parameter {name!r}: send the token in the Authorization header"
    )


def parse_query(query: str) -> dict[str, list[str]]:
    """Return the parameters of *query*: name -> values in order; ``+`` is a space.

    :raises NodeError: as :func:`decode`; ``bad_request`` also for a token in the query.
    """
    parameters: dict[str, list[str]] = {}
    if not query:
        return parameters
    pairs = query.split("&")
    if len(pairs) > MAX_QUERY_PARAMETERS:
        raise NodeError(ErrorCode.BAD_REQUEST, f"more than {MAX_QUERY_PARAMETERS} query parameters")
    for pair in pairs:
        if not pair:
            continue
        name, _, value = pair.replace("+", " ").partition("=")
        name = decode(name, what="the query")
        if name.lower() in _TOKEN_PARAMETERS:
            raise _is_token(name)
        parameters.setdefault(name, []).append(decode(value, what="the query"))
    return parameters
