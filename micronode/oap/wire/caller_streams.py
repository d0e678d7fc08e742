"""The open streams of a caller's connection: what was asked, what may come of it, and their windows.

The mirror of :mod:`micronode.oap.wire.streams`. A node that breaks the protocol raises
:class:`~micronode.oap.wire.decoder.FrameError`, which ends the connection.
"""

from __future__ import annotations

from typing import Any, Final

from micronode.oap.wire.caller_events import (
    CallerEvent,
    CallFailed,
    ChunkReceived,
    CreditGranted,
    GoawayReceived,
    HeadReceived,
    MessageReceived,
)
from micronode.oap.wire.caller_greeting import is_count
from micronode.oap.wire.compression import Inflate, InflateError
from micronode.oap.wire.decoder import FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import FrameIgnored
from micronode.oap.wire.frames import COMP, END, EVENT, START, Code
from micronode.oap.wire.heads import HeadError, parse_object
from micronode.oap.wire.limits import (
    CONNECTION_WINDOW_BYTES,
    MAX_CHUNK_BYTES,
    MAX_HEAD_BYTES,
    STREAM_WINDOW_BYTES,
)
from micronode.oap.wire.states import IllegalSendError
from micronode.oap.wire.windows import Inflow, Outflow, credit_frame, read_credit

#: Digits of the largest corr_id, of 64 bits.
_ID_DIGITS: Final = 20


class Asked:
    """What the caller remembers of an open stream.

    :ivar asking: whether the request's body is not whole.
    :ivar answering: whether a head has come.
    :ivar subscribed: whether messages may come.
    :ivar inflow: the window of the answer, where there is one.
    :ivar outflow: the window of the request's body, likewise.
    """

    __slots__ = ("answering", "app", "asking", "cancelled", "inflow", "outflow", "subscribed")

    def __init__(self, app: int, *, asking: bool, subscribed: bool) -> None:
        self.app = app
        self.asking = asking
        self.subscribed = subscribed
        self.answering = False
        self.cancelled = False
        self.inflow: Inflow | None = None
        self.outflow: Outflow | None = None


