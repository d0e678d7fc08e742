"""Reads ``specs/oap_vectors.json`` and plays its sessions against the sans-IO core."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from micronode.oap.compression import make_inflate
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode, error_object
from micronode.oap.wire.events import (
    BodyReceived,
    ConnectionFailed,
    CreditReceived,
    Event,
    FrameIgnored,
    HelloReceived,
    PingReceived,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)

VECTORS = Path(__file__).resolve().parents[2] / "specs" / "oap_vectors.json"

Vector = dict[str, Any]


@cache
def document() -> dict[str, Any]:
    """Return the whole file."""
    return json.loads(VECTORS.read_text("utf-8"))


def family(name: str) -> list[Vector]:
    """Return the vectors of a family: ``frame``, ``decode_error``, ``session``, ``flow``, ``compression``."""
    return [vector for vector in document()["vectors"] if vector["family"] == name]


def sessions() -> list[Vector]:
    """Return the vectors that can be played, of all families."""
    return [vector for vector in document()["vectors"] if vector.get("kind") == "session"]


def named(name: str) -> Vector:
    """Return one vector."""
    [vector] = [vector for vector in document()["vectors"] if vector["name"] == name]
    return vector


def cuts(data: bytes, *, most: int = 400) -> list[int]:
    """Return every position to cut *data* at; of long data the first and last ones and some between."""
    if len(data) <= most:
        return list(range(len(data) + 1))
    half = most // 2
    between = range(half, len(data) - half, max(1, len(data) // 50))
    return [*range(half), *between, *range(len(data) - half, len(data) + 1)]


def as_json(event: Event) -> Vector:
    """Return *event* as the vectors write it."""
    match event:
        case HelloReceived():
            return {"event": "hello", "corr_id": str(event.corr_id)}
        case StreamOpened():
            return {
                "event": "opened",
                "corr_id": str(event.corr_id),
                "app_proto_id": event.app,
                "tenant_id": event.tenant.hex(),
                "cap": event.cap.hex(),
                "head": event.head.hex(),
                "ended": event.ended,
                "windowed": event.windowed,
                "opaque": event.opaque,
            }
        case BodyReceived():
            return {
                "event": "body",
                "corr_id": str(event.corr_id),
                "data": event.data.hex(),
                "ended": event.ended,
            }
        case StreamCancelled():
            return {"event": "cancelled", "corr_id": str(event.corr_id)}
        case StreamFailed():
            return {"event": "failed", "corr_id": str(event.corr_id), "error": event.code.value}
        case StreamRefused():
            return {
                "event": "refused",
                "corr_id": str(event.corr_id),
                "app_proto_id": event.app,
                "tenant_id": event.tenant.hex(),
                "error": event.code.value,
            }
        case CreditReceived():
            return {"event": "credit", "corr_id": str(event.corr_id), "up_to": event.up_to}
        case PingReceived():
            return {"event": "ping", "corr_id": str(event.corr_id), "payload": event.payload.hex()}
        case FrameIgnored():
            return {"event": "ignored", "reason": event.reason}
        case ConnectionFailed():
            return {"event": "connection_failed", "error": event.code.value}
    raise AssertionError(event)


class Playback:
    """The node of the vectors: it answers at once what it can, and else what the script says."""

    def __init__(self, vector: Vector) -> None:
        self.node = NodeConnection(**vector["limits"], inflate=make_inflate())
        self.events: list[Vector] = []
        self.output: list[bytes] = []
        self._held = frozenset(vector["held"])
        self._script = vector["script"]

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Let the caller's bytes come in these pieces."""
        for piece in pieces:
            for event in self.node.receive(piece):
                self._on_event(event)

    def _on_event(self, event: Event) -> None:
        number = len(self.events)
        self.events.append(as_json(event))
        if number not in self._held:
            self.output.append(self._answer(event))
        self.output.append(self.node.credits())
        for verb, *words in self._script.get(str(number), ()):
            self.output.append(self._say(verb, words))

    def _answer(self, event: Event) -> bytes:
        node = self.node
        match event:
            case HelloReceived():
                return node.send_hello(event, document()["hello_reply"])
            case StreamCancelled():
                return node.send_error(event.corr_id, ErrorCode.CANCELLED, {})
            case StreamFailed():
                return node.send_error(event.corr_id, event.code, self._error(event.code, event.corr_id))
            case StreamRefused():
                return node.send_refusal(event, self._error(event.code, event.corr_id))
            case PingReceived():
                return node.send_pong(event)
            case ConnectionFailed():
                return node.send_failure(event, self._error(event.code, None))
        return b""

    def _say(self, verb: str, words: list[Any]) -> bytes:
        node = self.node
        if verb == "head":
            corr_id, head, ended = words
            return node.send_head(corr_id, head, ended=ended)
        if verb == "body":
            return node.send_body(words[0], bytes.fromhex(words[1]))
        if verb == "event":
            return node.send_event(words[0], bytes.fromhex(words[1]))
        if verb == "end":
            return node.send_end(words[0])
        if verb == "taken":
            node.taken(words[0], words[1])
            return node.credits()
        if verb == "goaway":
            return node.send_goaway(words[0])
        corr_id, code = words[0], ErrorCode(words[1])
        return node.send_error(corr_id, code, self._error(code, corr_id))

    @staticmethod
    def _error(code: ErrorCode, corr_id: int | None) -> Mapping[str, Any]:
        # The message is free text, so the vectors have the name in its place.
        return error_object(code, code.value, request_id=document()["request_id"], corr_id=corr_id)


def play(vector: Vector, pieces: Iterable[bytes]) -> Playback:
    """Return the playback of a session whose caller's bytes come in *pieces*."""
    playback = Playback(vector)
    playback.feed(pieces)
    return playback
