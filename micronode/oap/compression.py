"""Compression as the connections use it: the node's and the client's, in and out.

One compressor a process, as everything here runs in the reactor's thread. Level 1: on a chunk of 64 KiB of
JSON it costs about 65 us (1 GB/s), and on random bytes 10 us, where level 3 costs 80 and 12 and saves
nothing more; on 1 KiB of JSON 4 us (zstandard 0.25, one core). What does not compress is therefore simply
tried again with every chunk.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Final

import zstandard

from micronode.calls.inflate import inflate_zstd
from micronode.errors import NodeError
from micronode.oap.wire.compression import Inflate, InflateError
from micronode.oap.wire.limits import DECOMPRESS_FLOOR_BYTES, DECOMPRESS_RATIO

_LEVEL: Final = 1
#: Shorter chunks are dominated by what a frame costs anyway.
MIN_DEFLATE_BYTES: Final = 1_024
#: Media types whose bytes are compressed already, by their beginnings.
_COMPRESSED: Final = (
    "audio/",
    "font/woff",
    "image/",
    "video/",
    "application/epub+zip",
    "application/gzip",
    "application/java-archive",
    "application/pdf",
    "application/vnd.oasis.opendocument.",
    "application/vnd.openxmlformats-officedocument.",
    "application/vnd.rar",
    "application/x-7z-compressed",
    "application/x-bzip",
    "application/x-gzip",
    "application/x-rar",
    "application/x-xz",
    "application/zip",
    "application/zstd",
)
#: ... but these are not.
_PLAIN: Final = ("audio/midi", "audio/wav", "image/bmp", "image/svg+xml", "image/x-ms-bmp")

_compressor: Final = zstandard.ZstdCompressor(level=_LEVEL)


def _inflate(ratio: int, payload: bytes, limit: int) -> bytes:
    try:
        return inflate_zstd(payload, limit, ratio)
    except NodeError as error:
        raise InflateError(error.code, error.message) from None


def make_inflate(ratio: int = DECOMPRESS_RATIO) -> Inflate:
    """Return what inflates payloads for a connection.

    :param ratio: how many times its compressed size a payload may have, above 4 096 bytes.
    """
    return partial(_inflate, ratio)


def deflate(chunk: bytes) -> bytes | None:
    """Compress *chunk*.

    :return: one zstd frame; None where *chunk* is under 1 024 bytes, where less than a tenth is saved, or
        where so much is saved that the receiver would take it for a bomb.
    """
    size = len(chunk)
    if size < MIN_DEFLATE_BYTES:
        return None
    packed = _compressor.compress(chunk)
    if len(packed) * 10 > size * 9 or size > max(DECOMPRESS_FLOOR_BYTES, DECOMPRESS_RATIO * len(packed)):
        return None
    return packed


@lru_cache(maxsize=64)
def is_compressible(content_type: str | None) -> bool:
    """Whether to try bodies of *content_type* at all. Types that nobody has heard of are tried."""
    if content_type is None:
        return True
    name = content_type.partition(";")[0].strip().lower()
    return name.startswith(_PLAIN) or not name.startswith(_COMPRESSED)