class CallerStreams:
    """The streams that wait for their terminal frame.

    :ivar max_chunk: bytes of body a frame may carry.
    :ivar windowed: whether streams are opened with windows.
    """

    def __init__(self, inflate: Inflate | None) -> None:
        self.max_chunk = MAX_CHUNK_BYTES
        self.windowed = False
        self._inflate = inflate
        self._asked: dict[int, Asked] = {}
        self._last = 0
        self._ack_window = STREAM_WINDOW_BYTES
        self._connection = Outflow(CONNECTION_WINDOW_BYTES)
        self._due: dict[int, Inflow] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def get(self, corr_id: int) -> Asked | None:
        """Return an open stream."""
        return self._asked.get(corr_id)

    def agree(self, ack_window: int, conn_window: int, max_chunk: int, *, windowed: bool) -> None:
        """Take the node's limits."""
        self._ack_window, self.max_chunk, self.windowed = ack_window, max_chunk, windowed
        self._connection = Outflow(conn_window)

    def clear(self) -> None:
        """Forget all: the connection is over."""
        self._asked.clear()
        self._due.clear()

    # Asking

    def open(self, app: int, *, asking: bool, subscribed: bool) -> int:
        """Open a stream and return its id."""
        self._last += 1
        asked = self._asked[self._last] = Asked(app, asking=asking, subscribed=subscribed)
        if self.windowed:
            asked.inflow, asked.outflow = Inflow(self._ack_window), Outflow(self._ack_window)
        return self._last

    def asking(self, corr_id: int) -> Asked:
        """Return a stream whose request is not whole.

        :raises IllegalSendError: it is.
        """
        asked = self._asked.get(corr_id)
        if asked is None or not asked.asking:
            raise IllegalSendError(f"body on stream {corr_id}, whose request is whole or over")
        return asked

    def send(self, corr_id: int, size: int) -> Asked:
        """Count body bytes that are sent now.

        :raises IllegalSendError: they are more than there is :meth:`room` for.
        """
        asked = self.asking(corr_id)
        if asked.outflow is not None:
            room = min(asked.outflow.room, self._connection.room)
            if size > room:
                raise IllegalSendError(f"{size} bytes on stream {corr_id}, whose window has {room}")
            asked.outflow.sent += size
            self._connection.sent += size
        return asked

    def cancel(self, corr_id: int) -> Asked:
        """Note that a stream is given up: of its answer only the terminal frame counts.

        :raises IllegalSendError: it is over, or was given up before.
        """
        asked = self._asked.get(corr_id)
        if asked is None or asked.cancelled:
            raise IllegalSendError(f"cancel of stream {corr_id}, which is over")
        asked.asking, asked.cancelled = False, True
        self._due.pop(corr_id, None)
        return asked

    # Windows

    def room(self, corr_id: int) -> int | None:
        """Return how many bytes of a request's body may be sent now; None: it has no window."""
        asked = self._asked.get(corr_id)
        if asked is None or asked.outflow is None:
            return None
        return min(asked.outflow.room, self._connection.room)

    def taken(self, corr_id: int, size: int) -> None:
        """Note that *size* bytes of an answer left our buffers."""
        asked = self._asked.get(corr_id)
        if asked is None or asked.inflow is None or asked.cancelled:
            return
        if asked.inflow.take(size):
            self._due[corr_id] = asked.inflow

    def credits(self) -> bytes:
        """Return the CREDITs that are due, as frames."""
        if not self._due:
            return b""
        due, self._due = self._due, {}
        return b"".join(credit_frame(corr_id, flow.credit()) for corr_id, flow in due.items())

    def credited(self, corr_id: int, payload: bytes) -> CallerEvent:
        """Take a CREDIT.

        :raises FrameError: for what was never asked, or never sent.
        """
        if 0 < corr_id <= self._last and corr_id not in self._asked:
            return FrameIgnored("credit")
        asked = self._asked.get(corr_id)
        flow = (asked and asked.outflow) if corr_id else self._connection
        if not flow or not flow.credit(read_credit(payload)):
            raise FrameError(ErrorCode.CREDIT_VIOLATION, "CREDIT for what was not sent")
        return CreditGranted(corr_id)

    # Answers

    def receive(self, flags: int, code: int, app: int, corr_id: int, payload: bytes) -> CallerEvent:
        """Take a frame of an answer.

        :raises FrameError: it is none that may come here.
        """
        asked = self._asked.get(corr_id)
        if asked is None:
            if 0 < corr_id <= self._last:
                return FrameIgnored("closed")
            raise FrameError(ErrorCode.BAD_SEQUENCE, "an answer to what was not asked")
        if app != asked.app:
            raise FrameError(ErrorCode.BAD_SEQUENCE, "an answer of another profile")
        if flags & EVENT:
            return self._message(asked, flags, code, corr_id, payload)
        return self._answer(asked, flags, code, corr_id, payload)

    def _answer(self, asked: Asked, flags: int, code: int, corr_id: int, payload: bytes) -> CallerEvent:
        ended = flags & END != 0
        failed = code >= 400
        starts = flags & START != 0
        if (failed and (starts or not ended)) or (not failed and starts == asked.answering):
            raise FrameError(ErrorCode.BAD_SEQUENCE, "an answer out of sequence")
        if flags & COMP:
            payload = self._inflated(payload, MAX_HEAD_BYTES if starts else self.max_chunk)
        if not (failed or starts):
            self._count(corr_id, asked, len(payload))
        if ended:
            del self._asked[corr_id]
            self._due.pop(corr_id, None)
        if failed:
            return CallFailed(corr_id, code, error_object(payload))
        if starts:
            asked.answering = True
        if asked.cancelled:
            return CallFailed(corr_id, Code.CANCEL, {}) if ended else FrameIgnored("closed")
        if not starts:
            return ChunkReceived(corr_id, payload, ended)
        try:
            return HeadReceived(corr_id, parse_object(payload), ended)
        except HeadError as error:
            raise FrameError(error.code, error.message) from None

    def _message(self, asked: Asked, flags: int, code: int, corr_id: int, payload: bytes) -> CallerEvent:
        legal = asked.subscribed and asked.answering and code == Code.PARTIAL
        if not legal or not payload or flags & (START | END):
            raise FrameError(ErrorCode.BAD_SEQUENCE, "a message out of sequence")
        if flags & COMP:
            payload = self._inflated(payload, self.max_chunk)
        self._count(corr_id, asked, len(payload))
        return FrameIgnored("closed") if asked.cancelled else MessageReceived(corr_id, payload)

    def _count(self, corr_id: int, asked: Asked, size: int) -> None:
        flow = asked.inflow
        if flow is None:
            return
        if not flow.receive(size):
            raise FrameError(ErrorCode.CREDIT_VIOLATION, "more of an answer than its window takes")
        if flow.due and not asked.cancelled:
            self._due[corr_id] = flow

    def _inflated(self, payload: bytes, limit: int) -> bytes:
        if self._inflate is None:
            raise FrameError(ErrorCode.BAD_COMPRESSION, "COMP, which was not accepted")
        try:
            return self._inflate(payload, limit)
        except InflateError as error:
            raise FrameError(error.code, error.message) from None


def error_object(payload: bytes) -> dict[str, Any]:
    """Return the object in *payload*; an unreadable one is none, the status says enough."""
    try:
        return parse_object(payload)
    except HeadError:
        return {}


def read_goaway(payload: bytes) -> GoawayReceived:
    """Read what a GOAWAY says; it is one, however little of it can be read."""
    said = error_object(payload)
    wait, last = said.get("retry_after_ms"), said.get("last_corr_id")
    is_id = isinstance(last, str) and last.isascii() and last.isdigit() and len(last) <= _ID_DIGITS
    return GoawayReceived(wait if is_count(wait) else None, int(str(last)) if is_id else None)
