"""The compression vectors: honest frames, lies and bombs, with what comes of each.

The zstd frames are put together by hand (RFC 8878), mostly of raw and run-length blocks: a compressor
would write others with its next release, and none writes those that lie.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from tests.support.vector_frames import APP_E2E, COMP, END, EVENT, HEAD_BYTES, REQ, START, frame
from tests.support.vector_script import GET, MEDIA, Session

ASK = REQ | START | END
MAGIC = b"\x28\xb5\x2f\xfd"
FLOOR, KIB, MIB = 4_096, 1_024, 1_048_576
RAW, RLE, COMPRESSED, RESERVED = range(4)
HELLO = b"hello world"
TEXT = b"hello world, hello zstd; " * 20
#: What libzstd makes of TEXT, without and with a checksum.
PACKED_BLOCK = "f500009068656c6c6f20776f726c642c207a7374643b0300d23c1578711a60f30b"
PACKED = bytes.fromhex("28b52ffd60f400" + PACKED_BLOCK)
CHECKED = bytes.fromhex("28b52ffd0458" + PACKED_BLOCK + "59fa703c")


def block(kind: int, data: bytes, size: int | None = None, *, last: bool = False) -> bytes:
    """Return a block; *size*: how many bytes come of a run."""
    length = len(data) if size is None else size
    return (length << 3 | kind << 1 | last).to_bytes(3, "little") + data


def run(size: int, byte: bytes = b"\0", *, last: bool = False) -> bytes:
    """Return a block of *size* times the same byte."""
    return block(RLE, byte, size, last=last)


def zstd(*blocks: bytes, size: int | None = None, window_log: int = 20) -> bytes:
    """Return a frame of *blocks* and, if none of them is the last, an empty one."""
    descriptor, field = (0, b"") if size is None else (0xC0, size.to_bytes(8, "little"))
    header = bytes([descriptor, (window_log - 10) << 3]) + field
    data = MAGIC + header + b"".join(blocks)
    ended = any(each[0] & 1 for each in blocks)
    return data if ended else data + block(RAW, b"", last=True)


def raw(data: bytes, size: int | None = None, window_log: int = 20) -> bytes:
    """Return a frame that stores *data*."""
    return zstd(block(RAW, data, last=True), size=size, window_log=window_log)


def padded(stored: bytes, total: int, byte: bytes = b" ") -> tuple[bytes, bytes]:
    """Return a frame of *stored* and a run up to *total* bytes, and what comes of it."""
    data = stored + byte * (total - len(stored))
    return zstd(block(RAW, stored), run(total - len(stored), byte, last=True)), data


def skippable(data: bytes) -> bytes:
    """Return a frame that decoders pass over."""
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


STORED = bytes(range(250)) * 4
#: A frame of 1 013 bytes: what 10 times its size is.
_AT_RATIO = len(padded(STORED, 2_000)[0]) * 10

#: Name, payload of a chunk with COMP, and what comes of it.
TAKEN: tuple[tuple[str, bytes, bytes], ...] = (
    ("stored", raw(HELLO), HELLO),
    ("declared", raw(HELLO, len(HELLO)), HELLO),
    ("declared_in_one_byte", MAGIC + b"\x20\x0b" + block(RAW, HELLO, last=True), HELLO),
    ("compressed_block", PACKED, TEXT),
    ("checksum", CHECKED, TEXT),
    ("nothing_in_a_frame", zstd(), b""),
    ("nothing_declared", zstd(size=0), b""),
    ("many_empty_blocks", zstd(*[block(RAW, b"")] * 500), b""),
    ("many_blocks", zstd(*[block(RAW, b"ab")] * 200), b"ab" * 200),
    ("run_at_the_floor", zstd(run(FLOOR)), bytes(FLOOR)),
    ("run_at_the_floor_declared", zstd(run(FLOOR), size=FLOOR), bytes(FLOOR)),
    ("at_the_ratio", *padded(STORED, _AT_RATIO)),
    ("window_of_8_mib", raw(HELLO, window_log=23), HELLO),
    ("dictionary_id_0", MAGIC + b"\x01\x50\x00" + block(RAW, HELLO, last=True), HELLO),
)
#: Name, payload, and the error.
REFUSED: tuple[tuple[str, bytes, str], ...] = (
    ("one_over_the_floor", zstd(run(FLOOR + 1)), "decompress_cap"),
    ("one_over_the_floor_declared", zstd(run(FLOOR + 1), size=FLOOR + 1), "decompress_cap"),
    ("one_over_the_ratio", padded(STORED, _AT_RATIO + 1)[0], "decompress_cap"),
    ("runs", zstd(*[run(128 * KIB)] * 100), "decompress_cap"),
    ("runs_within_1000_times_64_kib", zstd(*[run(64)] * 1_000), "decompress_cap"),
    ("runs_then_broken", zstd(*[run(FLOOR)] * 3, block(RESERVED, b"x")), "bad_compression"),
    ("lies_1_tib", raw(HELLO, 1 << 40), "decompress_cap"),
    ("lies_8_eib", raw(HELLO, 1 << 63), "decompress_cap"),
    ("lies_2_64_less_2", raw(HELLO, (1 << 64) - 2), "decompress_cap"),
    ("lies_1_mib_with_a_run", zstd(run(FLOOR), size=MIB), "decompress_cap"),
    ("lies_one_up", raw(HELLO, len(HELLO) + 1), "bad_compression"),
    ("lies_one_down", raw(HELLO, len(HELLO) - 1), "bad_compression"),
    ("lies_nothing", raw(HELLO, 0), "bad_compression"),
    ("lies_small_bomb", zstd(*[run(128 * KIB)] * 100, size=FLOOR), "bad_compression"),
    ("two_frames", raw(HELLO) * 2, "bad_compression"),
    ("many_frames", zstd(run(FLOOR)) * 500, "bad_compression"),
    ("frame_and_nothing", raw(HELLO) + zstd(), "bad_compression"),
    ("window_of_9_mib", MAGIC + b"\x00\x69" + block(RAW, HELLO, last=True), "decompress_cap"),
    ("window_of_2_gib", raw(HELLO, window_log=31), "decompress_cap"),
    ("window_of_3_75_tib", MAGIC + b"\x00\xff" + block(RAW, HELLO, last=True), "bad_compression"),
    ("run_over_the_largest_block", zstd(run(128 * KIB + 1)), "bad_compression"),
    ("stored_over_the_window", raw(bytes(1_025), window_log=10), "bad_compression"),
    ("cut_in_the_magic", MAGIC[:3], "bad_compression"),
    ("cut_in_the_header", MAGIC + b"\xc0\x50\x00", "bad_compression"),
    ("cut_before_the_blocks", MAGIC + b"\x00\x50", "bad_compression"),
    ("cut_in_a_block_header", raw(HELLO)[:8], "bad_compression"),
    ("cut_in_a_block", raw(HELLO)[:-1], "bad_compression"),
    ("cut_in_a_compressed_block", PACKED[:-1], "bad_compression"),
    ("cut_before_the_last_block", zstd(block(RAW, HELLO))[:-3], "bad_compression"),
    ("cut_in_the_checksum", CHECKED[:-1], "bad_compression"),
    ("checksum_wrong", CHECKED[:-1] + b"\0", "bad_compression"),
    ("trailing_byte", raw(HELLO) + b"\0", "bad_compression"),
    ("trailing_text", raw(HELLO) + HELLO, "bad_compression"),
    ("dictionary_id", MAGIC + b"\x01\x50\x07" + block(RAW, HELLO, last=True), "bad_compression"),
    ("skippable_alone", skippable(HELLO), "bad_compression"),
    ("skippable_before", skippable(HELLO) + raw(HELLO), "bad_compression"),
    ("skippable_after", raw(HELLO) + skippable(b""), "bad_compression"),
    ("skippable_of_4_gib", b"\x50\x2a\x4d\x18\xff\xff\xff\xff", "bad_compression"),
    ("no_bytes", b"", "bad_compression"),
    ("no_frame", b"just text, with COMP set", "bad_compression"),
    ("gzip", gzip.compress(HELLO, mtime=0), "bad_compression"),
    ("frame_of_version_0_7", b"\x27\xb5\x2f\xfd" + raw(HELLO)[4:], "bad_compression"),
    ("reserved_block", zstd(block(RESERVED, HELLO, last=True)), "bad_compression"),
    ("reserved_header_bit", MAGIC + b"\x08\x50" + block(RAW, HELLO, last=True), "bad_compression"),
    ("broken_block", zstd(block(COMPRESSED, b"\xff" * 20, last=True)), "bad_compression"),
)


def _session(name: str, about: str, **limits: int) -> Session:
    session = Session(f"comp_{name}", about, **limits)
    session.hello()
    return session


def chunks() -> Iterator[Session]:
    """Every shape of payload, as a chunk."""
    for name, payload, data in TAKEN:
        session = _session(name, "taken; what counts is what came of it")
        session.opens(REQ | START, MEDIA, 1)
        session.body(REQ | COMP, 1, data, payload=payload)
        session.body(REQ | COMP | END, 1, HELLO, payload=raw(HELLO))
        yield session
    for name, payload, error in REFUSED:
        session = _session(name, "ends its stream and disturbs no other")
        session.opens(REQ | START, MEDIA, 1)
        session.opens(REQ | START, MEDIA, 2)
        session.breaks(frame(REQ | COMP, 0, MEDIA, 1, payload), 1, error)
        session.ignored(frame(REQ | END | COMP, 0, MEDIA, 1, payload), "closed")
        session.body(REQ | COMP | END, 2, HELLO, payload=raw(HELLO))
        session.pings(b"still here")
        yield session

    session = _session("chunk_at_max_chunk", "inflated, too, a chunk has at most that", max_chunk=5_000)
    session.opens(REQ | START, MEDIA, 1)
    payload, data = padded(STORED, 5_000)
    session.body(REQ | COMP, 1, data, payload=payload)
    session.breaks(frame(REQ | COMP, 0, MEDIA, 1, padded(STORED, 5_001)[0]), 1, "decompress_cap")
    session.opens(REQ | START, MEDIA, 2)
    session.breaks(frame(REQ | COMP, 0, MEDIA, 2, zstd(run(FLOOR), size=5_001)), 2, "decompress_cap")
    session.opens(REQ | START, MEDIA, 3)
    session.breaks(frame(REQ | COMP, 0, MEDIA, 3, bytes(5_001)), 3, "chunk_too_large")
    yield session

    session = Session("comp_chunk_at_agreed_max_chunk", "what HELLO agreed on binds", max_chunk=65_536)
    session.hello(b'{"max_frame":4096}', wish=4_096)
    session.opens(REQ | START, MEDIA, 1)
    session.body(REQ | COMP, 1, bytes(4_058), payload=zstd(run(4_058)))
    session.breaks(frame(REQ | COMP, 0, MEDIA, 1, zstd(run(4_059))), 1, "decompress_cap")
    yield session


def heads() -> Iterator[Session]:
    """COMP on START."""
    session = _session("start", "a head may come compressed", max_inflight=1)
    session.opens(ASK, MEDIA, 1, payload=raw(GET), cap=b"token")
    session.refused(frame(ASK | COMP, 0, MEDIA, 2, raw(GET)), "busy")
    session.refused(frame(ASK | COMP, 0, MEDIA, 3, GET), "bad_compression")
    session.refused(frame(ASK | COMP, 0, MEDIA, 3, raw(GET)), "conflict")
    yield session

    stored = GET + b" " * 2_000
    session = _session("start_at_16_kib", "inflated, too, a head has at most 16 384 bytes", max_chunk=64)
    payload, data = padded(stored, HEAD_BYTES)
    session.opens(ASK, MEDIA, 1, data, payload=payload)
    session.refused(frame(ASK | COMP, 0, MEDIA, 2, padded(stored, HEAD_BYTES + 1)[0]), "decompress_cap")
    declared = zstd(block(RAW, stored), size=HEAD_BYTES + 1)
    session.refused(frame(ASK | COMP, 0, MEDIA, 3, declared), "decompress_cap")
    session.refused(frame(ASK | COMP, 0, MEDIA, 4, zstd(run(FLOOR + 1, b" "))), "decompress_cap")
    session.refused(frame(ASK | COMP, 0, MEDIA, 5, bytes(HEAD_BYTES + 1)), "head_too_large")
    session.opens(ASK, MEDIA, 6)
    yield session

    session = _session("start_order", "the id, the direction and the code come before COMP, slots after")
    session.opens(REQ | START, MEDIA, 1)
    session.breaks(frame(ASK | COMP, 0, MEDIA, 1, b"x"), 1, "conflict")
    session.refused(frame(ASK | COMP, 0, MEDIA, 0, b"x"), "bad_sequence")
    session.refused(frame(ASK | COMP, 1, MEDIA, 2, b"x"), "bad_sequence")
    session.refused(frame(ASK | COMP, 499, MEDIA, 3, b"x"), "cancelled")
    session.refused(frame(EVENT | START | COMP, 0, MEDIA, 4, b"x"), "bad_sequence")
    yield session


def places() -> Iterator[Session]:
    """COMP where it may not be, or does not count."""
    session = _session("opaque", "with APP_E2E nothing is inflated, not even the head")
    session.refused(frame(REQ | START | COMP | APP_E2E, 0, MEDIA, 1, raw(GET)), "bad_compression")
    session.opens(REQ | START | APP_E2E, MEDIA, 2)
    session.body(REQ, 2, raw(HELLO))
    session.breaks(frame(REQ | COMP, 0, MEDIA, 2, raw(HELLO)), 2, "bad_compression")
    session.opens(REQ | START, MEDIA, 3)
    session.body(REQ | COMP | APP_E2E, 3, HELLO, payload=raw(HELLO))
    yield session

    session = _session("closed", "what nobody waits for is not inflated")
    session.opens(REQ | START, MEDIA, 5)
    session.cancels(5, flags=REQ | END | COMP, payload=b"x")
    session.ignored(frame(REQ | COMP, 0, MEDIA, 5, zstd(*[run(128 * KIB)] * 100)), "closed")
    session.ignored(frame(REQ | COMP, 0, MEDIA, 4, b"x"), "closed")
    session.refused(frame(REQ | COMP, 0, MEDIA, 6, raw(HELLO)), "bad_sequence")
    session.opens(REQ | START, MEDIA, 6)
    session.body(REQ | END, 6)
    session.breaks(frame(REQ | COMP, 0, MEDIA, 6, raw(HELLO)), 6, "bad_sequence")
    yield session

    session = Session("comp_hello", "app 0 is never compressed")
    session.dies(frame(REQ | COMP, 0, 0, 1, raw(b'{"ua":null}')), "bad_compression")
    yield session
    session = _session("ping", "app 0 is never compressed")
    session.opens(REQ | START, MEDIA, 1)
    session.dies(frame(EVENT | COMP, 102, 0, 0, raw(b"x")), "bad_compression")
    yield session
