"""Connections to a node, through both doors, that cost a caller little: bytes in, outcomes out.

Each call ends with exactly one :class:`Ended`, whatever becomes of its connection. A line that was told to go
(``Connection: close``, GOAWAY) takes no further call, as a well-behaved caller's does not.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Final

import attrs

from micronode.oap.wire.frames import END, EVENT, HEADER, REQ, START, Control, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.limits import HEADER_BYTES, MAX_INFLIGHT
from tests.support.matrixcalls import Asked

_HELLO: Final = encode_frame(REQ, 0, 0, 0, b'{"ua":"chaos"}')
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n")
_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: *([^\r]*)\r\n")


@attrs.frozen
class Ended:
    """How a call ended.

    :ivar status: that of the answer, or of the error; 0: there was none.
    :ivar code: the error's name; empty: none.
    :ivar lost: why there was no answer, or no whole one; empty: there was.
    """

    status: int = 0
    code: str = ""
    retry_after_s: float | None = None
    body: bytes = b""
    lost: str = ""


class HttpLine(asyncio.Protocol):
    """A connection that HTTP calls are made on, one after the other.

    :ivar usable: whether another call may be made on it.
    """

    transport: asyncio.Transport
    #: How many calls it takes at a time.
    room = 1

    def __init__(self) -> None:
        self.usable = True
        self.busy = 0
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Ended] | None = None
        self._answered = False

    @staticmethod
    def write(asked: Asked) -> bytes:
        """Return *asked* as it goes over the wire."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
        length = f"Content-Length: {len(asked.body)}\r\n" if asked.method == "POST" else ""
        return f"{asked.method} {asked.path} HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n".encode() + (
            asked.body
        )

    def call(self, written: bytes) -> asyncio.Future[Ended]:
        """Make a call; the future fires with how it ended, and never fails."""
        assert self._waiting is None
        self._waiting = asyncio.get_running_loop().create_future()
        self.busy = 1
        self.transport.write(written)
        return self._waiting

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            return
        head = bytes(self._buffer[: at + 2]).lower()
        length = _LENGTH.search(head)
        assert length is not None, head  # nothing that is called here is answered otherwise
        whole = at + 4 + int(length[1])
        if len(self._buffer) < whole:
            return
        self._answered = True
        body, status = bytes(self._buffer[at + 4 : whole]), int(head[9:12])
        del self._buffer[:whole]
        if b"\r\nconnection: close\r\n" in head:
            self.close()
        said = _RETRY_AFTER.search(head)
        # Whole seconds are all that this door may say.
        seconds = int(said[1]) if said is not None and said[1].isdigit() else None
        self._end(Ended(status, _code(status, body), seconds, body))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        why = "cut" if self._buffer else "closed when it had waited" if self._answered else "closed"
        self._end(Ended(lost=why))

    def close(self) -> None:
        """Hang up."""
        self.usable = False
        self.transport.close()

    def _end(self, ended: Ended) -> None:
        waiting, self._waiting, self.busy = self._waiting, None, 0
        if waiting is not None and not waiting.done():
            waiting.set_result(ended)


@attrs.define
class _Stream:
    """A call over OAP/1 that has no end yet."""

    waiting: asyncio.Future[Ended]
    status: int = 0
    body: bytes = b""


class OapLine(asyncio.Protocol):
    """A connection that OAP/1 calls are made on, many at a time; members as of :class:`HttpLine`."""

    transport: asyncio.Transport
    room = MAX_INFLIGHT

    def __init__(self) -> None:
        self.usable = True
        self._buffer = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        #: What GOAWAY said: the last call that the node has acted on, and when to come back.
        self._acted_on = 0
        self._retry_after_s: float | None = None

    @property
    def busy(self) -> int:
        """How many calls are under way."""
        return len(self._streams)

    @staticmethod
    def write(asked: Asked) -> Asked:
        """Return *asked*: its frames carry the number of their stream."""
        return asked

    def call(self, asked: Asked) -> asyncio.Future[Ended]:
        """Make a call; the future fires with how it ended, and never fails."""
        self._last += 1
        stream = _Stream(asyncio.get_running_loop().create_future())
        self._streams[self._last] = stream
        head = dump_object({"op": asked.op, "args": dict(asked.args), **asked.head})
        flags = REQ | START | (0 if asked.streams else END)
        frames = encode_frame(flags, 0, asked.profile, self._last, head)
        if asked.streams:
            frames += encode_frame(REQ | END, 0, asked.profile, self._last, asked.body)
        self.transport.write(frames)
        return stream.waiting

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(_HELLO)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER_BYTES:
            length, _, flags, code, app, _, cap, corr_id = HEADER.unpack_from(self._buffer, at)
            if len(self._buffer) - at < length:
                break
            payload = bytes(self._buffer[at + HEADER_BYTES + cap : at + length])
            at += length
            if app:
                self._heard(flags, code, corr_id, payload)
            elif flags & EVENT and code == Control.GOAWAY:
                said = _json(payload)
                self._acted_on, self._retry_after_s = int(said["last_corr_id"]), said["retry_after_ms"] / 1000
                self._leave()
            elif flags & EVENT and code == Control.PING:
                self.transport.write(encode_frame(EVENT, Control.PONG, 0, corr_id, payload))
            elif code >= 400:
                self._lose(f"connection error {_code(code, payload)}")
        del self._buffer[:at]

    def _heard(self, flags: int, code: int, corr_id: int, payload: bytes) -> None:
        stream = self._streams[corr_id]
        if code >= 400:
            error = _json(payload)
            said = error.get("retry_after_ms")
            lost = "cut" if stream.status else ""
            self._end(corr_id, Ended(code, error.get("code", ""), said and said / 1000, payload, lost))
            return
        if flags & START:
            stream.status = _json(payload).get("status", code)
        else:
            stream.body += payload
        if flags & END:
            self._end(corr_id, Ended(stream.status, body=stream.body))

    def _end(self, corr_id: int, ended: Ended) -> None:
        stream = self._streams.pop(corr_id)
        if not stream.waiting.done():
            stream.waiting.set_result(ended)
        if not self.usable:
            self._leave()

    def _leave(self) -> None:
        self.usable = False
        if not self._streams:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._lose("closed")

    def close(self) -> None:
        """Hang up."""
        self.usable = False
        self.transport.close()

    def _lose(self, why: str) -> None:
        self.usable = False
        for corr_id in list(self._streams):
            if self._retry_after_s is not None and corr_id > self._acted_on:
                # It crossed GOAWAY, which is its answer (``specs/oap-1.md``, section 3).
                self._end(corr_id, Ended(503, "draining", self._retry_after_s))
            else:
                self._end(corr_id, Ended(lost=why))


def _json(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload) if payload else {}
    return found


def _code(status: int, body: bytes) -> str:
    return str(_json(body).get("code", "")) if status >= 400 and body[:1] == b"{" else ""
