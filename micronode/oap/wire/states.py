"""The states of a connection and of a stream, as tables: the only place that decides what is legal.

A pair that is not in a table is illegal: the connection then names the peer's mistake (a received
input) or raises :class:`IllegalSendError` (a sent one, our own defect).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class _Key(Enum):
    """What the tables are looked up by, once a frame: the hash of an Enum is a call of Python."""

    __hash__ = object.__hash__


class ConnectionState(_Key):
    """Where a connection is, as the node sees it."""

    #: Nothing but HELLO may come.
    FRESH = auto()
    #: HELLO came and is being answered.
    GREETED = auto()
    OPEN = auto()
    #: GOAWAY was sent: open streams finish, new ones are ``draining``.
    LEAVING = auto()
    #: A connection error was found: nothing is read or sent but the error frame.
    FAILED = auto()
    CLOSED = auto()


class ConnectionInput(_Key):
    """What happens to a connection; a frame that is taken changes nothing by itself."""

    RECEIVE_HELLO = auto()
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
        (state.GREETED, given.RECEIVE_FRAME): state.GREETED,
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


class StreamState(_Key):
    """Where a stream is: its request side and its response side together."""

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


class IllegalSendError(Exception):
    """Our own side tried to send what its state forbids: a defect, never the peer's doing."""
