"""The states of a connection and of a stream, at both ends: the only place that decides what is legal when.

A pair that is not in a table is illegal: the connection then names the peer's mistake (a received
input) or raises :class:`IllegalSendError` (a sent one, our own defect). Drawn in ``docs/diagrams/``.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class _Key(Enum):
    """What the tables are looked up by, once a frame: the hash of an Enum is a call of Python."""

    __hash__ = object.__hash__


class ConnectionState(_Key):
    """Where a connection is, as either end sees it."""

    #: Nothing but HELLO may be said.
    FRESH = auto()
    #: HELLO was said and is not answered yet.
    GREETED = auto()
    OPEN = auto()
    #: The node said GOAWAY: open streams finish, new ones are ``draining``.
    LEAVING = auto()
    #: A connection error was found: nothing is read or sent but the error frame.
    FAILED = auto()
    CLOSED = auto()


class ConnectionInput(_Key):
    """What happens to a connection, at the node; a frame that is taken changes nothing by itself."""

    RECEIVE_HELLO = auto()
    #: A frame that would open a stream.
    RECEIVE_START = auto()
    #: Any other frame that is legal in its place.
    RECEIVE_FRAME = auto()
    SEND_HELLO = auto()
    #: A frame of a stream's answer.
    SEND_STREAM = auto()
    SEND_GOAWAY = auto()
    FAIL = auto()
    CLOSE = auto()


def _connection_table() -> dict[tuple[ConnectionState, ConnectionInput], ConnectionState]:
    state, given = ConnectionState, ConnectionInput
    table = {
        (state.FRESH, given.RECEIVE_HELLO): state.GREETED,
        (state.GREETED, given.SEND_HELLO): state.OPEN,
        (state.OPEN, given.SEND_GOAWAY): state.LEAVING,
        # A caller need not wait for the answer to HELLO; the node answers nothing else before it.
        (state.GREETED, given.RECEIVE_START): state.GREETED,
        (state.GREETED, given.RECEIVE_FRAME): state.GREETED,
        (state.OPEN, given.RECEIVE_START): state.OPEN,
    }
    for running in (state.OPEN, state.LEAVING):
        table[running, given.RECEIVE_FRAME] = running
        table[running, given.SEND_STREAM] = running
    for live in (state.FRESH, state.GREETED, state.OPEN, state.LEAVING):
        table[live, given.FAIL] = state.FAILED
    for any_state in state:
        table[any_state, given.CLOSE] = state.CLOSED
    return table


CONNECTION: Final = _connection_table()
#: Where nothing but HELLO is taken, and where whatever comes is not looked at.
(AWAITS_HELLO,) = (state for state in ConnectionState if (state, ConnectionInput.RECEIVE_HELLO) in CONNECTION)
DEAF: Final = tuple(
    state
    for state in ConnectionState
    if state is not AWAITS_HELLO and (state, ConnectionInput.RECEIVE_FRAME) not in CONNECTION
)


class StreamState(_Key):
    """Where a stream is at the node: its request side and its response side together."""

    #: There was no START yet.
    IDLE = auto()
    #: The request body is open, nothing was answered.
    OPEN = auto()
    #: The request is whole, nothing was answered.
    ASKED = auto()
    #: A head was sent while the request body is still open.
    OPEN_ANSWERING = auto()
    #: The request is whole and a head was sent.
    ANSWERING = auto()
    #: The caller cancelled, or broke the protocol: only the terminal frame is owed.
    OWED = auto()
    #: The terminal frame was sent.
    CLOSED = auto()


class StreamInput(_Key):
    """What happens to a stream; RECEIVE_* is the caller's doing, SEND_* is ours."""

    RECEIVE_START = auto()
    #: START and END in one frame: there is no body.
    RECEIVE_WHOLE = auto()
    RECEIVE_BODY = auto()
    RECEIVE_END = auto()
    RECEIVE_CANCEL = auto()
    #: Any breach of the protocol on this stream.
    RECEIVE_BREACH = auto()
    SEND_HEAD = auto()
    SEND_BODY = auto()
    #: A message of a subscription.
    SEND_EVENT = auto()
    SEND_END = auto()
    #: Head and end in one frame.
    SEND_WHOLE = auto()
    SEND_ERROR = auto()


def _stream_table() -> dict[tuple[StreamState, StreamInput], StreamState]:
    state, given = StreamState, StreamInput
    table = {
        (state.IDLE, given.RECEIVE_START): state.OPEN,
        (state.IDLE, given.RECEIVE_WHOLE): state.ASKED,
        (state.OPEN, given.RECEIVE_BODY): state.OPEN,
        (state.OPEN, given.RECEIVE_END): state.ASKED,
        (state.OPEN, given.SEND_HEAD): state.OPEN_ANSWERING,
        (state.OPEN, given.SEND_WHOLE): state.CLOSED,
        (state.ASKED, given.SEND_HEAD): state.ANSWERING,
        (state.ASKED, given.SEND_WHOLE): state.CLOSED,
        (state.OPEN_ANSWERING, given.RECEIVE_BODY): state.OPEN_ANSWERING,
        (state.OPEN_ANSWERING, given.RECEIVE_END): state.ANSWERING,
        (state.OPEN_ANSWERING, given.SEND_BODY): state.OPEN_ANSWERING,
        (state.OPEN_ANSWERING, given.SEND_END): state.CLOSED,
        (state.ANSWERING, given.SEND_BODY): state.ANSWERING,
        # Beside this, only where the stream has windows.
        (state.ANSWERING, given.SEND_EVENT): state.ANSWERING,
        (state.ANSWERING, given.SEND_END): state.CLOSED,
        (state.OWED, given.SEND_ERROR): state.CLOSED,
    }
    for live in (state.OPEN, state.ASKED, state.OPEN_ANSWERING, state.ANSWERING):
        table[live, given.RECEIVE_CANCEL] = state.OWED
        table[live, given.RECEIVE_BREACH] = state.OWED
        table[live, given.SEND_ERROR] = state.CLOSED
    return table


