"""Frames for the vectors, written by hand so that the vectors do not come from the code they test."""

from __future__ import annotations

import json
from typing import Any

REQ, RESP, EVENT, START, END, ACK_REQ, COMP, APP_E2E = (1 << bit for bit in range(8))

#: Longest payload of START, in bytes; longest capability.
HEAD_BYTES, CAP_BYTES = 16_384, 8_192

Vector = dict[str, Any]


def frame(
    flags: int,
    code: int = 0,
    app: int = 0,
    corr_id: int = 0,
    payload: bytes = b"",
    *,
    tenant: int = 0,
    cap: bytes = b"",
    length: int | None = None,
    version: int = 1,
    cap_length: int | None = None,
) -> bytes:
    """Return a frame; *length*, *version* and *cap_length* let it lie."""
    fields = (
        (38 + len(cap) + len(payload) if length is None else length, 4),
        (version, 2),
        (flags, 2),
        (code, 2),
        (app, 2),
        (tenant, 16),
        (len(cap) if cap_length is None else cap_length, 2),
        (corr_id, 8),
    )
    return b"".join(value.to_bytes(size, "big") for value, size in fields) + cap + payload


def compact(value: Any) -> bytes:
    """Return *value* as the JSON that a node writes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _good(name: str, flags: int, app: int, payload: bytes, *, corr_id: int = 1, cap: bytes = b"") -> Vector:
    data = frame(flags, 0, app, corr_id, payload, cap=cap)
    fields = {
        "len": len(data),
        "ver": 1,
        "flags": flags,
        "code": 0,
        "app_proto_id": app,
        "tenant_id": "0" * 32,
        "cap_len": len(cap),
        "corr_id": str(corr_id),
        "cap": cap.hex(),
        "payload": payload.hex(),
    }
    return {"name": name, "kind": "valid", "hex": data.hex(), "frame": fields}


def good_frames() -> list[Vector]:
    """Frames at the edges of what is legal."""
    vectors = [
        _good("head_at_its_limit", REQ | START, 0x0402, b" " * HEAD_BYTES),
        _good("cap_at_its_limit", REQ | START, 0x0402, b"{}", cap=b"c" * CAP_BYTES),
        _good("cap_fills_the_frame", REQ | START, 0x0402, b"", cap=b"c" * 64),
        _good("nothing_but_a_header", REQ, 0, b"", corr_id=0),
    ]
    return vectors + [
        _good(f"flags_{flags:02x}", flags, 0x0101, b"x", corr_id=flags)
        for direction in (REQ, RESP, EVENT)
        for flags in range(direction, 256, 8)
        if flags & 7 == direction
    ]


def bad_frames() -> list[Vector]:
    """Frames with a connection-class error, and what is wrong first where several things are."""

    def bad(name: str, error: str, data: bytes) -> Vector:
        return {"name": name, "kind": "invalid", "hex": data.hex(), "micronode_error": error}

    long_cap = CAP_BYTES + 1
    return [
        bad("flags_none", "bad_flags", frame(0, 0, 1, 1)),
        bad("flags_resp_event", "bad_flags", frame(RESP | EVENT, 0, 1, 1)),
        bad("flags_all_directions", "bad_flags", frame(REQ | RESP | EVENT, 0, 1, 1)),
        *(bad(f"flags_bit_{bit}", "bad_flags", frame(REQ | 1 << bit, 0, 1, 1)) for bit in range(9, 15)),
        bad("cap_over_its_limit", "cap_too_large", frame(REQ | START, 0, 1, 1, cap=b"c" * long_cap)),
        bad(
            "cap_over_before_it_came",
            "cap_too_large",
            frame(REQ | START, 0, 1, 1, length=65_536, cap_length=long_cap),
        ),
        bad("cap_on_resp", "cap_on_non_start", frame(RESP, 200, 1, 1, cap=b"c")),
        bad("first_len_then_ver", "frame_too_large", frame(REQ, length=1 << 20 | 1, version=2)),
        bad("first_short_len_then_ver", "bad_length", frame(REQ, length=37, version=2)),
        bad("first_ver_then_flags", "bad_version", frame(0x8000, version=2)),
        bad("first_flags_then_cap", "bad_flags", frame(0x8000, cap_length=9)),
        bad("first_cap_without_start", "cap_on_non_start", frame(REQ, cap_length=0xFFFF)),
        bad("first_cap_past_end", "bad_length", frame(REQ | START, cap_length=0xFFFF)),
        bad("little_endian_len", "frame_too_large", bytes.fromhex("26000000") + frame(REQ)[4:]),
        bad("http_request", "frame_too_large", b"GET / HTTP/1.1\r\nHost: localhost:5312\r\n\r\n"),
        bad("tls_client_hello", "frame_too_large", bytes.fromhex("16030100f5010000f10303") + bytes(32)),
    ]


#: Where in a header the bytes end that show an error, by its name and the header at hand.
def detected_after(error: str, data: bytes) -> int:
    """Return after how many bytes of *data* a decoder must have refused it."""
    length = int.from_bytes(data[:4], "big")
    if error == "frame_too_large" or (error == "bad_length" and length < 38):
        return 4
    return {"bad_version": 6, "bad_flags": 8}.get(error, 30)
