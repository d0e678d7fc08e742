"""The builder of session vectors: what a caller says, what a node must make of it and answer.

Nothing here comes from the package: it is the specification a second time, small enough to be
checked by eye.
"""

from __future__ import annotations

from typing import Any

from tests.support.vector_frames import COMP, END, EVENT, RESP, START, Vector, compact, frame

#: What the node of the vectors says of itself in its answer to HELLO, beside its limits.
HELLO_REPLY = {"flags_supported": 255, "versions": [1], "transports": ["tcp"], "server": "micronode/vector"}
REQUEST_ID = "vector"
GET, MEDIA, FEED, SEARCH = b'{"op":"get","args":{}}', 0x0101, 0x0201, 0x0402

_STATUS = {
    "bad_request": 400,
    "bad_hello": 400,
    "bad_sequence": 400,
    "bad_json": 400,
    "bad_flags": 400,
    "bad_version": 400,
    "bad_length": 400,
    "cap_on_non_start": 400,
    "bad_compression": 400,
    "credit_violation": 400,
    "not_found": 404,
    "conflict": 409,
    "frame_too_large": 413,
    "head_too_large": 413,
    "chunk_too_large": 413,
    "cap_too_large": 413,
    "decompress_cap": 413,
    "busy": 429,
    "cancelled": 499,
    "draining": 503,
}


