"""The caller's side of one OAP/1 connection: the mirror of :mod:`micronode.oap.wire.connection`.

Bytes in, events out; what to ask in, bytes out. It trusts the node no more than the node trusts a
caller: an answer that breaks the protocol is :class:`ConnectionFailed`. ``specs/oap-1.md`` section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from micronode.oap.wire.compression import ZSTD, Inflate, InflateError
from micronode.oap.wire.decoder import Frame, FrameDecoder, FrameError
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
    CONNECTION_WINDOW_BYTES,
    HEADER_BYTES,
    MAX_CAP_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    MAX_INFLIGHT,
    MAX_PING_BYTES,
    MIN_MAX_FRAME_BYTES,
    STREAM_WINDOW_BYTES,
    VERSION,
)
from micronode.oap.wire.states import ConnectionState, IllegalSendError
from micronode.oap.wire.windows import CREDIT_BYTES, Inflow, Outflow, credit_frame, read_credit


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
    """The node takes no new streams; the open ones finish."""

    retry_after_ms: int | None


@dataclass(slots=True)
class NodeFailed:
    """The node found a connection error on our side and closes."""

    code: int
    error: dict[str, Any]


CallerEvent: TypeAlias = (
    HelloAnswered
    | HeadReceived
    | ChunkReceived
    | CallFailed
    | CreditGranted
    | NodePinged
    | GoawayReceived
    | NodeFailed
    | FrameIgnored
    | ConnectionFailed
)

_DEAF = frozenset((ConnectionState.FAILED, ConnectionState.CLOSED))


class _Asked:
    """What the caller remembers of an open stream."""

    __slots__ = ("answering", "app", "asking", "cancelled", "inflow", "outflow")

    def __init__(self, app: int, asking: bool) -> None:
        self.app = app
        #: The request's body is not whole.
        self.asking = asking
        #: A head has come.
        self.answering = False
        self.cancelled = False
        #: The windows of the answer's and the request's body, where there are any.
        self.inflow: Inflow | None = None
        self.outflow: Outflow | None = None


class CallerConnection:
    """The protocol state of one connection, at the caller.

    :ivar max_frame: bytes; after HELLO what the node said.
    :ivar max_chunk: bytes of body a frame may carry, in both directions.
    :ivar max_inflight: streams the node lets us have open; one more is answered ``busy``.
    """

    def __init__(self, *, inflate: Inflate | None = None, windows: bool = False) -> None:
        """:param inflate: what inflates payloads with COMP; None: none are accepted.
        :param windows: whether streams are opened with windows, where the node offers them.
        """
        self._windows = windows
        self._inflate = inflate
        self.state = ConnectionState.FRESH
        self.max_frame = MAX_FRAME_BYTES
        self.max_chunk = MAX_CHUNK_BYTES
        self.max_inflight = MAX_INFLIGHT
        self._decoder = FrameDecoder()
        self._asked: dict[int, _Asked] = {}
        self._last = 0
        #: After HELLO: whether the node offers windows, and how large they are.
        self.windowed = False
        self._ack_window = STREAM_WINDOW_BYTES
        self._connection = Outflow(CONNECTION_WINDOW_BYTES)
        self._due: dict[int, Inflow] = {}

    def is_open(self, corr_id: int) -> bool:
        """Whether the terminal frame of *corr_id* has not come yet."""
        return corr_id in self._asked

    def is_asking(self, corr_id: int) -> bool:
        """Whether body bytes of *corr_id* may be sent."""
        asked = self._asked.get(corr_id)
        return asked is not None and asked.asking

    # Windows

    def room(self, corr_id: int) -> int | None:
        """Return how many bytes of a request's body may be sent now; None: it has no window."""
        asked = self._asked.get(corr_id)
        if asked is None or asked.outflow is None:
            return None
        return min(asked.outflow.room, self._connection.room)

    def taken(self, corr_id: int, size: int) -> None:
        """Note that *size* bytes of an answer left our buffers; harmless where that has no window."""
        asked = self._asked.get(corr_id)
        if asked is not None and asked.inflow is not None and asked.inflow.take(size):
            self._due[corr_id] = asked.inflow

    def credits(self) -> bytes:
        """Return the CREDITs that are due, to be sent now; mostly none."""
        due, self._due = self._due, {}
        return b"".join(credit_frame(corr_id, flow.credit()) for corr_id, flow in due.items())

    # Sending

    def hello(self, ua: str | None) -> bytes:
        """Return the first frame."""
        if self.state is not ConnectionState.FRESH:
            raise IllegalSendError("HELLO was sent")
        self.state = ConnectionState.GREETED
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
    ) -> tuple[int, bytes]:
        """Open a stream.

        :param ended: the request has no body.
        :return: its corr_id, and the START to send.
        :raises ValueError: the head or the capability is over its limit.
        """
        if self.state is not ConnectionState.OPEN:
            raise IllegalSendError(f"START on a connection that is {self.state.name}")
        payload = dump_object(dict(head))
        if len(payload) > MAX_HEAD_BYTES:
            raise ValueError(f"the head is {len(payload)} bytes; at most {MAX_HEAD_BYTES} are taken")
        if len(cap) > MAX_CAP_BYTES:
            raise ValueError(f"the capability is {len(cap)} bytes; at most {MAX_CAP_BYTES} are taken")
        if HEADER_BYTES + len(cap) + len(payload) > self.max_frame:
            raise ValueError(f"head and capability do not fit a frame of {self.max_frame} bytes")
        self._last += 1
        asked = self._asked[self._last] = _Asked(app, not ended)
        flags = REQ | START | END if ended else REQ | START
        if self.windowed:
            flags |= ACK_REQ
            asked.inflow, asked.outflow = Inflow(self._ack_window), Outflow(self._ack_window)
        return self._last, encode_frame(flags, Code.REQUEST, app, self._last, payload, tenant=tenant, cap=cap)

    def body(self, corr_id: int, data: bytes) -> bytes:
        """Send body bytes of a request, as frames of at most ``max_chunk``.

        :raises IllegalSendError: also where *data* is more than there is :meth:`room` for.
        """
        asked = self._asking(corr_id)
        if asked.outflow is not None:
            room = min(asked.outflow.room, self._connection.room)
            if len(data) > room:
                raise IllegalSendError(f"{len(data)} bytes on stream {corr_id}, whose window has {room}")
            asked.outflow.sent += len(data)
            self._connection.sent += len(data)
        app, step = asked.app, self.max_chunk
        return b"".join(
            encode_frame(REQ, Code.REQUEST, app, corr_id, data[at : at + step])
            for at in range(0, len(data), step)
        )

    def end(self, corr_id: int) -> bytes:
        """End a request: its body is whole."""
        asked = self._asking(corr_id)
        asked.asking = False
        return encode_frame(REQ | END, Code.REQUEST, asked.app, corr_id)

    def cancel(self, corr_id: int) -> bytes:
        """Give a call up; what still comes of its answer is dropped, up to the terminal frame."""
        asked = self._asked.get(corr_id)
        if asked is None or asked.cancelled:
            raise IllegalSendError(f"cancel of stream {corr_id}, which is over")
        asked.asking, asked.cancelled = False, True
        self._due.pop(corr_id, None)
        return encode_frame(REQ | END, Code.CANCEL, asked.app, corr_id)

    def pong(self, ping: NodePinged) -> bytes:
        """Echo a PING of the node."""
        return encode_frame(EVENT, Control.PONG, 0, ping.corr_id, ping.payload)

    def _asking(self, corr_id: int) -> _Asked:
        asked = self._asked.get(corr_id)
        if asked is None or not asked.asking:
            raise IllegalSendError(f"body on stream {corr_id}, whose request is whole or over")
        return asked

    # Receiving

    def receive(self, data: bytes) -> Iterator[CallerEvent]:
        """Decode *data* and yield what happened, one event at a time.

        Lazy, as the node's side is: a shell that stops reading does not ask for the next event. The
        iterator must be exhausted before the next call.
        """
        if self.state in _DEAF:
            return
        try:
            for frame in self._decoder.feed(data):
                yield self._frame(frame)
                if self.state in _DEAF:
                    return
        except FrameError as error:
            yield self._fail(error.code, error.message)

    def close(self) -> None:
        """Note that the transport is gone."""
        self.state = ConnectionState.CLOSED
        self._asked.clear()

    def _fail(self, code: ErrorCode, message: str) -> ConnectionFailed:
        self.state = ConnectionState.FAILED
        return ConnectionFailed(code, message)

    def _frame(self, frame: Frame) -> CallerEvent:
        flags, code, app, _, corr_id, _, payload = frame
        if flags & REQ:
            return self._fail(ErrorCode.BAD_SEQUENCE, "REQ from the node")
        if payload is None:
            return self._fail(ErrorCode.CHUNK_TOO_LARGE, "a frame over its limit")
        if flags & COMP and (self._inflate is None or app == 0):
            return self._fail(ErrorCode.BAD_COMPRESSION, "COMP, which was not accepted")
        if app == 0:
            return self._control(flags, code, corr_id, payload)
        if self.state is ConnectionState.GREETED:
            return self._fail(ErrorCode.BAD_HELLO, "HELLO was not answered first")
        if flags & EVENT:
            return FrameIgnored("event")
        asked = self._asked.get(corr_id)
        if asked is None:
            if 0 < corr_id <= self._last:
                return FrameIgnored("closed")
            return self._fail(ErrorCode.BAD_SEQUENCE, "an answer to what was not asked")
        return self._answer(asked, flags, code, app, corr_id, payload)

    def _answer(
        self, asked: _Asked, flags: int, code: int, app: int, corr_id: int, payload: bytes
    ) -> CallerEvent:
        ended = flags & END != 0
        failed = code >= 400
        starts = flags & START != 0
        if (
            app != asked.app
            or (failed and (starts or not ended))
            or (not failed and starts == asked.answering)
        ):
            return self._fail(ErrorCode.BAD_SEQUENCE, "an answer out of sequence")
        if flags & COMP and self._inflate is not None:
            try:
                payload = self._inflate(payload, MAX_HEAD_BYTES if starts else self.max_chunk)
            except InflateError as error:
                return self._fail(error.code, error.message)
        if not (failed or starts or asked.inflow is None or asked.inflow.receive(len(payload))):
            return self._fail(ErrorCode.CREDIT_VIOLATION, "more of an answer than its window takes")
        if ended:
            del self._asked[corr_id]
            self._due.pop(corr_id, None)
        if failed:
            return CallFailed(corr_id, code, _error_object(payload))
        if asked.cancelled:
            asked.answering = True
            return FrameIgnored("closed") if not ended else CallFailed(corr_id, Code.CANCEL, {})
        if not starts:
            return ChunkReceived(corr_id, payload, ended)
        asked.answering = True
        try:
            return HeadReceived(corr_id, parse_object(payload), ended)
        except HeadError as error:
            return self._fail(error.code, error.message)

    def _control(self, flags: int, code: int, corr_id: int, payload: bytes) -> CallerEvent:
        if flags & RESP:
            if code >= 400 and flags & END:
                self.state = ConnectionState.FAILED
                return NodeFailed(code, _error_object(payload))
            if self.state is ConnectionState.GREETED and flags == RESP and code == Code.OK and not corr_id:
                return self._greeted(payload)
            return self._fail(ErrorCode.BAD_SEQUENCE, "a control answer to what was not asked")
        if self.state is ConnectionState.GREETED:
            return self._fail(ErrorCode.BAD_HELLO, "HELLO was not answered first")
        if code == Control.GOAWAY:
            self.state = ConnectionState.LEAVING
            wait = _error_object(payload).get("retry_after_ms")
            return GoawayReceived(wait if _is_count(wait) else None)
        if code == Control.PING:
            if len(payload) > MAX_PING_BYTES:
                return self._fail(ErrorCode.BAD_REQUEST, f"a PING over {MAX_PING_BYTES} bytes")
            return NodePinged(corr_id, payload)
        if code == Control.CREDIT:
            return self._credit(corr_id, payload)
        return FrameIgnored("event")

    def _credit(self, corr_id: int, payload: bytes) -> CallerEvent:
        if len(payload) != CREDIT_BYTES:
            return self._fail(ErrorCode.BAD_REQUEST, f"a CREDIT whose payload is not {CREDIT_BYTES} bytes")
        if 0 < corr_id <= self._last and corr_id not in self._asked:
            return FrameIgnored("credit")
        asked = self._asked.get(corr_id)
        flow = (asked and asked.outflow) if corr_id else self._connection
        if not flow or not flow.credit(read_credit(payload)):
            return self._fail(ErrorCode.CREDIT_VIOLATION, "CREDIT for what was not sent")
        return CreditGranted(corr_id)

    def _greeted(self, payload: bytes) -> CallerEvent:
        try:
            reply = parse_object(payload)
        except HeadError as error:
            return self._fail(error.code, error.message)
        max_frame = reply.get("max_frame", self.max_frame)
        max_chunk = reply.get("max_chunk", min(self.max_chunk, MIN_MAX_FRAME_BYTES - HEADER_BYTES))
        max_inflight = reply.get("max_inflight", self.max_inflight)
        ack_window = reply.get("ack_window", STREAM_WINDOW_BYTES)
        conn_window = reply.get("conn_window", CONNECTION_WINDOW_BYTES)
        flags = reply.get("flags_supported", 0)
        if not all(map(_is_count, (max_frame, max_chunk, max_inflight, ack_window, conn_window, flags))):
            return self._fail(ErrorCode.BAD_HELLO, "a limit in the node's reply is no number")
        least = min(max_chunk, max_inflight, ack_window, conn_window)
        # A window bounds what we hold of an answer: it is not the node's to raise.
        wide = ack_window > MAX_FRAME_BYTES
        if not MIN_MAX_FRAME_BYTES <= max_frame <= MAX_FRAME_BYTES or least < 1 or wide:
            return self._fail(ErrorCode.BAD_HELLO, "a limit in the node's reply is out of range")
        self.windowed = self._windows and flags & ACK_REQ != 0
        self._ack_window = ack_window
        self._connection = Outflow(conn_window)
        self.max_frame = self._decoder.max_frame = max_frame
        self.max_chunk = self._decoder.max_chunk = min(max_chunk, MAX_CHUNK_BYTES, max_frame - HEADER_BYTES)
        self.max_inflight = max_inflight
        self.state = ConnectionState.OPEN
        return HelloAnswered(reply)


def _error_object(payload: bytes) -> dict[str, Any]:
    """Return the object in *payload*; an unreadable one is none, the status says enough."""
    try:
        return parse_object(payload)
    except HeadError:
        return {}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
