"""The node's side of one OAP/1 connection: bytes in, events out; what to say in, bytes out.

It owns what is legal (by the tables of :mod:`micronode.oap.wire.states`), the stream ids and the
count of open streams. It never buffers output: each ``send_*`` returns the bytes to write, so
there is nothing a shell could forget to flush. ``specs/oap-1.md`` section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from micronode.oap.wire.decoder import FrameDecoder, FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    ConnectionFailed,
    Event,
    FrameIgnored,
    HelloReceived,
    PingReceived,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.frames import (
    ACK_REQ,
    APP_E2E,
    COMP,
    END,
    EVENT,
    REQ,
    RESP,
    START,
    Code,
    Control,
    encode_frame,
)
from micronode.oap.wire.heads import HeadError, dump_object
from micronode.oap.wire.hello import parse_hello
from micronode.oap.wire.limits import (
    HEADER_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_INFLIGHT,
    MAX_PING_BYTES,
)
from micronode.oap.wire.states import (
    CONNECTION,
    STREAM,
    ConnectionInput,
    ConnectionState,
    IllegalSendError,
    StreamInput,
    StreamState,
)


class _Stream:
    """What the protocol remembers of an open stream."""

    __slots__ = ("app", "state", "tenant")

    def __init__(self, app: int, tenant: bytes, state: StreamState) -> None:
        self.app = app
        self.tenant = tenant
        self.state = state


class NodeConnection:
    """The protocol state of one connection, at the node.

    :ivar max_frame: bytes; after HELLO the smaller of both sides' wishes.
    :ivar max_chunk: bytes of body a frame may carry, in both directions.
    :ivar highest: the highest corr_id that a START used.
    """

    def __init__(
        self,
        *,
        max_frame: int = MAX_FRAME_BYTES,
        max_chunk: int = MAX_CHUNK_BYTES,
        max_inflight: int = MAX_INFLIGHT,
    ) -> None:
        self.max_frame = max_frame
        self.max_chunk = min(max_chunk, max_frame - HEADER_BYTES)
        self.max_inflight = max_inflight
        self.highest = 0
        self.state = ConnectionState.FRESH
        self._decoder = FrameDecoder(max_frame=self.max_frame, max_chunk=self.max_chunk)
        self._streams: dict[int, _Stream] = {}

    @property
    def open_streams(self) -> int:
        """How many streams are owed their terminal frame."""
        return len(self._streams)

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return self._decoder.mid_frame

    def is_open(self, corr_id: int) -> bool:
        """Whether *corr_id* is owed its terminal frame."""
        return corr_id in self._streams

    # Receiving

    def receive(self, data: bytes) -> Iterator[Event]:
        """Decode *data* and yield what happened, one event at a time.

        Lazy: what the shell sends between two events is taken into account by the next, and a shell
        that stops reading for a while simply does not ask for it. The iterator must be exhausted
        before the next call. After :class:`ConnectionFailed` it yields nothing, whatever comes.
        """
        frames = self._decoder.feed(data) if self.state is not ConnectionState.FAILED else iter(())
        try:
            for flags, code, app, tenant, corr_id, cap, payload in frames:
                if app:
                    yield self._stream_frame(flags, code, app, tenant, corr_id, cap, payload)
                else:
                    yield self._control_frame(flags, code, corr_id, payload)
                if self.state in _DEAF:
                    return
        except FrameError as error:
            yield self._fail(error.code, error.message)

    def _fail(self, code: ErrorCode, message: str) -> ConnectionFailed:
        self._advance(ConnectionInput.FAIL)
        return ConnectionFailed(code, message)

    def _control_frame(self, flags: int, code: int, corr_id: int, payload: bytes | None) -> Event:
        """A frame on app 0, where every error is the connection's."""
        if self.state is ConnectionState.FRESH:
            return self._hello_frame(flags, code, corr_id, payload)
        if payload is None:
            return self._fail(
                ErrorCode.HEAD_TOO_LARGE if flags & START else ErrorCode.CHUNK_TOO_LARGE,
                "a control frame over its limit",
            )
        if flags & COMP:
            return self._fail(ErrorCode.BAD_COMPRESSION, "COMP on a control frame")
        if not flags & EVENT:
            what = "a second HELLO" if flags & REQ else "RESP from the caller"
            return self._fail(ErrorCode.BAD_SEQUENCE, what)
        if flags & START:
            return self._fail(ErrorCode.BAD_SEQUENCE, "EVENT with START")
        if code == Control.PING:
            if len(payload) > MAX_PING_BYTES:
                return self._fail(ErrorCode.BAD_REQUEST, f"a PING over {MAX_PING_BYTES} bytes")
            return PingReceived(corr_id, payload)
        if code == Control.CREDIT:
            if len(payload) != 8:
                return self._fail(ErrorCode.BAD_REQUEST, "a CREDIT whose payload is not 8 bytes")
            return FrameIgnored("credit")  # flags_supported does not offer ACK_REQ
        if code == Control.GOAWAY:
            return FrameIgnored("goaway")
        if 200 <= code <= 299:
            return FrameIgnored("event")
        return self._fail(ErrorCode.BAD_SEQUENCE, f"unknown control code {code}")

    def _hello_frame(self, flags: int, code: int, corr_id: int, payload: bytes | None) -> Event:
        if not flags & REQ or code != Code.REQUEST:
            return self._fail(ErrorCode.BAD_HELLO, "the first frame must be HELLO")
        if flags & COMP:
            return self._fail(ErrorCode.BAD_COMPRESSION, "COMP on HELLO")
        if payload is None:
            return self._fail(ErrorCode.BAD_HELLO, "HELLO is too long")
        try:
            hello = parse_hello(payload)
        except HeadError as error:
            return self._fail(error.code, error.message)
        self._advance(ConnectionInput.RECEIVE_HELLO)
        wish = hello.get("max_frame")
        if wish is not None:
            self.max_frame = min(self.max_frame, wish)
            self.max_chunk = min(self.max_chunk, self.max_frame - HEADER_BYTES)
            self._decoder.max_frame = self.max_frame
            self._decoder.max_chunk = self.max_chunk
        return HelloReceived(corr_id, hello)

    def _stream_frame(
        self, flags: int, code: int, app: int, tenant: bytes, corr_id: int, cap: bytes, payload: bytes | None
    ) -> Event:
        if self.state is ConnectionState.FRESH:
            return self._fail(ErrorCode.BAD_HELLO, "the first frame must be HELLO")
        stream = self._streams.get(corr_id)
        if flags & START:
            return self._start_frame(flags, code, app, tenant, corr_id, cap, payload, stream)
        if stream is None:
            if 0 < corr_id <= self.highest:
                return FrameIgnored("closed")
            return StreamRefused(
                corr_id, app, tenant, ErrorCode.BAD_SEQUENCE, "no stream was opened by that id"
            )
        if stream.state is StreamState.OWED:
            return FrameIgnored("closed")
        if not flags & REQ:
            return self._breach(corr_id, stream, ErrorCode.BAD_SEQUENCE, "only REQ frames come from a caller")
        if app != stream.app or tenant != stream.tenant:
            return self._breach(corr_id, stream, ErrorCode.BAD_SEQUENCE, "app or tenant differ from START's")
        if code == Code.CANCEL and flags & END:
            stream.state = STREAM[stream.state, StreamInput.RECEIVE_CANCEL]
            return StreamCancelled(corr_id)
        ended = flags & END != 0
        after = STREAM.get((stream.state, StreamInput.RECEIVE_END if ended else StreamInput.RECEIVE_BODY))
        if code != Code.REQUEST or after is None:
            what = "a frame after END" if after is None else f"code {code} in a request"
            return self._breach(corr_id, stream, ErrorCode.BAD_SEQUENCE, what)
        if payload is None:
            return self._breach(
                corr_id, stream, ErrorCode.CHUNK_TOO_LARGE, f"a chunk over {self.max_chunk} bytes"
            )
        if flags & COMP:
            return self._breach(corr_id, stream, ErrorCode.BAD_COMPRESSION, _NO_COMP)
        stream.state = after
        return BodyReceived(corr_id, payload, ended)

    def _start_frame(
        self,
        flags: int,
        code: int,
        app: int,
        tenant: bytes,
        corr_id: int,
        cap: bytes,
        payload: bytes | None,
        stream: _Stream | None,
    ) -> Event:
        if stream is not None and stream.state is not StreamState.OWED:
            return self._breach(corr_id, stream, ErrorCode.CONFLICT, "a second START on an open stream")
        if corr_id == 0:
            return StreamRefused(corr_id, app, tenant, ErrorCode.BAD_SEQUENCE, "corr_id 0 is no stream")
        if corr_id <= self.highest:
            message = f"corr_id {corr_id} is not above {self.highest}"
            return StreamRefused(corr_id, app, tenant, ErrorCode.CONFLICT, message)
        self.highest = corr_id
        refusal = self._start_refusal(flags, code, payload)
        if refusal is not None or payload is None:
            error, message = refusal or _HEAD_TOO_LARGE
            return StreamRefused(corr_id, app, tenant, error, message)
        ended = flags & END != 0
        self._streams[corr_id] = _Stream(app, tenant, StreamState.ASKED if ended else StreamState.OPEN)
        return StreamOpened(
            corr_id, app, tenant, cap, payload, ended, flags & ACK_REQ != 0, flags & APP_E2E != 0
        )

    def _start_refusal(self, flags: int, code: int, payload: bytes | None) -> tuple[ErrorCode, str] | None:
        """Say why a START on a fresh id opens nothing, or None."""
        if not flags & REQ:
            return ErrorCode.BAD_SEQUENCE, "only REQ frames come from a caller"
        if payload is None:
            return _HEAD_TOO_LARGE
        if code == Code.CANCEL and flags & END:
            return ErrorCode.CANCELLED, ""
        if code != Code.REQUEST:
            return ErrorCode.BAD_SEQUENCE, f"code {code} in a request"
        if flags & COMP:
            return ErrorCode.BAD_COMPRESSION, _NO_COMP
        if self.state is ConnectionState.LEAVING:
            return ErrorCode.DRAINING, "the node is going away"
        if len(self._streams) >= self.max_inflight:
            return ErrorCode.BUSY, f"{self.max_inflight} streams are open on this connection"
        return None

    def _breach(self, corr_id: int, stream: _Stream, code: ErrorCode, message: str) -> StreamFailed:
        stream.state = STREAM[stream.state, StreamInput.RECEIVE_BREACH]
        return StreamFailed(corr_id, code, message)

    # Sending

    def send_hello(self, received: HelloReceived, reply: Mapping[str, Any]) -> bytes:
        """Answer HELLO.

        :param reply: the members that the shell knows; ``max_frame``, ``max_chunk`` and
            ``max_inflight`` are put before them.
        """
        self._advance(ConnectionInput.SEND_HELLO)
        payload = {
            "max_frame": self.max_frame,
            "max_inflight": self.max_inflight,
            **reply,
            "max_chunk": self.max_chunk,
        }
        return encode_frame(RESP, Code.OK, 0, received.corr_id, dump_object(payload))

    def send_head(self, corr_id: int, head: Mapping[str, Any], *, ended: bool = False) -> bytes:
        """Begin the answer of a stream; with *ended* it has no body and is over."""
        stream = self._sending(corr_id, StreamInput.SEND_WHOLE if ended else StreamInput.SEND_HEAD)
        flags = RESP | START | END if ended else RESP | START
        return encode_frame(
            flags, Code.OK, stream.app, corr_id, dump_object(dict(head)), tenant=stream.tenant
        )

    def send_body(self, corr_id: int, data: bytes) -> bytes:
        """Send body bytes of a begun answer, as frames of at most ``max_chunk``."""
        stream = self._sending(corr_id, StreamInput.SEND_BODY)
        step, app, tenant = self.max_chunk, stream.app, stream.tenant
        if len(data) <= step:
            return encode_frame(RESP, Code.PARTIAL, app, corr_id, data, tenant=tenant)
        return b"".join(
            encode_frame(RESP, Code.PARTIAL, app, corr_id, data[at : at + step], tenant=tenant)
            for at in range(0, len(data), step)
        )

    def send_end(self, corr_id: int) -> bytes:
        """End a begun answer well."""
        stream = self._sending(corr_id, StreamInput.SEND_END)
        return encode_frame(RESP | END, Code.OK, stream.app, corr_id, tenant=stream.tenant)

    def send_error(self, corr_id: int, code: ErrorCode, error: Mapping[str, Any]) -> bytes:
        """End a stream with the error object *error*; ``cancelled`` has no payload."""
        stream = self._sending(corr_id, StreamInput.SEND_ERROR)
        return _error_frame(code, error, stream.app, corr_id, stream.tenant)

    def send_refusal(self, refused: StreamRefused, error: Mapping[str, Any]) -> bytes:
        """Answer a frame that opened nothing."""
        return _error_frame(refused.code, error, refused.app, refused.corr_id, refused.tenant)

    def send_failure(self, failed: ConnectionFailed, error: Mapping[str, Any]) -> bytes:
        """Say why the connection ends; after it, shut down the writing side."""
        return _error_frame(failed.code, error, 0, 0, bytes(16))

    def send_pong(self, ping: PingReceived) -> bytes:
        """Echo a PING."""
        return encode_frame(EVENT, Control.PONG, 0, ping.corr_id, ping.payload)

    def send_goaway(self, retry_after_ms: int) -> bytes:
        """Take no new streams from now on; the open ones finish."""
        self._advance(ConnectionInput.SEND_GOAWAY)
        payload = {"retry_after_ms": retry_after_ms, "last_corr_id": str(self.highest)}
        return encode_frame(EVENT, Control.GOAWAY, 0, 0, dump_object(payload))

    def fail(self, code: ErrorCode, message: str) -> ConnectionFailed | None:
        """Fail the connection for a reason outside its bytes (a timeout); None where it is over already."""
        if self.state in _DEAF:
            return None
        return self._fail(code, message)

    def close(self) -> bool:
        """Note that the transport is gone.

        :return: whether the input ended inside a frame (``truncated``).
        """
        truncated = self.state not in _DEAF and self._decoder.mid_frame
        self._advance(ConnectionInput.CLOSE)
        self._streams.clear()
        return truncated

    def _sending(self, corr_id: int, given: StreamInput) -> _Stream:
        stream = self._streams.get(corr_id)
        after = STREAM.get((stream.state, given)) if stream is not None else None
        if stream is None or after is None:
            where = "closed" if stream is None else stream.state.name
            raise IllegalSendError(f"{given.name} on stream {corr_id}, which is {where}")
        stream.state = after
        if after is StreamState.CLOSED:
            del self._streams[corr_id]
        return stream

    def _advance(self, given: ConnectionInput) -> None:
        after = CONNECTION.get((self.state, given))
        if after is None:
            raise IllegalSendError(f"{given.name} on a connection that is {self.state.name}")
        self.state = after


def _error_frame(code: ErrorCode, error: Mapping[str, Any], app: int, corr_id: int, tenant: bytes) -> bytes:
    payload = b"" if code is ErrorCode.CANCELLED else dump_object(dict(error))
    return encode_frame(RESP | END, code.status, app, corr_id, payload, tenant=tenant)


_DEAF = frozenset((ConnectionState.FAILED, ConnectionState.CLOSED))
_HEAD_TOO_LARGE = (ErrorCode.HEAD_TOO_LARGE, "the head is over its limit")
_NO_COMP = "COMP is not among flags_supported"
