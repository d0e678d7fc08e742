"""The frame: its header, flags and codes, and how one is written. ``specs/oap-1.md`` section 1."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from micronode.oap.wire.limits import HEADER_BYTES, VERSION

#: len, ver, flags, code, app_proto_id, tenant_id, cap_len, corr_id: network byte order.
HEADER: Final = Struct(">IHHHH16sHQ")
#: tenant_id 0: unspecified.
NO_TENANT: Final = bytes(16)


class Flag(IntFlag):
    """What a frame is; bits 8 to 15 are reserved."""

    REQ = 1
    RESP = 2
    EVENT = 4
    START = 8
    END = 16
    ACK_REQ = 32
    COMP = 64
    APP_E2E = 128


# Plain integers: an IntFlag operation costs twenty times an int's, and these run once a frame.
REQ: Final = int(Flag.REQ)
RESP: Final = int(Flag.RESP)
EVENT: Final = int(Flag.EVENT)
START: Final = int(Flag.START)
END: Final = int(Flag.END)
ACK_REQ: Final = int(Flag.ACK_REQ)
COMP: Final = int(Flag.COMP)
APP_E2E: Final = int(Flag.APP_E2E)

#: Every legal value of ``flags``: no reserved bit, exactly one direction.
LEGAL_FLAGS: Final = frozenset(
    flags for flags in range(256) if (flags & (REQ | RESP | EVENT)) in (REQ, RESP, EVENT)
)


class Code(IntEnum):
    """Values of ``code`` that are not errors."""

    REQUEST = 0
    OK = 200
    PARTIAL = 206
    CANCEL = 499


class Control(IntEnum):
    """Values of ``code`` in control frames (app 0, EVENT)."""

    CREDIT = 100
    PING = 102
    PONG = 200
    GOAWAY = 503


def encode_frame(
    flags: int,
    code: int,
    app: int,
    corr_id: int,
    payload: bytes = b"",
    *,
    tenant: bytes = NO_TENANT,
    cap: bytes = b"",
) -> bytes:
    """Return one whole frame. Checks nothing: the connection decides what is legal."""
    cap_length = len(cap)
    header = HEADER.pack(
        HEADER_BYTES + cap_length + len(payload), VERSION, flags, code, app, tenant, cap_length, corr_id
    )
    return b"".join((header, cap, payload))
