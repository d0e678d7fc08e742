"""The incremental frame decoder: bytes in any pieces in, frames out, every check as early as it can be.

It holds at most one frame that is legal (so never the 1 MiB a header may announce), and skips the
bytes of one that is not without keeping them. ``specs/oap-1.md`` section 1.

Why tuples from a generator: a frozen dataclass a frame costs more than all of the parsing, and a
generator lets the reader stop between two frames of one read, which is how a paused connection
keeps its bound without a second queue (``tests/bench/bench_decoder.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.frames import LEGAL_FLAGS, REQ, START
from micronode.oap.wire.limits import (
    HEADER_BYTES,
    MAX_CAP_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    VERSION,
)

#: flags, code, app_proto_id, tenant_id, corr_id, cap, payload. A payload of None is one that broke its
#: limit (``head_too_large`` with START, else ``chunk_too_large``): its bytes are skipped.
Frame: TypeAlias = tuple[int, int, int, bytes, int, bytes, bytes | None]


#: The header with ver and flags read as one integer, so that one look-up checks both.
_FUSED_HEADER: Final = Struct(">IIHH16sHQ")
_VERSION_BITS: Final = VERSION << 16


class FrameError(Exception):
    """A connection-class decode error: nothing after it can be understood.

    :ivar code: its name in the error table.
    :ivar message: what was wrong, for the peer.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class FrameDecoder:
    """Decodes the frames of one direction of one connection.

    ``max_frame`` and ``max_chunk`` (bytes) may be lowered between two frames, as HELLO does; the
    frame after is measured by the new ones, however the bytes were cut.
    """

    __slots__ = ("_buffer", "_need", "_skip", "max_chunk", "max_frame")

    def __init__(self, *, max_frame: int = MAX_FRAME_BYTES, max_chunk: int = MAX_CHUNK_BYTES) -> None:
        self.max_frame = max_frame
        self.max_chunk = max_chunk
        #: The begun frame. Grows only as bytes arrive.
        self._buffer = bytearray()
        #: How much of it is needed to get on: the header, then the frame.
        self._need = HEADER_BYTES
        #: Bytes of a refused frame still to come.
        self._skip = 0

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not whole (an end of input now is ``truncated``)."""
        return bool(self._buffer) or self._skip > 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Decode *data*; the iterator must be exhausted before the next feed.

        :raises FrameError: from the iterator, after every frame before it; the decoder is then done.
        """
        if self._buffer or self._skip:
            return self._resume(data)
        return self._decode(data, 0)

    def _resume(self, data: bytes) -> Iterator[Frame]:
        """Go on with the begun frame, then with the rest of *data*."""
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
            elif self._buffer:
                step = self._need - len(self._buffer)
                self._buffer += data[position : position + step]
                position += step
                if len(self._buffer) < self._need:
                    self._check_begun(self._buffer)
                    return
                begun = bytes(self._buffer)
                self._buffer.clear()
                yield from self._decode(begun, 0)
            else:
                yield from self._decode(data, position)
                return

    def _decode(self, data: bytes, position: int) -> Iterator[Frame]:
        """Yield the whole frames of *data* from *position*; keep the begun one."""
        size = len(data)
        unpack = _FUSED_HEADER.unpack_from
        legal = LEGAL_FLAGS
        small = self._small()
        last = size - HEADER_BYTES
        while position <= last:
            length, fused, code, app, tenant, cap_length, corr_id = unpack(data, position)
            flags = fused - _VERSION_BITS
            start = position + HEADER_BYTES
            stop = position + length
            if cap_length or flags not in legal or length > small or length < HEADER_BYTES:
                flags = self._check(length, fused, cap_length)
                limit = MAX_HEAD_BYTES if flags & START else self.max_chunk
                if length - HEADER_BYTES - cap_length > limit:
                    position = min(stop, size)
                    self._skip = stop - position
                    yield flags, code, app, tenant, corr_id, b"", None
                    continue
            if stop > size:
                self._need = length
                self._buffer += data[position:]
                return
            position = stop
            if cap_length:
                start += cap_length
                cap = data[start - cap_length : start]
                yield flags, code, app, tenant, corr_id, cap, data[start:stop]
            else:
                yield flags, code, app, tenant, corr_id, b"", data[start:stop]
            if not app:  # only HELLO changes the limits, and it is a control frame
                small = self._small()
        if position < size:
            self._need = HEADER_BYTES
            self._buffer += data[position:]
            self._check_begun(self._buffer)

    def _small(self) -> int:
        """The length of a frame up to which it breaks no limit, whatever its flags are."""
        return min(self.max_frame, HEADER_BYTES + min(self.max_chunk, MAX_HEAD_BYTES))

    def _check_begun(self, begun: bytes | bytearray) -> None:
        """Check what is there of a header that is not whole; a whole one was checked already."""
        have = len(begun)
        if have >= HEADER_BYTES or have < 4:
            return
        # Fields that are not there yet are taken for legal ones.
        length = int.from_bytes(begun[0:4], "big")
        version = int.from_bytes(begun[4:6], "big") if have >= 6 else VERSION
        flags = int.from_bytes(begun[6:8], "big") if have >= 8 else REQ | START
        cap_length = int.from_bytes(begun[28:30], "big") if have >= 30 else 0
        self._check(length, version << 16 | flags, cap_length)

    def _check(self, length: int, fused: int, cap_length: int) -> int:
        """Return the flags of a header that has no connection-class error.

        :raises FrameError: the first that it has, in the order of the specification.
        """
        version, flags = fused >> 16, fused & 0xFFFF
        if length > self.max_frame:
            raise FrameError(
                ErrorCode.FRAME_TOO_LARGE, f"a frame of {length} bytes; at most {self.max_frame} are taken"
            )
        if length < HEADER_BYTES:
            raise FrameError(ErrorCode.BAD_LENGTH, f"a frame of {length} bytes is shorter than its header")
        if version != VERSION:
            raise FrameError(ErrorCode.BAD_VERSION, f"version {version}; versions [{VERSION}] are spoken")
        if flags not in LEGAL_FLAGS:
            raise FrameError(
                ErrorCode.BAD_FLAGS,
                f"flags 0x{flags:04x}: exactly one of REQ, RESP and EVENT, and no bit above 7",
            )
        if cap_length:
            self._check_cap(length, flags, cap_length)
        return flags

    @staticmethod
    def _check_cap(length: int, flags: int, cap_length: int) -> None:
        if not flags & START:
            raise FrameError(ErrorCode.CAP_ON_NON_START, "a capability on a frame without START")
        if HEADER_BYTES + cap_length > length:
            raise FrameError(ErrorCode.BAD_LENGTH, "the capability is longer than its frame")
        if cap_length > MAX_CAP_BYTES:
            raise FrameError(
                ErrorCode.CAP_TOO_LARGE,
                f"a capability of {cap_length} bytes; at most {MAX_CAP_BYTES} are taken",
            )
