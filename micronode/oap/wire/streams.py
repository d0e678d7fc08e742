"""The streams of one connection: their ids, their states, and what a caller's frame does to them.

It answers every frame outside app 0 with exactly one event, and lets nothing be sent that the
table of :mod:`micronode.oap.wire.states` does not have. ``specs/oap-1.md`` section 3.
"""

from __future__ import annotations

from typing import Final

from micronode.oap.wire.compression import Inflate, InflateError, refuse
from micronode.oap.wire.decoder import FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    CreditReceived,
    Event,
    FrameIgnored,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.frames import ACK_REQ, APP_E2E, COMP, END, REQ, START, Code
from micronode.oap.wire.limits import (
    CONNECTION_WINDOW_BYTES,
    MAX_CHUNK_BYTES,
    MAX_HEAD_BYTES,
    MAX_INFLIGHT,
    STREAM_WINDOW_BYTES,
)
from micronode.oap.wire.states import DROPPING, STREAM, IllegalSendError, StreamInput, StreamState
from micronode.oap.wire.stream import Stream
from micronode.oap.wire.windows import Inflow, Outflow, RequestWindows


class Streams:
    """The streams that are owed their terminal frame, by corr_id.

    :ivar highest: the highest corr_id that a START used.
    :ivar max_inflight: how many streams may be open at once.
    :ivar max_chunk: how many bytes a chunk may inflate to.
    :ivar leaving: whether GOAWAY was sent, so that nothing new is opened.
    """

    def __init__(
        self,
        max_inflight: int,
        *,
        max_chunk: int = MAX_CHUNK_BYTES,
        inflate: Inflate | None = None,
        ack_window: int = STREAM_WINDOW_BYTES,
        conn_window: int = CONNECTION_WINDOW_BYTES,
    ) -> None:
        """:param inflate: what inflates payloads with COMP; None: that is not spoken."""
        self.max_chunk = max_chunk
        self._inflate = inflate or refuse
        self.highest = 0
        self.max_inflight = max_inflight
        self.leaving = False
        # A caller that did not wait for the answer to HELLO does not know max_inflight.
        self.windows = RequestWindows(ack_window, conn_window, max(MAX_INFLIGHT, max_inflight))
        self._open: dict[int, Stream] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, corr_id: object) -> bool:
        return corr_id in self._open

    def clear(self) -> None:
        """Forget all: the connection is over, nothing is owed any more."""
        self._open.clear()
        self.windows.clear()

    def receive(
        self, flags: int, code: int, app: int, tenant: bytes, corr_id: int, cap: bytes, payload: bytes | None
    ) -> Event:
        """Take a frame of the caller.

        The id's state decides first, then the order of frames, then the size, then COMP.
        """
        stream = self._open.get(corr_id)
        if flags & START:
            if stream is not None and stream.state not in DROPPING:
                message = "a second START on an open stream"
                return self._breach(corr_id, stream, flags, payload, ErrorCode.CONFLICT, message)
            return self._start(flags, code, app, tenant, corr_id, cap, payload)
        if stream is None:
            if 0 < corr_id <= self.highest:
                self._drop(corr_id, flags, code, payload)
                return FrameIgnored("closed", _kind(flags))
            message = "no stream has that corr_id"
            return StreamRefused(corr_id, app, tenant, ErrorCode.BAD_SEQUENCE, message, _kind(flags))
        if stream.state in DROPPING:
            self._drop(corr_id, flags, code, payload)
            return FrameIgnored("closed", _kind(flags))
        if app != stream.app or tenant != stream.tenant:
            message = "app or tenant differ from START's"
            return self._breach(corr_id, stream, flags, payload, ErrorCode.BAD_SEQUENCE, message)
        if code == _CANCEL and flags & END and flags & REQ:
            self._over(corr_id, stream, asking=False)
            stream.state = STREAM[stream.state, StreamInput.RECEIVE_CANCEL]
            return StreamCancelled(corr_id)
        ended = flags & END != 0
        after = STREAM.get((stream.state, _RECEIVE_END if ended else _RECEIVE_BODY))
        if after is None:
            message = "a frame after END"
            return self._breach(corr_id, stream, flags, payload, ErrorCode.BAD_SEQUENCE, message)
        fault = _fault(flags, code, payload)
        if fault is not None:
            return self._breach(corr_id, stream, flags, payload, *fault)
        assert payload is not None  # else it had a fault
        if flags & COMP:
            try:
                payload = self._inflated(payload, self.max_chunk, stream.opaque)
            except InflateError as error:
                return self._breach(corr_id, stream, flags, None, error.code, error.message)
        inflow = stream.inflow
        if inflow is not None and not self.windows.received(corr_id, inflow, len(payload), asking=not ended):
            message = f"more than {inflow.window} bytes beyond the stream's CREDIT"
            # They are counted, and dropped with the rest.
            return self._breach(corr_id, stream, flags, None, ErrorCode.CREDIT_VIOLATION, message)
        stream.state = after
        return BodyReceived(corr_id, payload, ended)

    def _start(
        self, flags: int, code: int, app: int, tenant: bytes, corr_id: int, cap: bytes, payload: bytes | None
    ) -> Event:
        """Take a START on an id that is not open."""
        if corr_id == 0:
            return StreamRefused(corr_id, app, tenant, ErrorCode.BAD_SEQUENCE, "corr_id 0 is no stream")
        if corr_id <= self.highest:
            message = f"corr_id {corr_id} is not above {self.highest}"
            return StreamRefused(corr_id, app, tenant, ErrorCode.CONFLICT, message)
        self.highest = corr_id
        fault = _fault(flags, code, payload)
        opaque = flags & APP_E2E != 0
        if fault is None and flags & COMP:
            assert payload is not None  # else it had a fault
            try:
                payload = self._inflated(payload, MAX_HEAD_BYTES, opaque)
            except InflateError as error:
                fault = error.code, error.message
        fault = fault or self._no_room()
        ended, windowed = flags & END != 0, flags & ACK_REQ != 0
        if fault is not None:
            if windowed and not ended and flags & REQ:
                self.windows.remember(corr_id)
            return StreamRefused(corr_id, app, tenant, *fault)
        assert payload is not None  # else it had a fault
        stream = Stream(app, tenant, _WHOLE if ended else _BEGUN, opaque)
        self._open[corr_id] = stream
        if windowed:
            stream.inflow = Inflow(self.windows.ack_window)
            stream.outflow = Outflow(self.windows.ack_window)
        return StreamOpened(corr_id, app, tenant, cap, payload, ended, windowed, opaque)

    def _inflated(self, payload: bytes, limit: int, opaque: bool) -> bytes:
        """Inflate the payload of a frame with COMP to at most *limit* bytes.

        :raises InflateError: where it is not taken.
        """
        if opaque:
            raise InflateError(ErrorCode.BAD_COMPRESSION, "COMP on an opaque stream")
        return self._inflate(payload, limit)

    def _no_room(self) -> tuple[ErrorCode, str] | None:
        """Say why nothing can be opened now, or None."""
        if self.leaving:
            return ErrorCode.DRAINING, "the node is going away"
        if len(self._open) >= self.max_inflight:
            return ErrorCode.BUSY, f"{self.max_inflight} streams are open on this connection"
        return None

    def sending(self, corr_id: int, given: StreamInput) -> Stream:
        """Move a stream on by what the node is about to send.

        :raises IllegalSendError: where the stream's state forbids it; the stream is then unchanged.
        """
        stream = self._open.get(corr_id)
        after = STREAM.get((stream.state, given)) if stream is not None else None
        if stream is None or after is None:
            where = "closed" if stream is None else stream.state.name
            raise IllegalSendError(f"{given.name} on stream {corr_id}, which is {where}")
        if after is _CLOSED:
            if stream.inflow is not None:
                self._over(corr_id, stream, asking=stream.asking)
            del self._open[corr_id]
        stream.state = after
        return stream

    # Windows

    def credited(self, corr_id: int, up_to: int) -> Event:
        """Take a CREDIT of the caller.

        :raises FrameError: ``credit_violation``, where it names no stream that there ever was.
        """
        stream = self._open.get(corr_id)
        if stream is None or stream.state in DROPPING:
            if 0 < corr_id <= self.highest:
                return FrameIgnored("credit")
            what = (
                f"stream {corr_id}, which was not opened" if corr_id else "all answers: they have no window"
            )
            raise FrameError(ErrorCode.CREDIT_VIOLATION, f"CREDIT for {what}")
        outflow = stream.outflow
        if outflow is None:
            return FrameIgnored("credit")
        if outflow.credit(up_to):
            return CreditReceived(corr_id, up_to)
        self._over(corr_id, stream, asking=stream.asking)
        stream.state = STREAM[stream.state, StreamInput.RECEIVE_BREACH]
        message = f"CREDIT up to {up_to}, after {outflow.credited}, where {outflow.sent} bytes were sent"
        return StreamFailed(corr_id, ErrorCode.CREDIT_VIOLATION, message, "event")

    def taken(self, corr_id: int, size: int) -> None:
        """Note that *size* bytes of a request's body were taken; harmless where the stream is over."""
        stream = self._open.get(corr_id)
        if stream is not None and stream.inflow is not None:
            self.windows.taken(corr_id, stream.inflow, size, asking=stream.asking)

    def room(self, corr_id: int) -> int | None:
        """Return how many bytes of a stream's answer may be sent now; None: it has no window."""
        stream = self._open.get(corr_id)
        return None if stream is None or stream.outflow is None else stream.outflow.room

    def _breach(
        self,
        corr_id: int,
        stream: Stream,
        flags: int,
        payload: bytes | None,
        code: ErrorCode,
        message: str,
    ) -> StreamFailed:
        # What is no request counts nothing, as its sender knows; the same as where it is dropped.
        if stream.inflow is not None and flags & REQ and not flags & START:
            self.windows.received(corr_id, stream.inflow, self._size(flags, payload), asking=False)
        self._over(corr_id, stream, asking=stream.asking and not flags & END)
        stream.state = STREAM[stream.state, StreamInput.RECEIVE_BREACH]
        return StreamFailed(corr_id, code, message, _kind(flags))

    def _over(self, corr_id: int, stream: Stream, *, asking: bool) -> None:
        """Let go of a stream's windows: its request is of no use any more."""
        inflow, stream.inflow = stream.inflow, None
        if inflow is not None:
            self.windows.over(corr_id, inflow, asking=asking)

    def _drop(self, corr_id: int, flags: int, code: int, payload: bytes | None) -> None:
        """Count what came for a stream that is over."""
        if flags & REQ and self.windows.is_late(corr_id):
            size = 0 if code == _CANCEL else self._size(flags, payload)
            self.windows.late(corr_id, size, ended=flags & END != 0)

    def _size(self, flags: int, payload: bytes | None) -> int:
        """Return how much a chunk counts that is dropped: as much as if it were taken, or nothing."""
        if payload is None:
            return 0
        if flags & COMP:
            try:
                return len(self._inflate(payload, self.max_chunk))
            except InflateError:
                return 0
        return len(payload)


