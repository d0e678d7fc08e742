"""The frames on app 0: what they may say to a node. ``specs/oap-1.md`` section 3.

Here every error is the connection's: a caller that gets its control frames wrong has lost count of
what it says, and no stream could carry the answer.
"""

from __future__ import annotations

from typing import Final

from micronode.oap.wire.decoder import FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import CreditReceived, Event, FrameIgnored, HelloReceived, PingReceived
from micronode.oap.wire.frames import COMP, EVENT, REQ, START, Code, Control
from micronode.oap.wire.heads import HeadError
from micronode.oap.wire.hello import parse_hello
from micronode.oap.wire.limits import MAX_PING_BYTES
from micronode.oap.wire.windows import CREDIT_BYTES, read_credit

# Looked up once: attribute access on an Enum class is slow before Python 3.12, and these run once a frame.
_PING: Final = int(Control.PING)
_CREDIT: Final = int(Control.CREDIT)


def receive_hello(flags: int, code: int, app: int, corr_id: int, payload: bytes | None) -> HelloReceived:
    """Take the first frame of a connection.

    :raises FrameError: where it is no HELLO, or one that is not taken.
    """
    if app or not flags & REQ or code != Code.REQUEST:
        raise FrameError(ErrorCode.BAD_HELLO, "the first frame must be HELLO")
    if payload is None:
        raise FrameError(ErrorCode.BAD_HELLO, "HELLO is too long")
    if flags & COMP:
        raise FrameError(ErrorCode.BAD_COMPRESSION, "COMP on HELLO")
    try:
        return HelloReceived(corr_id, parse_hello(payload))
    except HeadError as error:
        raise FrameError(error.code, error.message) from None


def receive_control(flags: int, code: int, corr_id: int, payload: bytes | None) -> Event:
    """Take a control frame after HELLO. Whether a CREDIT is a good one, only its stream knows.

    :raises FrameError: where it is none that a caller may send.
    """
    if not flags & EVENT:
        what = "a second HELLO" if flags & REQ else "RESP from the caller"
        raise FrameError(ErrorCode.BAD_SEQUENCE, what)
    if flags & START:
        raise FrameError(ErrorCode.BAD_SEQUENCE, "EVENT with START")
    if payload is None:
        raise FrameError(ErrorCode.CHUNK_TOO_LARGE, "the control frame is over max_chunk")
    if flags & COMP:
        raise FrameError(ErrorCode.BAD_COMPRESSION, "COMP on a control frame")
    if code == _PING:
        if len(payload) > MAX_PING_BYTES:
            raise FrameError(ErrorCode.BAD_REQUEST, f"a PING over {MAX_PING_BYTES} bytes")
        return PingReceived(corr_id, payload)
    if code == _CREDIT:
        if len(payload) != CREDIT_BYTES:
            raise FrameError(ErrorCode.BAD_REQUEST, f"a CREDIT whose payload is not {CREDIT_BYTES} bytes")
        return CreditReceived(corr_id, read_credit(payload))
    if code == Control.GOAWAY:
        return FrameIgnored("goaway")
    if 200 <= code <= 299:
        return FrameIgnored("event")
    raise FrameError(ErrorCode.BAD_SEQUENCE, f"unknown control code {code}")
