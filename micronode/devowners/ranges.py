"""One byte range of ``Range: bytes=…`` (RFC 9110, section 14), and entity tags in conditions."""

from __future__ import annotations

import re
from typing import Final

#: Digits enough for any object; int() of a longer text would cost more than it is worth.
_ONE_RANGE: Final = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


class RangeError(Exception):
    """The range lies outside the object."""


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Return the (start, end) that a Range field asks of *size* bytes, end exclusive; None: the whole.

    What is no valid single range is ignored, as the RFC allows.

    :raises RangeError: it begins after the end, or asks for the last 0 bytes.
    """
    match = _ONE_RANGE.fullmatch(text) if text is not None else None
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= end:
        raise RangeError
    return start, end


def names_tag(text: str | None, etag: str) -> bool:
    """Return whether an If-None-Match field names *etag* (weakly compared) or any (``*``)."""
    if text is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in text.split(",")]
    return etag in given or given == ["*"]
