"""HTTP's ``Range``, ``If-None-Match`` and ``If-Range`` for content-addressed objects (RFC 9110).

An object's entity tag is its address, so what a caller sends is decided here and rewritten: an owner
only ever sees one well-formed range, or the object's own tag.
"""

from __future__ import annotations

import re
from typing import Final

_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))", re.IGNORECASE | re.ASCII)
_CONTENT_RANGE: Final = re.compile(
    r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)", re.IGNORECASE | re.ASCII
)
_UNSATISFIED: Final = re.compile(r"bytes \*/([0-9]{1,18})", re.IGNORECASE | re.ASCII)


def single_range(text: str | None) -> str | None:
    """Return the one range that *text* asks for, in plain form.

    None where there is none, several, or what is not a range: such a header is ignored, and the whole
    object is the right answer.
    """
    found = _RANGE.fullmatch(text.strip()) if text is not None else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return f"bytes=-{int(suffix)}"
    if last is None:
        return f"bytes={int(first)}-"
    return f"bytes={int(first)}-{int(last)}" if int(first) <= int(last) else None


def names_tag(text: str | None, tag: str) -> bool:
    """Whether the If-None-Match *text* names the entity tag *tag* (quotes included), or ``*``."""
    if text is None:
        return False
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in text.split(","))


def part_matches(asked: str, given: str | None, length: int | None) -> bool:
    """Whether the Content-Range *given* is an answer to the range *asked*, of *length* bytes.

    :param asked: as :func:`single_range` returns it.
    """
    found = _CONTENT_RANGE.fullmatch(given) if given is not None else None
    if found is None:
        return False
    first, last = int(found[1]), int(found[2])
    if first > last or (length is not None and length != last - first + 1):
        return False
    from_, _, to = asked.removeprefix("bytes=").partition("-")
    if not from_:
        return last - first + 1 <= int(to)
    return first == int(from_) and (not to or last <= int(to))


def object_size(content_range: str | None) -> int | None:
    """Return the size that an answer 416 tells."""
    found = _UNSATISFIED.fullmatch(content_range) if content_range is not None else None
    return int(found[1]) if found is not None else None
