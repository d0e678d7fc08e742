"""What a caller asks: the head of a request and its capability, as bytes within their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.limits import MAX_CAP_BYTES, MAX_HEAD_BYTES


def encode_request(head: Mapping[str, Any], cap: bytes) -> bytes:
    """Return the payload of a START.

    :raises ValueError: *head* is no JSON, or one of both is over its limit.
    """
    try:
        payload = dump_object(dict(head))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the arguments are no JSON: {error}") from None
    if len(payload) > MAX_HEAD_BYTES:
        raise ValueError(f"the head is {len(payload)} bytes; at most {MAX_HEAD_BYTES} are taken")
    if len(cap) > MAX_CAP_BYTES:
        raise ValueError(f"the capability is {len(cap)} bytes; at most {MAX_CAP_BYTES} are taken")
    return payload
