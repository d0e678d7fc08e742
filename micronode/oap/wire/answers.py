"""The frames that carry an answer: chunks of its body, messages, the error that ends it.

Whether they may be sent is decided by :mod:`micronode.oap.wire.connection`, which calls these.
``specs/oap-1.md`` section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from micronode.oap.wire.compression import Deflate
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.frames import COMP, END, EVENT, RESP, Code, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.streams import Stream


def body_frames(stream: Stream, corr_id: int, data: bytes, step: int, deflate: Deflate | None) -> bytes:
    """Return body bytes as chunks of at most *step*, each compressed where that is worth it."""
    return b"".join(
        _frame(RESP, stream, corr_id, data[at : at + step], deflate) for at in range(0, len(data), step)
    )


def event_frame(stream: Stream, corr_id: int, message: bytes, deflate: Deflate | None) -> bytes:
    """Return one message of a subscription as the one frame it is."""
    return _frame(EVENT, stream, corr_id, message, deflate)


def _frame(flags: int, stream: Stream, corr_id: int, payload: bytes, deflate: Deflate | None) -> bytes:
    packed = None if deflate is None else deflate(payload)
    if packed is not None:
        flags, payload = flags | COMP, packed
    return encode_frame(flags, Code.PARTIAL, stream.app, corr_id, payload, tenant=stream.tenant)


def error_frame(code: ErrorCode, error: Mapping[str, Any], app: int, corr_id: int, tenant: bytes) -> bytes:
    """Return the terminal frame of what failed; ``cancelled`` has no payload."""
    payload = b"" if code is ErrorCode.CANCELLED else dump_object(dict(error))
    return encode_frame(RESP | END, code.status, app, corr_id, payload, tenant=tenant)
