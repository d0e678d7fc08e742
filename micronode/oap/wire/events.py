"""What a connection tells its shell: one event at a time, past participles, plain values.

Each stream error comes as an event rather than as bytes, because the error object carries a
request id that only the shell knows; the shell answers through the connection's ``send_*``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from micronode.oap.wire.errors import ErrorCode


@dataclass(slots=True)
class HelloReceived:
    """The first frame was a good HELLO; answer it with ``send_hello``."""

    corr_id: int
    hello: dict[str, Any]


@dataclass(slots=True)
class StreamOpened:
    """A START was taken. It is owed exactly one terminal frame.

    ``head`` is the raw JSON: the capability is verified before it is parsed
    (:func:`micronode.oap.wire.heads.parse_call_head`). ``ended``: there is no body.
    """

    corr_id: int
    app: int
    tenant: bytes
    cap: bytes
    head: bytes
    ended: bool
    #: ACK_REQ: the caller wants windows for its bodies.
    windowed: bool
    #: APP_E2E: body chunks are opaque.
    opaque: bool


@dataclass(slots=True)
class BodyReceived:
    """A chunk of an open stream's request body, at most ``max_chunk`` bytes; ``ended`` with the last."""

    corr_id: int
    data: bytes
    ended: bool


@dataclass(slots=True)
class StreamCancelled:
    """The caller cancelled an open stream: abort its call, then ``send_error`` with ``cancelled``."""

    corr_id: int


@dataclass(slots=True)
class StreamFailed:
    """The caller broke an open stream: abort its call, then ``send_error`` with this code."""

    corr_id: int
    code: ErrorCode
    message: str
    #: What the frame was: ``start``, ``data`` or ``end``; for metrics.
    kind: str = field(default="data", compare=False)


@dataclass(slots=True)
class StreamRefused:
    """A frame that opened nothing wants an answer: ``send_refusal``."""

    corr_id: int
    app: int
    tenant: bytes
    code: ErrorCode
    message: str
    #: As StreamFailed has it.
    kind: str = field(default="start", compare=False)


@dataclass(slots=True)
class CreditReceived:
    """The caller took some of an answer: its window has more room."""

    corr_id: int
    up_to: int


@dataclass(slots=True)
class PingReceived:
    """A PING: echo it with ``send_pong``."""

    corr_id: int
    payload: bytes


@dataclass(slots=True)
class FrameIgnored:
    """A frame was dropped, as the protocol says; ``reason`` is from a closed set, for metrics."""

    reason: str
    #: What the frame was: ``event``, or as StreamFailed has it.
    kind: str = field(default="event", compare=False)


@dataclass(slots=True)
class ConnectionFailed:
    """Nothing more can be understood: ``send_failure``, half-close, linger, close."""

    code: ErrorCode
    message: str


Event: TypeAlias = (
    HelloReceived
    | StreamOpened
    | BodyReceived
    | StreamCancelled
    | StreamFailed
    | StreamRefused
    | CreditReceived
    | PingReceived
    | FrameIgnored
    | ConnectionFailed
)
