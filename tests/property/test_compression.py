"""Properties of what inflates: whatever comes, it is events or one error, and never more than allowed.

Run by pytest. The examples are the same in every run.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from micronode.calls.inflate import bound_of, inflate_gzip, inflate_zstd
from micronode.errors import ErrorCode, NodeError
from micronode.oap.compression import deflate, make_inflate
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.events import (
    BodyReceived,
    FrameIgnored,
    HelloReceived,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.frames import COMP, END, REQ, START, encode_frame
from tests.support.vector_compression import REFUSED, TAKEN, block

bounded = settings(derandomize=True, database=None, deadline=None, max_examples=300)
APP = 0x0101
KNOWN = [payload for _, payload, _ in (*TAKEN, *REFUSED)]
REFUSALS = (ErrorCode.BAD_COMPRESSION, ErrorCode.DECOMPRESS_CAP)

compressors = st.sampled_from((zstandard.ZstdCompressor(level=1).compress, gzip.compress))
#: Honest contents, from random to repeated.
contents = st.builds(lambda piece, times: piece * times, st.binary(max_size=600), st.integers(0, 40))


@st.composite
def zstd_like(draw: st.DrawFn) -> bytes:
    """Bytes that look like a zstd frame: any header, blocks of any kind and size, bytes that are wrong."""
    data = b"\x28\xb5\x2f\xfd" + draw(st.binary(min_size=2, max_size=14))
    for _ in range(draw(st.integers(0, 4))):
        kind, size = draw(st.integers(0, 3)), draw(st.none() | st.integers(0, (1 << 21) - 1))
        data += block(kind, draw(st.binary(max_size=40)), size, last=draw(st.booleans()))
    return data


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A payload of the vectors, with some bytes changed, cut off or added."""
    data = bytearray(draw(st.sampled_from(KNOWN))[:3_000])
    for _ in range(draw(st.integers(0, 4))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(data)))
    return bytes(data[:end] if draw(st.booleans()) else data) + draw(st.binary(max_size=4))


payloads = st.binary(max_size=200) | zstd_like() | damaged()
flags_beside_comp = st.sampled_from((0, START, END, START | END))


def outcome(inflate: Callable[..., bytes], *given: object) -> bytes | ErrorCode:
    """Return what *inflate* returns, or why it refuses."""
    try:
        return inflate(*given)
    except NodeError as error:
        return error.code


@bounded
@given(payloads, st.integers(0, 70_000), st.integers(1, 10), st.sampled_from((inflate_zstd, inflate_gzip)))
@example(b"\x1f\x8b\x08\x00", 0, 1, inflate_gzip)
def test_anything_is_within_the_bound_or_refused(
    data: bytes, limit: int, ratio: int, inflate: Callable[[bytes, int, int], bytes]
) -> None:
    came = outcome(inflate, data, limit, ratio)
    if isinstance(came, bytes):
        assert len(came) <= bound_of(len(data), limit, ratio)
    else:
        assert came in REFUSALS


@bounded
@given(contents, compressors, st.integers(0, 30_000))
def test_what_was_compressed_comes_back_where_it_may(
    data: bytes, compress: Callable[[bytes], bytes], limit: int
) -> None:
    packed = compress(data)
    inflate = inflate_gzip if compress is gzip.compress else inflate_zstd
    fits = len(data) <= bound_of(len(packed), limit)
    assert outcome(inflate, packed, limit) == (data if fits else ErrorCode.DECOMPRESS_CAP)


@bounded
@given(contents.map(lambda data: data[:65_536]))
def test_what_the_node_compresses_every_caller_takes(data: bytes) -> None:
    packed = deflate(data)
    if packed is not None:
        assert len(packed) <= len(data) * 0.9
        assert make_inflate()(packed, 65_536) == data


@bounded
@given(
    st.lists(
        st.tuples(st.sampled_from((0, START, END, START | END)), st.integers(1, 4), payloads), max_size=8
    )
)
def test_frames_with_comp_are_one_event_each(said: list[tuple[int, int, bytes]]) -> None:
    node = NodeConnection(max_chunk=8_192, inflate=make_inflate())
    [greeted] = node.receive(encode_frame(REQ, 0, 0, 0, b"{}"))
    assert isinstance(greeted, HelloReceived)
    node.send_hello(greeted, {})
    list(node.receive(encode_frame(REQ | START, 0, APP, 1, b"{}")))
    for flags, corr_id, payload in said:
        [event] = node.receive(encode_frame(REQ | COMP | flags, 0, APP, corr_id, payload))
        if isinstance(event, BodyReceived):
            assert len(event.data) <= 8_192
        elif isinstance(event, StreamOpened):
            assert len(event.head) <= 16_384
        elif isinstance(event, (StreamFailed, StreamRefused)):
            assert event.code in (*REFUSALS, ErrorCode.BAD_SEQUENCE, ErrorCode.CONFLICT)
        else:
            assert isinstance(event, FrameIgnored)
    # The connection goes on, whatever it was.
    [opened] = node.receive(encode_frame(REQ | START | END, 0, APP, 9, b"{}"))
    assert isinstance(opened, StreamOpened)
