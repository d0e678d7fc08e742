"""What happens to a caller's connection: the events of :mod:`micronode.oap.wire.caller`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from micronode.oap.wire.events import ConnectionFailed, FrameIgnored


@dataclass(slots=True)
class HelloAnswered:
    """The node has taken our HELLO; calls may be opened."""

    reply: dict[str, Any]


@dataclass(slots=True)
class HeadReceived:
    """An answer began; with ``ended`` it has no body and is over."""

    corr_id: int
    head: dict[str, Any]
    ended: bool


@dataclass(slots=True)
class ChunkReceived:
    """Body bytes of an answer; with ``ended`` they are the last."""

    corr_id: int
    data: bytes
    ended: bool


@dataclass(slots=True)
class MessageReceived:
    """One message of a subscription: the JSON as it came, inflated."""

    corr_id: int
    data: bytes


@dataclass(slots=True)
class CallFailed:
    """A stream ended with an error: ``code`` is its status, ``error`` its error object (or empty)."""

    corr_id: int
    code: int
    error: dict[str, Any]


@dataclass(slots=True)
class CreditGranted:
    """More of a request's body may be sent: of a stream, or (``corr_id`` 0) of all."""

    corr_id: int


@dataclass(slots=True)
class NodePinged:
    """The node asks whether we are there: echo it with ``pong``."""

    corr_id: int
    payload: bytes


@dataclass(slots=True)
class GoawayReceived:
    """The node takes no new streams; the open ones finish.

    ``last_corr_id`` is the highest it took, where it says so: what was opened above it was not looked at.
    """

    retry_after_ms: int | None
    last_corr_id: int | None = None


@dataclass(slots=True)
class NodeFailed:
    """The node found a connection error on our side and closes."""

    code: int
    error: dict[str, Any]


CallerEvent: TypeAlias = (
    HelloAnswered
    | HeadReceived
    | ChunkReceived
    | MessageReceived
    | CallFailed
    | CreditGranted
    | NodePinged
    | GoawayReceived
    | NodeFailed
    | FrameIgnored
    | ConnectionFailed
)
