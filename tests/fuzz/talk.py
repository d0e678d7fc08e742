"""What a fuzzer's bytes mean: a way to run the core, cuts, and what a peer says.

Layout of an input: the mode (1 byte), the number of cuts (1 byte, its low 2 bits), that many positions (2
bytes each), and the talk. The talk is either the bytes of the wire as they are, or *dense*: three bytes a
frame and its payload, so that a mutation of one byte makes another legal frame rather than noise. Modes
are read in :mod:`tests.fuzz.oap_target`.
"""

from __future__ import annotations

from typing import Final

import zstandard

from micronode.oap.wire.frames import ACK_REQ, APP_E2E, COMP, END, EVENT, REQ, RESP, START, encode_frame
from micronode.oap.wire.heads import dump_object

MAX_CUTS: Final = 3
#: Frames of a dense talk: more of them reach nothing new, and each costs executions.
MAX_FRAMES: Final = 24
#: Flags of dense frames: what a caller says, and what a node says.
CALLER_FLAGS: Final = (
    REQ,
    REQ | END,
    REQ | START,
    REQ | START | END,
    REQ | START | ACK_REQ,
    REQ | START | END | ACK_REQ,
    REQ | START | APP_E2E,
    REQ | COMP,
    REQ | START | COMP,
    EVENT,
    EVENT | START,
    RESP,
    REQ | EVENT,
    0x0100 | REQ,
    EVENT | COMP,
    REQ | COMP | END,
)
NODE_FLAGS: Final = (
    RESP,
    RESP | END,
    RESP | START,
    RESP | START | END,
    RESP | COMP,
    RESP | START | COMP,
    RESP | END | COMP,
    EVENT,
    EVENT | START,
    EVENT | END,
    REQ,
    RESP | ACK_REQ,
    RESP | EVENT,
    0x8000 | RESP,
    EVENT | COMP,
    RESP | START | END | COMP,
)
CALLER_CODES: Final = (0, 0, 0, 0, 0, 499, 499, 100, 100, 102, 102, 200, 503, 206, 1, 0xFFFF)
NODE_CODES: Final = (200, 200, 206, 206, 200, 499, 400, 100, 100, 102, 503, 299, 500, 0, 429, 0xFFFF)
APPS: Final = (0x0101, 0x0101, 0x0101, 0, 0, 0x0402, 0x0201, 0x0501)

GREETING: Final = encode_frame(REQ, 0, 0, 1, b'{"ua":null,"accept":["zstd"]}')
REPLY: Final = encode_frame(
    RESP,
    200,
    0,
    0,
    dump_object(
        {
            "max_frame": 8_192,
            "max_inflight": 3,
            "flags_supported": 255,
            "versions": [1],
            "ack_window": 96,
            "conn_window": 160,
            "max_chunk": 256,
        }
    ),
)

_ZSTD: Final = zstandard.ZstdCompressor(level=1)
#: Payloads that no mutation of single bytes would find.
PAYLOADS: Final = (
    b"{}",
    b'{"op":"get","args":{"cid":"b3:00"}}',
    b'{"status":200,"length":5}',
    b'{"code":"busy","message":"m","retryable":true,"retry_after_ms":7,"request_id":"r"}',
    b'{"ua":null,"max_frame":4096,"accept":["zstd"]}',
    b'{"max_frame":4096,"max_inflight":2,"flags_supported":32,"ack_window":64,"conn_window":64,"max_chunk":99}',
    bytes(300),
    bytes(257),
    bytes(16_385),
    _ZSTD.compress(b"inflated, and a little longer" * 3),
    _ZSTD.compress(bytes(8_192)),
    _ZSTD.compress(b""),
)
#: Lengths up to this are literal, then come CREDITs, then PAYLOADS.
_LITERAL: Final = 223
_CREDIT: Final = 255 - len(PAYLOADS)


def read_input(data: bytes) -> tuple[int, list[int], bytes]:
    """Return the mode, the cuts and the talk of an input."""
    if len(data) < 2:
        return 0, [], b""
    end = 2 + 2 * (data[1] & MAX_CUTS)
    cuts = [int.from_bytes(data[at : at + 2], "big") for at in range(2, end, 2)]
    return data[0], cuts, data[end:]


def write_input(mode: int, talk: bytes, cuts: tuple[int, ...] = ()) -> bytes:
    """Return the input that :func:`read_input` reads."""
    assert len(cuts) <= MAX_CUTS
    return bytes((mode, len(cuts))) + b"".join(cut.to_bytes(2, "big") for cut in cuts) + talk


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut *data* at those positions, each taken modulo its length."""
    size = len(data) + 1
    pieces, start = [], 0
    for cut in sorted(cut % size for cut in cuts):
        pieces.append(data[start:cut])
        start = cut
    pieces.append(data[start:])
    return pieces


def dense(talk: bytes, *, caller: bool) -> bytes:
    """Return the frames that a dense talk stands for.

    A frame: flags and code (half a byte each), where it goes (3 bits of corr_id, 3 of app, a bit for
    another tenant, one for a capability), the length of its payload, the payload.
    """
    flags_of, codes = (CALLER_FLAGS, CALLER_CODES) if caller else (NODE_FLAGS, NODE_CODES)
    frames, at, size = [], 0, len(talk)
    while at + 3 <= size and len(frames) < MAX_FRAMES:
        what, where, length = talk[at : at + 3]
        at += 3
        flags, code = flags_of[what & 15], codes[what >> 4]
        app = APPS[where >> 3 & 7]
        if length <= _LITERAL:
            payload = talk[at : at + length]
            at += length
        elif length <= _CREDIT:
            # A CREDIT by its next byte; as any payload it is 8 bytes.
            payload = (talk[at] * (length - _LITERAL) if at < size else 0).to_bytes(8, "big")
            at += 1
        else:
            payload = PAYLOADS[length - _CREDIT - 1]
        frames.append(
            encode_frame(
                flags,
                code,
                app,
                where & 7,
                payload,
                tenant=b"t" * 16 if where & 64 else bytes(16),
                cap=b"cap" if where & 128 else b"",
            )
        )
    return b"".join(frames)
