"""The first frame a caller sends. ``specs/oap-1.md`` section 3."""

from __future__ import annotations

import re
from typing import Any

from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.heads import HeadError, parse_object
from micronode.oap.wire.limits import MAX_HEAD_BYTES, MIN_MAX_FRAME_BYTES, VERSION


def parse_hello(payload: bytes) -> dict[str, Any]:
    """Read and check the payload of HELLO; unknown keys are ignored.

    :raises HeadError: ``bad_json``, ``bad_version`` or ``bad_hello``.
    """
    if len(payload) > MAX_HEAD_BYTES:
        raise _bad(f"it is longer than {MAX_HEAD_BYTES} bytes")
    hello = parse_object(payload)
    if not isinstance(hello.get("ua"), str | None):
        raise _bad("'ua' must be a string or null")
    wish = hello.get("max_frame")
    if wish is not None and (not _is_int(wish) or wish < MIN_MAX_FRAME_BYTES):
        raise _bad(f"'max_frame' must be an integer of at least {MIN_MAX_FRAME_BYTES}")
    for key, is_item in (("accept", _is_str), ("ext", _is_str), ("versions", _is_int)):
        items = hello.get(key)
        if items is not None and not (isinstance(items, list) and all(map(is_item, items))):
            raise _bad(f"{key!r} is of the wrong type")
    versions = hello.get("versions")
    if versions is not None and VERSION not in versions:
        raise HeadError(ErrorCode.BAD_VERSION, f"versions [{VERSION}] are spoken")
    prove = hello.get("prove")
    if prove is not None and not _is_nonce(prove):
        raise _bad("'prove' must be 16 or 32 bytes in hex")
    return hello


def _bad(what: str) -> HeadError:
    return HeadError(ErrorCode.BAD_HELLO, f"HELLO is not taken: {what}")


def _is_str(value: object) -> bool:
    return isinstance(value, str)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_nonce(value: object) -> bool:
    return isinstance(value, str) and _NONCE.fullmatch(value) is not None


_NONCE = re.compile("[0-9a-fA-F]{32}(?:[0-9a-fA-F]{32})?")
