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
from micronode.oap.wire.heads import HeadError, parse_answer_head, parse_object
from micronode.oap.wire.limits import (
    CONNECTION_WINDOW_BYTES,
    MAX_CHUNK_BYTES,
    MAX_HEAD_BYTES,
    STREAM_WINDOW_BYTES,
)
from micronode.oap.wire.states import CALL, GIVEN_UP, CallInput, CallState, IllegalSendError
from micronode.oap.wire.windows import Inflow, Outflow, credit_frame, read_credit

# Looked up once: attribute access on an Enum class is slow before Python 3.12, and these run once a frame.
_SEND_BODY: Final = CallInput.SEND_BODY
_ERROR: Final = CallInput.RECEIVE_ERROR
#: What a frame of a good answer is, by whether it has START and END.
_ANSWER: Final = {
    (True, False): CallInput.RECEIVE_HEAD,
    (False, False): CallInput.RECEIVE_BODY,
    (False, True): CallInput.RECEIVE_END,
    (True, True): CallInput.RECEIVE_WHOLE,
}
#: Digits of the largest corr_id, of 64 bits.
_ID_DIGITS: Final = 20


class Asked:
    """What the caller remembers of an open stream.

    :ivar state: where it is; moved by :meth:`sent` and what is received.
    :ivar subscribed: whether messages may come.
    :ivar inflow: the window of the answer, where there is one.
    :ivar outflow: the window of the request's body, likewise.
    :ivar owed: bytes of the answer's body that its head promised and that have not come; None: no promise.
    """

    __slots__ = ("app", "inflow", "outflow", "owed", "state", "subscribed")

    def __init__(self, app: int, *, asking: bool, subscribed: bool) -> None:
        self.app = app
        self.state = CallState.ASKING if asking else CallState.WAITING
        self.subscribed = subscribed
        self.inflow: Inflow | None = None
        self.outflow: Outflow | None = None
        self.owed: int | None = None

    @property
    def asking(self) -> bool:
        """Whether the request's body is not whole."""
        return (self.state, _SEND_BODY) in CALL

    @property
    def given_up(self) -> bool:
        """Whether nothing of its answer but the end is of interest."""
        return self.state in GIVEN_UP


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

    def sending(self, corr_id: int, given: CallInput) -> Asked:
        """Move a stream on by what is about to be sent.

        :raises IllegalSendError: its state forbids it.
        """
        asked = self._asked.get(corr_id)
        after = None if asked is None else CALL.get((asked.state, given))
        if asked is None or after is None:
            where = "over" if asked is None else asked.state.name
            raise IllegalSendError(f"{given.name} on stream {corr_id}, which is {where}")
        asked.state = after
        return asked

    def send(self, corr_id: int, size: int) -> Asked:
        """Count body bytes that are sent now.

        :raises IllegalSendError: they are more than there is :meth:`room` for, or as :meth:`sending`.
        """
        asked = self.sending(corr_id, _SEND_BODY)
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
        asked = self.sending(corr_id, CallInput.SEND_CANCEL)
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
        if asked is None or asked.inflow is None or asked.given_up:
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
        ended, starts = flags & END != 0, flags & START != 0
        failed = code >= 400
        after = CALL.get((asked.state, _ERROR if failed else _ANSWER[starts, ended]))
        if after is None or (failed and (starts or not ended)):
            raise FrameError(ErrorCode.BAD_SEQUENCE, "an answer out of sequence")
        if flags & COMP:
            payload = self._inflated(payload, MAX_HEAD_BYTES if starts else self.max_chunk)
        if not (failed or starts):
            self._count(corr_id, asked, len(payload))
            if asked.owed is not None:
                asked.owed -= len(payload)
                if asked.owed < 0 or (ended and asked.owed):
                    raise FrameError(ErrorCode.BAD_SEQUENCE, "an answer of another length than its head says")
        dropped, asked.state = asked.given_up, after
        if ended:
            del self._asked[corr_id]
            self._due.pop(corr_id, None)
        if failed:
            return CallFailed(corr_id, code, error_object(payload))
        if dropped:
            return CallFailed(corr_id, Code.CANCEL, {}) if ended else FrameIgnored("closed")
        if not starts:
            return ChunkReceived(corr_id, payload, ended)
        try:
            head = parse_answer_head(payload)
        except HeadError as error:
            raise FrameError(error.code, error.message) from None
        # Without a body the length is what there would be, as in the answer to HEAD.
        asked.owed = head.get("length")
        return HeadReceived(corr_id, head, ended)

    def _message(self, asked: Asked, flags: int, code: int, corr_id: int, payload: bytes) -> CallerEvent:
        legal = asked.subscribed and (asked.state, CallInput.RECEIVE_EVENT) in CALL
        if not legal or code != Code.PARTIAL or not payload or flags & (START | END):
            raise FrameError(ErrorCode.BAD_SEQUENCE, "a message out of sequence")
        if flags & COMP:
            payload = self._inflated(payload, self.max_chunk)
        self._count(corr_id, asked, len(payload))
        return FrameIgnored("closed") if asked.given_up else MessageReceived(corr_id, payload)

    def _count(self, corr_id: int, asked: Asked, size: int) -> None:
        flow = asked.inflow
        if flow is None:
            return
        if not flow.receive(size):
            raise FrameError(ErrorCode.CREDIT_VIOLATION, "more of an answer than its window takes")
        if flow.due and not asked.given_up:
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