class Session:
    """One vector in the making: each caller's frame with the one event and the answers it gives.

    The node answers HELLO, refusals, failures, cancels and PING at once (unless an event is
    *held*); everything else it says stands in the vector's ``script``.
    """

    def __init__(self, name: str, about: str, **limits: int) -> None:
        self._vector: Vector = {"name": name, "kind": "session", "about": about, "limits": limits}
        self._max_frame = limits.get("max_frame", 1 << 20)
        self._max_chunk = min(limits.get("max_chunk", 1 << 16), self._max_frame - 38)
        self._max_inflight = limits.get("max_inflight", 64)
        self._caller: list[bytes] = []
        self._node: list[bytes] = []
        self._events: list[Vector] = []
        self._held: list[int] = []
        self._script: dict[str, list[list[Any]]] = {}
        #: corr_id -> app and tenant of the open streams.
        self._streams: dict[int, tuple[int, int]] = {}

    def vector(self) -> Vector:
        """Return the finished vector."""
        return self._vector | {
            "caller": [data.hex() for data in self._caller],
            "events": self._events,
            "held": self._held,
            "script": self._script,
            "node": [data.hex() for data in self._node],
        }

    # What the caller says, and what comes of it

    def raw(self, data: bytes) -> None:
        """Let the caller say bytes that make no event."""
        self._caller.append(data)

    def hello(
        self, payload: bytes = b'{"ua":null}', *, flags: int = 1, corr_id: int = 1, **more: Any
    ) -> None:
        """Let the caller say a good HELLO; *more*: its wish for ``max_frame``, fields of the frame."""
        wish = more.pop("wish", self._max_frame)
        self._max_frame = min(self._max_frame, wish)
        self._max_chunk = min(self._max_chunk, self._max_frame - 38)
        self._took(frame(flags, 0, 0, corr_id, payload, **more), "hello", corr_id=str(corr_id))
        limits = {"max_frame": self._max_frame, "max_inflight": self._max_inflight}
        reply = compact({**limits, **HELLO_REPLY, "max_chunk": self._max_chunk})
        self._node.append(frame(RESP, 200, 0, corr_id, reply))

    def opens(
        self,
        flags: int,
        app: int,
        corr_id: int,
        head: bytes = GET,
        *,
        tenant: int = 0,
        cap: bytes = b"",
        payload: bytes | None = None,
    ) -> None:
        """Let the caller open a stream; *payload*: *head*, compressed."""
        self._streams[corr_id] = app, tenant
        said = flags if payload is None else flags | COMP
        self._took(
            frame(said, 0, app, corr_id, head if payload is None else payload, tenant=tenant, cap=cap),
            "opened",
            corr_id=str(corr_id),
            app_proto_id=app,
            tenant_id=f"{tenant:032x}",
            cap=cap.hex(),
            head=head.hex(),
            ended=bool(flags & END),
            windowed=bool(flags & 32),
            opaque=bool(flags & 128),
        )

    def body(self, flags: int, corr_id: int, data: bytes = b"", *, payload: bytes | None = None) -> None:
        """Let the caller send a chunk that is taken; *payload*: *data*, compressed."""
        app, tenant = self._streams[corr_id]
        said = frame(flags, 0, app, corr_id, data if payload is None else payload, tenant=tenant)
        self._took(said, "body", corr_id=str(corr_id), data=data.hex(), ended=bool(flags & END))

    def cancels(
        self, corr_id: int, *, flags: int = 1 | END, payload: bytes = b"", hold: bool = False
    ) -> None:
        """Let the caller cancel an open stream."""
        app, tenant = self._streams[corr_id]
        said = frame(flags, 499, app, corr_id, payload, tenant=tenant)
        self._took(said, "cancelled", corr_id=str(corr_id))
        self._answer("cancelled", corr_id, hold)

    def breaks(self, said: bytes, corr_id: int, error: str, *, hold: bool = False) -> None:
        """Let the caller break an open stream."""
        self._took(said, "failed", corr_id=str(corr_id), error=error)
        self._answer(error, corr_id, hold)

    def refused(self, said: bytes, error: str) -> None:
        """Let the caller say a frame that opens nothing and is answered."""
        app, tenant, corr_id = (int.from_bytes(said[a:b], "big") for a, b in ((10, 12), (12, 28), (30, 38)))
        self._took(
            said,
            "refused",
            corr_id=str(corr_id),
            app_proto_id=app,
            tenant_id=f"{tenant:032x}",
            error=error,
        )
        self._node.append(_error(error, app, corr_id, tenant))

    def ignored(self, said: bytes, reason: str) -> None:
        """Let the caller say a frame that is dropped and counted."""
        self._took(said, "ignored", reason=reason)

    def credited(self, said: bytes, corr_id: int, up_to: int) -> None:
        """Let the caller say a CREDIT that is taken."""
        self._took(said, "credit", corr_id=str(corr_id), up_to=up_to)

    def pings(self, payload: bytes, corr_id: int = 0) -> None:
        """Let the caller PING."""
        said = frame(EVENT, 102, 0, corr_id, payload)
        self._took(said, "ping", corr_id=str(corr_id), payload=payload.hex())
        self._node.append(frame(EVENT, 200, 0, corr_id, payload))

    def dies(self, said: bytes, error: str) -> None:
        """Let the caller say what ends the connection."""
        self._took(said, "connection_failed", error=error)
        self._node.append(_error(error, 0, 0, 0, connection=True))

    # What the node says beside that, after the event that came last

    def head(self, corr_id: int, head: dict[str, Any], *, ended: bool = False) -> None:
        """Let the node begin an answer."""
        self._says("head", corr_id, head, ended)
        self._send(RESP | START | (END if ended else 0), 200, corr_id, compact(head), over=ended)

    def sends(self, corr_id: int, data: bytes) -> None:
        """Let the node send body bytes."""
        self._says("body", corr_id, data.hex())
        for at in range(0, len(data), self._max_chunk):
            self._send(RESP, 206, corr_id, data[at : at + self._max_chunk])

    def tells(self, corr_id: int, message: bytes) -> None:
        """Let the node send a message of a subscription."""
        self._says("event", corr_id, message.hex())
        self._send(EVENT, 206, corr_id, message)

    def takes(self, corr_id: int, size: int, *credit: tuple[int, int]) -> None:
        """Let the node's owner take body bytes; *credit*: the CREDITs that this makes due."""
        self._says("taken", corr_id, size)
        for each in credit:
            self.credit(*each)

    def credit(self, corr_id: int, up_to: int) -> None:
        """Let the node say the CREDIT that is due by now."""
        self._node.append(frame(EVENT, 100, 0, corr_id, up_to.to_bytes(8, "big")))

    def ends(self, corr_id: int) -> None:
        """Let the node end an answer."""
        self._says("end", corr_id)
        self._send(RESP | END, 200, corr_id, over=True)

    def fails(self, corr_id: int, error: str) -> None:
        """Let the node end a stream with an error."""
        self._says("error", corr_id, error)
        self._node.append(_error(error, self._streams[corr_id][0], corr_id, self._streams.pop(corr_id)[1]))

    def leaves(self, retry_after_ms: int, last: int) -> None:
        """Let the node say GOAWAY."""
        self._says("goaway", retry_after_ms)
        payload = compact({"retry_after_ms": retry_after_ms, "last_corr_id": str(last)})
        self._node.append(frame(EVENT, 503, 0, 0, payload))

    def _took(self, said: bytes, event: str, **fields: Any) -> None:
        self._caller.append(said)
        self._events.append({"event": event, **fields})

    def _says(self, *words: Any) -> None:
        self._script.setdefault(str(len(self._events) - 1), []).append(list(words))

    def _send(self, flags: int, code: int, corr_id: int, payload: bytes = b"", *, over: bool = False) -> None:
        app, tenant = self._streams[corr_id]
        self._node.append(frame(flags, code, app, corr_id, payload, tenant=tenant))
        if over:
            del self._streams[corr_id]

    def _answer(self, error: str, corr_id: int, hold: bool) -> None:
        if hold:
            self._held.append(len(self._events) - 1)
        else:
            app, tenant = self._streams.pop(corr_id)
            self._node.append(_error(error, app, corr_id, tenant))


def _error(name: str, app: int, corr_id: int, tenant: int, *, connection: bool = False) -> bytes:
    status = _STATUS[name]
    if name == "cancelled":
        return frame(RESP | END, status, app, corr_id, tenant=tenant)
    waits = status in (429, 503)
    error: dict[str, Any] = {"code": name, "message": name, "retryable": waits or status == 408}
    if waits:
        error["retry_after_ms"] = 1000
    if not connection:
        error["corr_id"] = str(corr_id)
    error["request_id"] = REQUEST_ID
    if name == "bad_version":
        error["versions"] = [1]
    return frame(RESP | END, status, app, corr_id, compact(error), tenant=tenant)
