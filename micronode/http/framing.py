"""Cuts request bodies out of the byte stream, in memory and capped while they arrive. It never does IO.

twisted.web puts every chunked body, and every one of 100 000 bytes or more, into a temporary file
first; this node writes no files.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from micronode.errors import ErrorCode, NodeError

#: chunk-size [ chunk-ext ] (RFC 9112 section 7.1); extensions are read over.
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e]*)?")
#: Trailer fields are read over, so one that would say where the body ends could only mislead someone
#: (RFC 9110 section 6.5.1).
_TRAILER: Final = re.compile(
    rb"(?!(?i:content-length|transfer-encoding|host):)[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*"
)
_MAX_LINE_BYTES: Final = 1_024
#: Framing (sizes, extensions, trailers) may outweigh the body by this; a body in one-byte chunks
#: would cost the node five times what it costs the caller.
_FRAMING_SLACK_BYTES: Final = 65_536


def body_too_large(max_bytes: int) -> NodeError:
    """Return the refusal of a body that is longer than *max_bytes*."""
    return NodeError(ErrorCode.BODY_TOO_LARGE, f"the body is longer than {max_bytes} bytes")


class SizedBody:
    """A body whose Content-Length was checked already."""

    __slots__ = ("_length", "data")

    def __init__(self, length: int) -> None:
        self._length = length
        self.data = bytearray()

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the body off the front of *buffer*; True: it is whole."""
        missing = self._length - len(self.data)
        self.data += buffer[:missing]
        del buffer[:missing]
        return len(self.data) == self._length


def body_reader(length: int | None, max_bytes: int) -> SizedBody | ChunkedBody:
    """Return the reader of a body of *length* bytes, which were checked already; None: it comes in chunks."""
    return ChunkedBody(max_bytes) if length is None else SizedBody(length)


class _Expect(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()


class ChunkedBody:
    """A body with ``Transfer-Encoding: chunked``."""

    __slots__ = ("_expect", "_framing", "_max_bytes", "_missing", "data")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.data = bytearray()
        self._expect = _Expect.SIZE
        self._missing = 0
        self._framing = 0

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the body off the front of *buffer*; True: it is whole.

        :raises NodeError: ``body_too_large`` as soon as a chunk's size says so; ``bad_request``.
        """
        position = 0
        try:
            while True:
                if self._expect is _Expect.DATA:
                    piece = buffer[position : position + self._missing]
                    self.data += piece
                    position += len(piece)
                    self._missing -= len(piece)
                    if self._missing:
                        return False
                    self._expect = _Expect.DATA_END
                line_end = self._line_end(buffer, position)
                if line_end < 0:
                    return False
                line = bytes(buffer[position:line_end])
                position = line_end + 2
                self._framing += len(line) + 2
                if self._framing > len(self.data) + _FRAMING_SLACK_BYTES:
                    raise _bad("the chunks' framing outweighs the body")
                if self._take(line):
                    return True
        finally:
            del buffer[:position]

    def _line_end(self, buffer: bytearray, position: int) -> int:
        if self._expect is _Expect.DATA_END:
            ending = buffer[position : position + 2]
            if not b"\r\n".startswith(ending):
                raise _bad("a chunk is longer than its size")
            return position if len(ending) == 2 else -1
        limit = position + _MAX_LINE_BYTES + 2
        end = buffer.find(b"\r\n", position, limit)
        if end < 0 and (len(buffer) >= limit or buffer.find(b"\n", position) >= 0):
            raise _bad("malformed chunk")
        return end

    def _take(self, line: bytes) -> bool:
        if self._expect is _Expect.DATA_END:
            self._expect = _Expect.SIZE
        elif self._expect is _Expect.SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise _bad("malformed chunk size")
            self._missing = int(match[1], 16)
            if len(self.data) + self._missing > self._max_bytes:
                raise body_too_large(self._max_bytes)
            self._expect = _Expect.DATA if self._missing else _Expect.TRAILER
        elif not line:
            return True
        elif _TRAILER.fullmatch(line) is None:
            raise _bad("malformed trailer field")
        return False


def _bad(message: str) -> NodeError:
    return NodeError(ErrorCode.BAD_REQUEST, message)
