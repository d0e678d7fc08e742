"""The caller's side of one OAP/1 connection: the mirror of :mod:`micronode.oap.wire.connection`.

Bytes in, events out; what to ask in, bytes out. It trusts the node no more than the node trusts a
caller: an answer that breaks the protocol is :class:`ConnectionFailed`. ``specs/oap-1.md`` sections 3, 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from micronode.oap.wire.caller_events import (
    CallerEvent,
    CallFailed,
    ChunkReceived,
    CreditGranted,
    GoawayReceived,
    HeadReceived,
    HelloAnswered,
    MessageReceived,
    NodeFailed,
    NodePinged,
)
from micronode.oap.wire.caller_greeting import read_limits
from micronode.oap.wire.caller_request import encode_request
from micronode.oap.wire.caller_streams import CallerStreams, error_object, read_goaway
from micronode.oap.wire.compression import ZSTD, Inflate
from micronode.oap.wire.decoder import FrameDecoder, FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import ConnectionFailed, FrameIgnored
from micronode.oap.wire.frames import (
    ACK_REQ,
    COMP,
    END,
    EVENT,
    NO_TENANT,
    REQ,
    RESP,
    START,
    Code,
    Control,
    encode_frame,
)
from micronode.oap.wire.heads import HeadError, dump_object, parse_object
from micronode.oap.wire.limits import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    MAX_INFLIGHT,
    MAX_PING_BYTES,
    VERSION,
)
from micronode.oap.wire.states import CALLER, DEAF, CallerInput, CallInput, ConnectionState, IllegalSendError
from micronode.oap.wire.windows import CREDIT_BYTES

#: The events stand beside it; who uses one uses the other.
__all__ = [
    "CallFailed",
    "CallerConnection",
    "CallerEvent",
    "ChunkReceived",
    "CreditGranted",
    "GoawayReceived",
    "HeadReceived",
    "HelloAnswered",
    "MessageReceived",
    "NodeFailed",
    "NodePinged",
]


class CallerConnection:
    """The protocol state of one connection, at the caller.

    :ivar max_frame: bytes; after HELLO what the node said.
    :ivar max_inflight: streams the node lets us have open; one more is answered ``busy``.
    """

    def __init__(self, *, inflate: Inflate | None = None, windows: bool = False) -> None:
        """:param inflate: what inflates payloads with COMP; None: none are accepted.
        :param windows: whether streams are opened with windows, where the node offers them.
        """
        self._windows = windows
        self._inflate = inflate
        self._streams = CallerStreams(inflate)
        self._decoder = FrameDecoder()
        self.state = ConnectionState.FRESH
        self.max_frame = MAX_FRAME_BYTES
        self.max_inflight = MAX_INFLIGHT

    @property
    def max_chunk(self) -> int:
        """Bytes of body a frame may carry, in both directions."""
        return self._streams.max_chunk

    @property
    def windowed(self) -> bool:
        """Whether streams are opened with windows: known after HELLO."""
        return self._streams.windowed

    @property
    def open_streams(self) -> int:
        """How many streams wait for their terminal frame."""
        return len(self._streams)

    def is_open(self, corr_id: int) -> bool:
        """Whether the terminal frame of *corr_id* has not come yet."""
        return self._streams.get(corr_id) is not None

    def is_asking(self, corr_id: int) -> bool:
        """Whether body bytes of *corr_id* may be sent."""
        asked = self._streams.get(corr_id)
        return asked is not None and asked.asking

    # Windows

    def room(self, corr_id: int) -> int | None:
        """Return how many bytes of a request's body may be sent now; None: it has no window."""
        return self._streams.room(corr_id)

    def taken(self, corr_id: int, size: int) -> None:
        """Note that *size* bytes of an answer left our buffers; harmless where that has no window."""
        self._streams.taken(corr_id, size)

    def credits(self) -> bytes:
        """Return the CREDITs that are due, to be sent now; mostly none."""
        return self._streams.credits()

    # Sending

    def hello(self, ua: str | None) -> bytes:
        """Return the first frame."""
        self._advance(CallerInput.SEND_HELLO)
        accepts: dict[str, Any] = {} if self._inflate is None else {"accept": [ZSTD]}
        return encode_frame(
            REQ, Code.REQUEST, 0, 0, dump_object({"ua": ua, "versions": [VERSION], **accepts})
        )

    def open(
        self,
        app: int,
        head: Mapping[str, Any],
        *,
        ended: bool,
        cap: bytes = b"",
        tenant: bytes = NO_TENANT,
        subscribed: bool = False,
    ) -> tuple[int, bytes]:
        """Open a stream.

        :param ended: the request has no body.
        :param subscribed: the answer may have messages; only where the connection is :attr:`windowed`.
        :return: its corr_id, and the START to send.
        :raises ValueError: the head or the capability is over its limit.
        """
        self._advance(CallerInput.SEND_START)
        if subscribed and not self.windowed:
            raise IllegalSendError("a subscription without windows")
        payload = encode_request(head, cap)
        if HEADER_BYTES + len(cap) + len(payload) > self.max_frame:
            raise ValueError(f"head and capability do not fit a frame of {self.max_frame} bytes")
        flags = REQ | START | END if ended else REQ | START
        if self.windowed:
            flags |= ACK_REQ
        corr_id = self._streams.open(app, asking=not ended, subscribed=subscribed)
        return corr_id, encode_frame(flags, Code.REQUEST, app, corr_id, payload, tenant=tenant, cap=cap)

    def body(self, corr_id: int, data: bytes) -> bytes:
        """Send body bytes of a request, as frames of at most ``max_chunk``.

        :raises IllegalSendError: also where *data* is more than there is :meth:`room` for.
        """
        app, step = self._streams.send(corr_id, len(data)).app, self.max_chunk
        return b"".join(
            encode_frame(REQ, Code.REQUEST, app, corr_id, data[at : at + step])
            for at in range(0, len(data), step)
        )

    def end(self, corr_id: int) -> bytes:
        """End a request: its body is whole."""
        app = self._streams.sending(corr_id, CallInput.SEND_END).app
        return encode_frame(REQ | END, Code.REQUEST, app, corr_id)

    def cancel(self, corr_id: int) -> bytes:
        """Give a call up; what still comes of its answer is dropped, up to the terminal frame."""
        app = self._streams.cancel(corr_id).app
        return encode_frame(REQ | END, Code.CANCEL, app, corr_id)

    def ping(self) -> bytes:
        """Ask the node whether it is there; any frame says so."""
        return encode_frame(EVENT, Control.PING, 0, 0)

    def pong(self, ping: NodePinged) -> bytes:
        """Echo a PING of the node."""
        return encode_frame(EVENT, Control.PONG, 0, ping.corr_id, ping.payload)

    # Receiving

    def receive(self, data: bytes) -> Iterator[CallerEvent]:
        """Decode *data* and yield what happened, one event at a time.

        Lazy, as the node's side is: a shell that stops reading does not ask for the next event. The
        iterator must be exhausted before the next call.
        """
        if self.state in DEAF:
            return
        try:
            for flags, code, app, _, corr_id, _, payload in self._decoder.feed(data):
                yield self._frame(flags, code, app, corr_id, payload)
                if self.state in DEAF:
                    return
        except FrameError as error:
            yield self._fail(error.code, error.message)

    def close(self) -> None:
        """Note that the transport is gone."""
        self._advance(CallerInput.CLOSE)
        self._streams.clear()

    def _advance(self, given: CallerInput) -> None:
        after = CALLER.get((self.state, given))
        if after is None:
            raise IllegalSendError(f"{given.name} on a connection that is {self.state.name}")
        self.state = after

    def _takes(self, given: CallerInput) -> bool:
        return (self.state, given) in CALLER

    def _fail(self, code: ErrorCode, message: str) -> ConnectionFailed:
        self._advance(CallerInput.FAIL)
        return ConnectionFailed(code, message)

    def _frame(self, flags: int, code: int, app: int, corr_id: int, payload: bytes | None) -> CallerEvent:
        if flags & REQ:
            return self._fail(ErrorCode.BAD_SEQUENCE, "REQ from the node")
        if payload is None:
            return self._fail(ErrorCode.CHUNK_TOO_LARGE, "a frame over its limit")
        if app == 0:
            if flags & COMP:
                return self._fail(ErrorCode.BAD_COMPRESSION, "COMP on app 0")
            return self._control(flags, code, corr_id, payload)
        if not self._takes(_FRAME):
            return self._fail(ErrorCode.BAD_HELLO, "HELLO was not answered first")
        return self._streams.receive(flags, code, app, corr_id, payload)

    def _control(self, flags: int, code: int, corr_id: int, payload: bytes) -> CallerEvent:
        if flags & RESP:
            if code >= 400 and flags & END:
                self._advance(CallerInput.FAIL)
                return NodeFailed(code, error_object(payload))
            if self._takes(CallerInput.RECEIVE_HELLO) and flags == RESP and code == Code.OK and not corr_id:
                return self._greeted(payload)
            return self._fail(ErrorCode.BAD_SEQUENCE, "a control answer to what was not asked")
        if not self._takes(_FRAME):
            return self._fail(ErrorCode.BAD_HELLO, "HELLO was not answered first")
        if code == Control.GOAWAY:
            self._advance(CallerInput.RECEIVE_GOAWAY)
            return read_goaway(payload)
        if code == Control.PING:
            if len(payload) > MAX_PING_BYTES:
                return self._fail(ErrorCode.BAD_REQUEST, f"a PING over {MAX_PING_BYTES} bytes")
            return NodePinged(corr_id, payload)
        if code == Control.CREDIT:
            if len(payload) != CREDIT_BYTES:
                return self._fail(
                    ErrorCode.BAD_REQUEST, f"a CREDIT whose payload is not {CREDIT_BYTES} bytes"
                )
            return self._streams.credited(corr_id, payload)
        return FrameIgnored("event")

    def _greeted(self, payload: bytes) -> CallerEvent:
        try:
            reply = parse_object(payload)
        except HeadError as error:
            return self._fail(error.code, error.message)
        agreed = read_limits(reply)
        windowed = self._windows and agreed.windowed
        self._streams.agree(agreed.ack_window, agreed.conn_window, agreed.max_chunk, windowed=windowed)
        self._decoder.max_frame, self._decoder.max_chunk = agreed.max_frame, agreed.max_chunk
        self.max_frame, self.max_inflight = agreed.max_frame, agreed.max_inflight
        self._advance(CallerInput.RECEIVE_HELLO)
        return HelloAnswered(reply)


# Looked up once: attribute access on an Enum class is slow before Python 3.12, and this runs once a frame.
_FRAME: Final = CallerInput.RECEIVE_FRAME
