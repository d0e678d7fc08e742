"""The incremental frame decoder: bytes in any pieces in, frames out, every check as early as it can be.

It holds at most one frame that is legal (so never the 1 MiB a header may announce), or the read that such a
frame began in where at least half of it is the frame's, and skips the bytes of one that is not without
keeping them. ``specs/oap-1.md`` section 1.

Why tuples from a generator: a frozen dataclass a frame costs more than all of the parsing, and a
generator lets the reader stop between two frames of one read, which is how a paused connection
keeps its bound without a second queue (``tests/bench/oap_frame_perf.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.frames import EVENT, LEGAL_FLAGS, REQ, START
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
    """A connection-class error: nothing after it can be understood.

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

    __slots__ = ("_begun", "_need", "_skip", "max_chunk", "max_frame")

    def __init__(self, *, max_frame: int = MAX_FRAME_BYTES, max_chunk: int = MAX_CHUNK_BYTES) -> None:
        self.max_frame = max_frame
        self.max_chunk = max_chunk
        #: The begun frame. It grows only as bytes arrive, and no further than a legal frame: first the end of
        #: the read it began in, and a bytearray once more than one other read is needed.
        self._begun: bytes | bytearray | memoryview = b""
        #: How much of it is needed to get on: the header, then the frame.
        self._need = HEADER_BYTES
        #: Bytes of a refused frame still to come.
        self._skip = 0

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not whole (an end of input now is ``truncated``)."""
        return bool(self._begun) or self._skip > 0

    @property
    def held(self) -> int:
        """How many bytes are kept of a frame that is not whole."""
        return len(self._begun)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Decode *data*; the iterator must be exhausted before the next feed.

        :raises FrameError: from the iterator, after every frame before it; the decoder is then done.
        """
        position = 0
        if self._skip:
            position = self._skip_some(data, 0)
        elif self._begun:
            position, begun = self._resume(data)
            if begun is None:
                return
            yield begun

        size = len(data)
        last = size - HEADER_BYTES
        unpack, legal, small = _FUSED_HEADER.unpack_from, LEGAL_FLAGS, self._small()
        header, version = HEADER_BYTES, _VERSION_BITS
        while position <= last:
            length, fused, code, app, tenant, cap_length, corr_id = unpack(data, position)
            flags = fused - version
            end = position + length
            if cap_length or flags not in legal or not header <= length <= small:
                start = position + header
                if self._check(length, fused, cap_length):
                    self._skip = length - header
                    position = self._skip_some(data, start)
                    yield flags, code, app, tenant, corr_id, b"", None
                    continue
                if end > size:
                    break
                position = end
                body = start + cap_length
                yield flags, code, app, tenant, corr_id, data[start:body], data[body:end]
            elif end > size:
                break
            else:  # nearly every frame
                payload = data[position + header : end]
                position = end
                yield flags, code, app, tenant, corr_id, b"", payload
            if not (app or flags & EVENT):  # only HELLO changes the limits, and its answer
                small = self._small()
        if position < size:
            self._begin(data, position)

    def _begin(self, data: bytes, position: int) -> None:
        """Keep the begun frame that *data* ends with; its header, where whole, was checked."""
        # Most of a read is kept as it is rather than copied: the frame's next bytes come with the next one.
        kept = 2 * position <= len(data)
        self._begun = memoryview(data)[position:] if kept else data[position:]
        if len(self._begun) < HEADER_BYTES:
            self._need = HEADER_BYTES
            self._check_begun()
        else:
            self._need = int.from_bytes(self._begun[:4], "big")

    def _resume(self, data: bytes) -> tuple[int, Frame | None]:
        """Go on with the begun frame.

        :return: how much of *data* it took, and the frame, or None where *data* did not complete it.
        """
        position = 0
        fresh = self._need == HEADER_BYTES
        if fresh:
            position = self._fill(data, 0)
            if len(self._begun) < HEADER_BYTES:
                self._check_begun()
                return position, None
        length, fused, code, app, tenant, cap_length, corr_id = _FUSED_HEADER.unpack_from(self._begun)
        flags = fused - _VERSION_BITS
        if fresh:
            if self._check(length, fused, cap_length):
                self._begun = b""
                self._skip = length - HEADER_BYTES
                position = self._skip_some(data, position)
                return position, (flags, code, app, tenant, corr_id, b"", None)
            self._need = length
        stop = position + length - len(self._begun)
        if stop > len(data):
            return self._fill(data, position), None
        if cap_length:
            self._fill(data, position)
            body = HEADER_BYTES + cap_length
            cap, payload = bytes(self._begun[HEADER_BYTES:body]), bytes(self._begun[body:])
        else:
            # Joined rather than appended first: what came last is copied once, not twice.
            with memoryview(self._begun) as begun, memoryview(data) as rest:
                cap, payload = b"", b"".join((begun[HEADER_BYTES:], rest[position:stop]))
        self._begun = b""
        return stop, (flags, code, app, tenant, corr_id, cap, payload)

    def _fill(self, data: bytes, position: int) -> int:
        """Add what the begun frame needs of *data*; return the position after it."""
        stop = position + self._need - len(self._begun)
        if not isinstance(self._begun, bytearray):
            self._begun = bytearray(self._begun)
        self._begun += memoryview(data)[position:stop]
        return min(stop, len(data))

    def _skip_some(self, data: bytes, position: int) -> int:
        """Pass over what *data* has of a refused frame; return the position after it."""
        step = min(self._skip, len(data) - position)
        self._skip -= step
        return position + step

    def _small(self) -> int:
        """The length of a frame up to which it breaks no limit, whatever its flags are."""
        return min(self.max_frame, HEADER_BYTES + min(self.max_chunk, MAX_HEAD_BYTES))

    def _check_begun(self) -> None:
        """Check as many fields as are there of a header that is not whole."""
        begun = self._begun
        have = len(begun)
        if have < 4:
            return
        # Fields that are not there yet are taken for legal ones.
        length = int.from_bytes(begun[0:4], "big")
        version = int.from_bytes(begun[4:6], "big") if have >= 6 else VERSION
        flags = int.from_bytes(begun[6:8], "big") if have >= 8 else REQ | START
        cap_length = int.from_bytes(begun[28:30], "big") if have >= 30 else 0
        self._check(length, version << 16 | flags, cap_length)

    def _check(self, length: int, fused: int, cap_length: int) -> bool:
        """Look for what is wrong with a header, in the order of the specification.

        :return: whether the payload is over its limit, which is the stream's error.
        :raises FrameError: the first connection-class error it has.
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
        limit = MAX_HEAD_BYTES if flags & START else self.max_chunk
        return length - HEADER_BYTES - cap_length > limit

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