def _kind(flags: int) -> str:
    """Return what metrics call a frame with *flags* outside app 0."""
    return "start" if flags & START else "end" if flags & END else "data"


def _fault(flags: int, code: int, payload: bytes | None) -> tuple[ErrorCode, str] | None:
    """Say what is wrong with a request frame by itself, or None."""
    if not flags & REQ:
        return ErrorCode.BAD_SEQUENCE, "only REQ frames come from a caller"
    if code:
        if code == _CANCEL and flags & END:
            return ErrorCode.CANCELLED, ""
        return ErrorCode.BAD_SEQUENCE, f"code {code} in a request"
    if payload is None:
        if flags & START:
            return ErrorCode.HEAD_TOO_LARGE, f"the head is over {MAX_HEAD_BYTES} bytes"
        return ErrorCode.CHUNK_TOO_LARGE, "the chunk is over max_chunk"
    return None


_CANCEL: Final = int(Code.CANCEL)
# Looked up once: attribute access on an Enum class is slow before Python 3.12, and these run once a frame.
_BEGUN: Final = STREAM[StreamState.IDLE, StreamInput.RECEIVE_START]
_WHOLE: Final = STREAM[StreamState.IDLE, StreamInput.RECEIVE_WHOLE]
_CLOSED: Final = StreamState.CLOSED
_RECEIVE_BODY: Final = StreamInput.RECEIVE_BODY
_RECEIVE_END: Final = StreamInput.RECEIVE_END