STREAM: Final = _stream_table()
#: Where more of the request may come, and where whatever comes is dropped: its sender cannot know yet.
ASKING: Final = tuple(state for state in StreamState if (state, StreamInput.RECEIVE_BODY) in STREAM)
DROPPING: Final = tuple(
    state
    for state in StreamState
    if state is not StreamState.IDLE and (state, StreamInput.RECEIVE_BREACH) not in STREAM
)


class CallerInput(_Key):
    """What happens to a connection, at the caller."""

    SEND_HELLO = auto()
    #: Its answer.
    RECEIVE_HELLO = auto()
    SEND_START = auto()
    RECEIVE_GOAWAY = auto()
    #: Any other frame that is legal in its place.
    RECEIVE_FRAME = auto()
    FAIL = auto()
    CLOSE = auto()


def _caller_table() -> dict[tuple[ConnectionState, CallerInput], ConnectionState]:
    state, given = ConnectionState, CallerInput
    table = {
        (state.FRESH, given.SEND_HELLO): state.GREETED,
        (state.GREETED, given.RECEIVE_HELLO): state.OPEN,
        (state.OPEN, given.SEND_START): state.OPEN,
    }
    for running in (state.OPEN, state.LEAVING):
        table[running, given.RECEIVE_FRAME] = running
        table[running, given.RECEIVE_GOAWAY] = state.LEAVING
    for live in (state.FRESH, state.GREETED, state.OPEN, state.LEAVING):
        table[live, given.FAIL] = state.FAILED
    for any_state in state:
        table[any_state, given.CLOSE] = state.CLOSED
    return table


CALLER: Final = _caller_table()


class CallState(_Key):
    """Where a stream is at the caller."""

    #: The request's body is open, no head has come.
    ASKING = auto()
    #: The request is whole, no head has come.
    WAITING = auto()
    #: A head has come while the request's body is still open.
    ASKING_READING = auto()
    #: The request is whole and a head has come.
    READING = auto()
    #: It was cancelled: what the node said before it knew is dropped, up to the terminal frame.
    GIVEN_UP = auto()
    #: The same, and a head has come.
    GIVEN_UP_READING = auto()
    #: The terminal frame has come.
    OVER = auto()


class CallInput(_Key):
    """What happens to a stream at the caller."""

    SEND_BODY = auto()
    SEND_END = auto()
    SEND_CANCEL = auto()
    RECEIVE_HEAD = auto()
    RECEIVE_BODY = auto()
    #: A message, where the stream is a subscription.
    RECEIVE_EVENT = auto()
    RECEIVE_END = auto()
    #: Head and end in one frame.
    RECEIVE_WHOLE = auto()
    RECEIVE_ERROR = auto()


def _call_table() -> dict[tuple[CallState, CallInput], CallState]:
    state, given = CallState, CallInput
    table = {
        (state.ASKING, given.SEND_BODY): state.ASKING,
        (state.ASKING, given.SEND_END): state.WAITING,
        (state.ASKING_READING, given.SEND_BODY): state.ASKING_READING,
        (state.ASKING_READING, given.SEND_END): state.READING,
        (state.READING, given.RECEIVE_EVENT): state.READING,
        (state.GIVEN_UP_READING, given.RECEIVE_EVENT): state.GIVEN_UP_READING,
    }
    for unanswered, answered, given_up in (
        (state.ASKING, state.ASKING_READING, state.GIVEN_UP),
        (state.WAITING, state.READING, state.GIVEN_UP),
        (state.GIVEN_UP, state.GIVEN_UP_READING, None),
    ):
        table[unanswered, given.RECEIVE_HEAD] = answered
        table[unanswered, given.RECEIVE_WHOLE] = state.OVER
        table[unanswered, given.RECEIVE_ERROR] = state.OVER
        table[answered, given.RECEIVE_BODY] = answered
        table[answered, given.RECEIVE_END] = state.OVER
        table[answered, given.RECEIVE_ERROR] = state.OVER
        if given_up is not None:
            table[unanswered, given.SEND_CANCEL] = given_up
            table[answered, given.SEND_CANCEL] = state.GIVEN_UP_READING
    return table


CALL: Final = _call_table()
#: Where nothing of the answer but its end is of interest.
GIVEN_UP: Final = tuple(
    state for state in CallState if state is not CallState.OVER and (state, CallInput.SEND_CANCEL) not in CALL
)


class IllegalSendError(Exception):
    """Our own side tried to send what its state forbids: a defect, never the peer's doing."""
