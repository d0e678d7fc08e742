"""What a node's answer to HELLO says of its limits, read by a caller. ``specs/oap-1.md`` section 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from micronode.oap.wire.decoder import FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.frames import ACK_REQ
from micronode.oap.wire.limits import (
    CONNECTION_WINDOW_BYTES,
    HEADER_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_INFLIGHT,
    MIN_MAX_FRAME_BYTES,
    STREAM_WINDOW_BYTES,
)


@dataclass(frozen=True, slots=True)
class Agreed:
    """The limits of a connection, as its node stated them.

    :ivar windowed: whether the node takes streams with windows.
    """

    max_frame: int
    max_chunk: int
    max_inflight: int
    ack_window: int
    conn_window: int
    windowed: bool


def read_limits(reply: Mapping[str, Any]) -> Agreed:
    """Read the limits in a node's answer to HELLO; what is missing has its default.

    A window bounds what we hold of an answer, so it is not the node's to raise without end.

    :raises FrameError: ``bad_hello``.
    """
    max_frame = reply.get("max_frame", MAX_FRAME_BYTES)
    max_chunk = reply.get("max_chunk", MIN_MAX_FRAME_BYTES - HEADER_BYTES)
    max_inflight = reply.get("max_inflight", MAX_INFLIGHT)
    ack_window = reply.get("ack_window", STREAM_WINDOW_BYTES)
    conn_window = reply.get("conn_window", CONNECTION_WINDOW_BYTES)
    flags = reply.get("flags_supported", 0)
    if not all(map(is_count, (max_frame, max_chunk, max_inflight, ack_window, conn_window, flags))):
        raise FrameError(ErrorCode.BAD_HELLO, "a limit in the node's reply is no number")
    least = min(max_chunk, max_inflight, ack_window, conn_window)
    wide = ack_window > MAX_FRAME_BYTES
    if not MIN_MAX_FRAME_BYTES <= max_frame <= MAX_FRAME_BYTES or least < 1 or wide:
        raise FrameError(ErrorCode.BAD_HELLO, "a limit in the node's reply is out of range")
    return Agreed(
        max_frame=max_frame,
        max_chunk=min(max_chunk, MAX_CHUNK_BYTES, max_frame - HEADER_BYTES),
        max_inflight=max_inflight,
        ack_window=ack_window,
        conn_window=conn_window,
        windowed=flags & ACK_REQ != 0,
    )


def is_count(value: object) -> bool:
    """Whether *value* is a whole number that is not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
