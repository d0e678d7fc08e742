"""The node's side of one OAP/1 connection: bytes in, events out; what to say in, bytes out.

It never buffers output: each ``send_*`` returns the bytes to write, so there is nothing a shell
could forget to flush. What is legal stands in :mod:`micronode.oap.wire.states`, what a frame does
to a stream in :mod:`micronode.oap.wire.streams`. ``specs/oap-1.md`` section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from micronode.oap.wire.answers import answer_frames, body_frames, error_frame, event_frame
from micronode.oap.wire.compression import ZSTD, Deflate, Inflate
from micronode.oap.wire.control import receive_control, receive_hello
from micronode.oap.wire.decoder import FrameDecoder, FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    ConnectionFailed,
    CreditReceived,
    Event,
    HelloReceived,
    PingReceived,
    StreamRefused,
)
from micronode.oap.wire.frames import (
    END,
    EVENT,
    NO_TENANT,
    RESP,
    START,
    Code,
    Control,
    encode_frame,
)
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.limits import (
    CONNECTION_WINDOW_BYTES,
    HEADER_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    MAX_INFLIGHT,
    STREAM_WINDOW_BYTES,
    VERSION,
)
from micronode.oap.wire.states import (
    AWAITS_HELLO,
    CONNECTION,
    DEAF,
    ConnectionInput,
    ConnectionState,
    IllegalSendError,
    StreamInput,
)
from micronode.oap.wire.stream import Stream
from micronode.oap.wire.streams import Streams


class NodeConnection:
    """The protocol state of one connection, at the node.

    :ivar state: where the connection is; only read it.
    :ivar max_frame: bytes; after HELLO the smaller of both sides' wishes.
    :ivar max_head: how many bytes the head of an answer may have, as JSON.
    :ivar max_chunk: bytes of body a frame may carry, in both directions.
    """

    def __init__(
        self,
        *,
        max_frame: int = MAX_FRAME_BYTES,
        max_chunk: int = MAX_CHUNK_BYTES,
        max_inflight: int = MAX_INFLIGHT,
        ack_window: int = STREAM_WINDOW_BYTES,
        conn_window: int = CONNECTION_WINDOW_BYTES,
        inflate: Inflate | None = None,
        deflate: Deflate | None = None,
    ) -> None:
        """:param inflate: what inflates payloads with COMP; None: that is not offered.
        :param deflate: what compresses chunks for a caller that accepts it; None: nothing is.
        """
        self.max_frame = max_frame
        self.max_head = min(MAX_HEAD_BYTES, max_frame - HEADER_BYTES)
        self.max_chunk = min(max_chunk, max_frame - HEADER_BYTES)
        self.state = ConnectionState.FRESH
        self._streams = Streams(
            max_inflight,
            max_chunk=self.max_chunk,
            inflate=inflate,
            ack_window=ack_window,
            conn_window=conn_window,
        )
        #: After HELLO: None unless the caller accepts it.
        self._deflate = deflate
        # HELLO has a head's limit, however small chunks are to be; from then on max_chunk binds.
        self._decoder = FrameDecoder(max_frame=max_frame, max_chunk=MAX_HEAD_BYTES)

    @property
    def max_inflight(self) -> int:
        """How many streams may be open at once."""
        return self._streams.max_inflight

    @property
    def highest(self) -> int:
        """The highest corr_id that a START used."""
        return self._streams.highest

    @property
    def max_event(self) -> int:
        """How many bytes a message may have that is sure to fit some time.

        A caller may hold its CREDIT back until half of a window is used; more than the other half could be
        waited for in vain.
        """
        return min(self.max_chunk, self._streams.windows.ack_window // 2)

    @property
    def open_streams(self) -> int:
        """How many streams are owed their terminal frame; none once the connection failed or closed."""
        return len(self._streams)

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return self._decoder.mid_frame

    @property
    def held(self) -> int:
        """How many bytes of a frame are kept that is not whole."""
        return self._decoder.held

    def is_open(self, corr_id: int) -> bool:
        """Whether *corr_id* is owed its terminal frame."""
        return corr_id in self._streams

    # Receiving

    def receive(self, data: bytes) -> Iterator[Event]:
        """Decode *data* and yield what happened, one event a frame.

        Lazy: what the shell sends between two events is taken into account by the next, and a shell
        that stops reading for a while simply does not ask for it. HELLO is to be answered before the
        next event is asked for. The iterator must be exhausted before the next call. After
        :class:`ConnectionFailed` or :meth:`close` it yields nothing, whatever comes.
        """
        if self.state in DEAF:
            return
        take = self._streams.receive
        try:
            for flags, code, app, tenant, corr_id, cap, payload in self._decoder.feed(data):
                if self.state is AWAITS_HELLO:
                    yield self._greeted(receive_hello(flags, code, app, corr_id, payload))
                elif app:
                    yield take(flags, code, app, tenant, corr_id, cap, payload)
                else:
                    event = receive_control(flags, code, corr_id, payload)
                    if type(event) is CreditReceived:
                        event = self._streams.credited(corr_id, event.up_to)
                    yield event
                if self.state in DEAF:
                    return
        except FrameError as error:
            yield self._failed(error.code, error.message)

    def _greeted(self, received: HelloReceived) -> HelloReceived:
        """Agree on the limits; they bind from the next frame on, be it in the same read."""
        self._advance(ConnectionInput.RECEIVE_HELLO)
        wish = received.hello.get("max_frame")
        if wish is not None:
            self.max_frame = min(self.max_frame, wish)
            self.max_head = min(self.max_head, self.max_frame - HEADER_BYTES)
            self.max_chunk = min(self.max_chunk, self.max_frame - HEADER_BYTES)
        self._decoder.max_frame = self.max_frame
        self._decoder.max_chunk = self._streams.max_chunk = self.max_chunk
        if ZSTD not in (received.hello.get("accept") or ()):
            self._deflate = None
        return received

    def fail(self, code: ErrorCode, message: str) -> ConnectionFailed | None:
        """Fail the connection for a reason outside its bytes (a timeout); None where it is over already."""
        if self.state in DEAF:
            return None
        return self._failed(code, message)

    def close(self) -> bool:
        """Note that the transport is gone. Harmless when repeated.

        :return: whether the input ended inside a frame (``truncated``).
        """
        truncated = self.state not in DEAF and self._decoder.mid_frame
        self._advance(ConnectionInput.CLOSE)
        self._streams.clear()
        return truncated

    def _failed(self, code: ErrorCode, message: str) -> ConnectionFailed:
        self._advance(ConnectionInput.FAIL)
        self._streams.clear()
        return ConnectionFailed(code, message)

    # Windows

    def room(self, corr_id: int) -> int | None:
        """Return how many bytes of a stream's answer may be sent now; None: it has no window."""
        return self._streams.room(corr_id)

    def taken(self, corr_id: int, size: int) -> None:
        """Note that *size* bytes of a request's body left our buffers; harmless where that has no window."""
        self._streams.taken(corr_id, size)

    def credits(self) -> bytes:
        """Return the CREDITs that are due, to be sent now; mostly none.

        To be asked for after :meth:`taken`, :meth:`receive` and whatever ended a stream. A caller that
        has to wait for them may stand still.
        """
        return self._streams.windows.credits()

    # Sending

    def send_hello(self, received: HelloReceived, reply: Mapping[str, Any]) -> bytes:
        """Answer HELLO.

        :param reply: the members that the shell knows; ``max_frame`` and ``max_inflight`` are put
            before them, ``max_chunk`` after.
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
        """Begin the answer of a stream; with *ended* it has no body and is over.

        :raises IllegalSendError: also where the head, as JSON, is longer than :attr:`max_head`.
        """
        payload = self._head(head)
        stream = self._sending(corr_id, _SEND_WHOLE if ended else _SEND_HEAD)
        flags = RESP | START | END if ended else RESP | START
        return encode_frame(flags, _OK, stream.app, corr_id, payload, tenant=stream.tenant)

    def send_body(self, corr_id: int, data: bytes, *, compress: bool = False) -> bytes:
        """Send body bytes of a begun answer, as frames of at most ``max_chunk``; none for no bytes.

        :param compress: whether chunks may be compressed, where the caller accepts it and the stream is
            not opaque.
        :raises IllegalSendError: also where *data* is more than the stream's window has :meth:`room` for.
        """
        self._fits(corr_id, data)
        stream = self._sending(corr_id, StreamInput.SEND_BODY)
        if stream.outflow is not None:
            stream.outflow.sent += len(data)
        return body_frames(stream, corr_id, data, self.max_chunk, self._deflates(stream, compress))

    def send_answer(
        self, corr_id: int, head: Mapping[str, Any], body: bytes, *, compress: bool = False
    ) -> bytes:
        """Send a whole answer: what :meth:`send_head`, :meth:`send_body` and :meth:`send_end` do.

        :raises IllegalSendError: as they do.
        """
        payload = self._head(head)
        self._fits(corr_id, body)
        stream = self._sending(corr_id, _SEND_WHOLE)
        return answer_frames(stream, corr_id, payload, body, self.max_chunk, self._deflates(stream, compress))

    def send_event(self, corr_id: int, message: bytes, *, compress: bool = False) -> bytes:
        """Send one message of a subscription, as one frame: after the head, where the request is whole.

        :param compress: as :meth:`send_body` has it.
        :raises IllegalSendError: also where the stream has no windows, and where *message* is empty, over
            ``max_chunk``, or more than there is :meth:`room` for.
        """
        if not 0 < len(message) <= self.max_chunk:
            raise IllegalSendError(f"a message of {len(message)} bytes, where {self.max_chunk} may be")
        self._fits(corr_id, message)
        stream = self._sending(corr_id, StreamInput.SEND_EVENT)
        if stream.outflow is None:
            raise IllegalSendError(f"a message on stream {corr_id}, which has no windows")
        stream.outflow.sent += len(message)
        return event_frame(stream, corr_id, message, self._deflates(stream, compress))

    def _head(self, head: Mapping[str, Any]) -> bytes:
        payload = dump_object(head)
        if len(payload) > self.max_head:
            raise IllegalSendError(f"a head of {len(payload)} bytes, where {self.max_head} may be")
        return payload

    def _fits(self, corr_id: int, data: bytes) -> None:
        """Refuse to send more than a stream's window has room for."""
        room = self._streams.room(corr_id)
        if room is not None and len(data) > room:
            raise IllegalSendError(f"{len(data)} bytes on stream {corr_id}, whose window has {room}")

    def _deflates(self, stream: Stream, compress: bool) -> Deflate | None:
        return self._deflate if compress and not stream.opaque else None

    def send_end(self, corr_id: int) -> bytes:
        """End a begun answer well."""
        stream = self._sending(corr_id, StreamInput.SEND_END)
        return encode_frame(RESP | END, _OK, stream.app, corr_id, tenant=stream.tenant)

    def send_error(self, corr_id: int, code: ErrorCode, error: Mapping[str, Any]) -> bytes:
        """End a stream with the error object *error*; ``cancelled`` has no payload."""
        stream = self._sending(corr_id, StreamInput.SEND_ERROR)
        return error_frame(code, error, stream.app, corr_id, stream.tenant)

    def send_refusal(self, refused: StreamRefused, error: Mapping[str, Any]) -> bytes:
        """Answer a frame that opened nothing."""
        return error_frame(refused.code, error, refused.app, refused.corr_id, refused.tenant)

    def send_failure(self, failed: ConnectionFailed, error: Mapping[str, Any]) -> bytes:
        """Say why the connection ends; after it, shut down the writing side.

        ``bad_version`` gets the member ``versions`` beside those of *error*.
        """
        if failed.code is ErrorCode.BAD_VERSION:
            error = {**error, "versions": [VERSION]}
        return error_frame(failed.code, error, 0, 0, NO_TENANT)

    def send_pong(self, ping: PingReceived) -> bytes:
        """Echo a PING."""
        return encode_frame(EVENT, _PONG, 0, ping.corr_id, ping.payload)

    def send_ping(self) -> bytes:
        """Ask the caller whether it is there; any frame says so."""
        return encode_frame(EVENT, Control.PING, 0, 0)

    def send_goaway(self, retry_after_ms: int) -> bytes:
        """Take no new streams from now on; the open ones finish. Once, and only after HELLO."""
        self._advance(ConnectionInput.SEND_GOAWAY)
        self._streams.leaving = (self.state, ConnectionInput.RECEIVE_START) not in CONNECTION
        payload = {"retry_after_ms": retry_after_ms, "last_corr_id": str(self.highest)}
        return encode_frame(EVENT, Control.GOAWAY, 0, 0, dump_object(payload))

    def _sending(self, corr_id: int, given: StreamInput) -> Stream:
        if (self.state, _SEND_STREAM) not in CONNECTION:
            raise IllegalSendError(f"{given.name} on a connection that is {self.state.name}")
        return self._streams.sending(corr_id, given)

    def _advance(self, given: ConnectionInput) -> None:
        after = CONNECTION.get((self.state, given))
        if after is None:
            raise IllegalSendError(f"{given.name} on a connection that is {self.state.name}")
        self.state = after


# Looked up once: attribute access on an Enum class is slow before Python 3.12, and these run once a frame.
_SEND_STREAM: Final = ConnectionInput.SEND_STREAM
_SEND_WHOLE: Final = StreamInput.SEND_WHOLE
_SEND_HEAD: Final = StreamInput.SEND_HEAD
_OK: Final = int(Code.OK)
_PONG: Final = int(Control.PONG)
