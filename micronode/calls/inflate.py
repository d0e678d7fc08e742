"""Bounded inflating of what callers send: one zstd frame or one gzip member, never more than is allowed.

The bound is ``max(4 096, 10 x compressed)`` and the caller's own limit, whichever is smaller
(``specs/oap-1.md`` section 5). Nothing is ever allocated beyond it, whatever the input declares:

- zstandard's ``max_output_size`` is ignored when a frame declares its size, and a declared size is
  allocated at once; so a declared size above the bound is refused before anything is inflated, and
  inflating is done by bounded reads.
- its readers say nothing of a frame that is cut off or followed by more; so the length of the frame is
  read from its block headers first (RFC 8878 section 3.1.1), which costs nothing.
"""

from __future__ import annotations

import zlib
from typing import Final

import zstandard

from micronode.errors import ErrorCode, NodeError
from micronode.oap.wire.limits import DECOMPRESS_FLOOR_BYTES, DECOMPRESS_RATIO

#: What RFC 8878 section 3.1.1.1.2 asks every decoder to support, and the most a peer can make us hold.
MAX_WINDOW_BYTES: Final = 8 * 1024 * 1024
#: Blocks of a frame. Honest ones of this size have a dozen, or one for each flush of their writer; walking
#: over this many costs 4 ms, and over what fits into 1 MiB would cost 90 ms.
MAX_BLOCKS: Final = 16_384
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SIZE_UNKNOWN: Final = 2**64 - 1
_RLE, _RESERVED = 1, 3
_CHECKSUM_BYTES: Final = 4


def bound_of(compressed: int, limit: int, ratio: int = DECOMPRESS_RATIO) -> int:
    """Return how many bytes *compressed* bytes may become.

    :param limit: the most that is taken anyway, in bytes.
    """
    return min(limit, max(DECOMPRESS_FLOOR_BYTES, ratio * compressed))


def inflate_zstd(data: bytes, limit: int, ratio: int = DECOMPRESS_RATIO) -> bytes:
    """Inflate *data*, which must be one whole zstd frame and nothing else.

    :param limit: the most bytes that may come out.
    :raises NodeError: ``decompress_cap`` when more would come out, or the window is over 8 MiB;
        ``bad_compression`` for everything that is not exactly one frame, or needs a dictionary.
    """
    bound = bound_of(len(data), limit, ratio)
    if not data.startswith(_ZSTD_MAGIC):
        raise _bad("no zstd frame")
    try:
        parameters = zstandard.get_frame_parameters(data)
        header = zstandard.frame_header_size(data)
    except zstandard.ZstdError:
        raise _bad("a broken zstd frame") from None
    declared = None if parameters.content_size == _SIZE_UNKNOWN else parameters.content_size
    if parameters.dict_id:
        raise _bad("a zstd frame that needs a dictionary")
    if declared is not None and declared > bound:
        raise _over(bound)
    # A frame without a window size of its own has its content's, which is within the bound.
    if parameters.window_size > MAX_WINDOW_BYTES:
        raise NodeError(ErrorCode.DECOMPRESS_CAP, f"its zstd window is over {MAX_WINDOW_BYTES // 2**20} MiB")
    end = _frame_end(data, header, has_checksum=parameters.has_checksum)
    if end > len(data):
        raise _bad("a zstd frame that is cut off")
    if end < len(data):
        raise _bad("bytes after the zstd frame")
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(data)
        # One read fills what is asked for unless the frame ends; one byte more shows that it is too long.
        inflated: bytes = reader.read(bound + 1)
    except (zstandard.ZstdError, MemoryError):
        raise _bad("a broken zstd frame") from None
    if len(inflated) > bound:
        raise _over(bound)
    if declared is not None and len(inflated) != declared:
        raise _bad("a zstd frame of another size than it declares")
    return inflated


def inflate_gzip(data: bytes, limit: int, ratio: int = DECOMPRESS_RATIO) -> bytes:
    """Inflate *data*, which must be one whole gzip member and nothing else.

    Errors as for :func:`inflate_zstd`.
    """
    bound = bound_of(len(data), limit, ratio)
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, bound + 1)
    except zlib.error:
        raise _bad("a broken gzip member") from None
    if len(inflated) > bound:
        raise _over(bound)
    if not inflater.eof:
        raise _bad("a gzip member that is cut off")
    if inflater.unused_data:
        raise _bad("bytes after the gzip member")
    return inflated


def _frame_end(data: bytes, at: int, *, has_checksum: bool) -> int:
    """Return where the frame whose blocks begin at *at* ends; beyond *data* where it is cut off.

    A caller can make every block an empty one, of three bytes: hence :data:`MAX_BLOCKS`.
    """
    try:
        for _ in range(MAX_BLOCKS):
            fields = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            kind = fields >> 1 & 3
            if kind == _RESERVED:
                raise _bad("a broken zstd frame")
            at += 4 if kind == _RLE else 3 + (fields >> 3)
            if fields & 1:
                return at + (_CHECKSUM_BYTES if has_checksum else 0)
    except IndexError:
        return len(data) + 1
    raise _bad(f"a zstd frame of more than {MAX_BLOCKS} blocks")


def _bad(what: str) -> NodeError:
    return NodeError(ErrorCode.BAD_COMPRESSION, f"the compressed bytes are not taken: {what}")


def _over(bound: int) -> NodeError:
    return NodeError(ErrorCode.DECOMPRESS_CAP, f"it inflates to more than the {bound} bytes that are allowed")
