"""What a call carries beside its arguments, judged by the same rules through both doors."""

from __future__ import annotations

import os
import re
from typing import Final

from micronode.errors import ErrorCode, NodeError

#: W3C trace context, level 1: version, trace id, parent id, flags; neither id all zero.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_ID_BYTES: Final = 12
#: Ids that nobody has yet, so many at a time: asking the kernel costs the same for one as for all of them.
_AT_A_TIME: Final = 128
_fresh: Final[list[str]] = []
# Else both processes would have them.
os.register_at_fork(after_in_child=_fresh.clear)


def fresh_request_id() -> str:
    """Return an id that no other request has."""
    if not _fresh:
        text, digits = os.urandom(_AT_A_TIME * _ID_BYTES).hex(), 2 * _ID_BYTES
        _fresh.extend(text[at : at + digits] for at in range(0, len(text), digits))
    return _fresh.pop()


def read_traceparent(text: str | None) -> str | None:
    """Return *text* if it is a trace context, else None: a broken one starts a new trace, it is no error."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


def check_idempotency_key(text: str | None, name: str) -> str | None:
    """Return *text*.

    :param name: what the caller knows it by, for the error.
    :raises NodeError: ``bad_request``, where it is no key.
    """
    if text is not None and not _IDEMPOTENCY_KEY.fullmatch(text):
        raise NodeError(ErrorCode.BAD_REQUEST, f"{name} must be 1 to 255 visible ASCII characters")
    return text
