"""The frames that carry an answer: chunks of its body, messages, the error that ends it.

Whether they may be sent is decided by :mod:`micronode.oap.wire.connection`, which calls these.
``specs/oap-1.md`` section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from micronode.oap.wire.compression import Deflate
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.frames import COMP, END, EVENT, HEADER, RESP, START, Code, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.limits import HEADER_BYTES, VERSION
from micronode.oap.wire.stream import Stream

# Looked up once: these run once a frame.
_OK: Final = int(Code.OK)
_PARTIAL: Final = int(Code.PARTIAL)


def answer_frames(
    stream: Stream, corr_id: int, head: bytes, body: bytes, step: int, deflate: Deflate | None
) -> bytes:
    """Return a whole answer: its head, its body as :func:`body_frames` has it, its end."""
    app, tenant, pack = stream.app, stream.tenant, HEADER.pack
    return b"".join(
        (
            pack(HEADER_BYTES + len(head), VERSION, RESP | START, _OK, app, tenant, 0, corr_id),
            head,
            body_frames(stream, corr_id, body, step, deflate),
            pack(HEADER_BYTES, VERSION, RESP | END, _OK, app, tenant, 0, corr_id),
        )
    )


def body_frames(stream: Stream, corr_id: int, data: bytes, step: int, deflate: Deflate | None) -> bytes:
    """Return body bytes as chunks of at most *step*, each compressed where that is worth it."""
    if deflate is None and 0 < len(data) <= step:
        return encode_frame(RESP, _PARTIAL, stream.app, corr_id, data, tenant=stream.tenant)
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
    return encode_frame(flags, _PARTIAL, stream.app, corr_id, payload, tenant=stream.tenant)


def error_frame(code: ErrorCode, error: Mapping[str, Any], app: int, corr_id: int, tenant: bytes) -> bytes:
    """Return the terminal frame of what failed; ``cancelled`` has no payload."""
    payload = b"" if code is ErrorCode.CANCELLED else dump_object(dict(error))
    return encode_frame(RESP | END, code.status, app, corr_id, payload, tenant=tenant)
