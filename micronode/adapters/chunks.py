"""A chunked body, undone. No IO, and no more of it is held than a line that is not whole.

Why not httptools, as for heads: it does not tell where a body ended, so what stands behind it could not be
told from the next answer's beginning; it swallows empty lines there; and it has no bound for an extension
or a trailer, of which it collects the fields. The grammar is small, and tests hold the two side by side.
"""

from __future__ import annotations

import re
from typing import Final

from micronode.adapters.answerhead import TRAILER, MalformedAnswerError

#: A chunk's size and its extensions, which are read and dropped.
MAX_CHUNK_LINE_BYTES: Final = 4_096
#: All fields behind the last chunk, which are read and dropped.
MAX_TRAILER_BYTES: Final = 16_384
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*"
)


class ChunkReader:
    """Takes a chunked body as it comes.

    :ivar over: whether the body was whole.
    """

    __slots__ = ("_between", "_held", "_last", "_left", "over")

    def __init__(self) -> None:
        self.over = False
        self._held = b""
        self._left = 0
        #: A chunk's bytes were all there, the line's end behind them was not.
        self._between = False
        self._last = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes; return those of the body, and those behind its end.

        :raises MalformedAnswerError: they are no chunks.
        """
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self.over:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._between = not self._left
                continue
            began = at
            at = self._gap(data, at) if self._between else self._line(data, at)
            if at < 0:
                self._held = data[began:]
                break
        rest = data[at:] if self.over else b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), rest

    def _gap(self, data: bytes, at: int) -> int:
        """Take the end of the line behind a chunk; return where it ends, or -1 where it is not whole."""
        found = data[at : at + 2]
        if not b"\r\n".startswith(found):
            raise MalformedAnswerError("a chunk of its answer is longer than it says")
        if len(found) < 2:
            return -1
        self._between = False
        return at + 2

    def _line(self, data: bytes, at: int) -> int:
        """Take the line before a chunk, or what is behind the last one; return as :meth:`_gap` does."""
        if self._last:
            return self._trailer(data, at)
        end = data.find(b"\r\n", at, at + MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(data) - at >= MAX_CHUNK_LINE_BYTES:
                raise MalformedAnswerError("a chunk of its answer has no end of its line")
            return -1
        line = _LINE.fullmatch(data, at, end)
        if line is None:
            raise MalformedAnswerError("a chunk of its answer has a size that is none")
        self._left = int(line[1], 16)
        self._last = not self._left
        return end + 2

    def _trailer(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            end = at + 2
        else:
            found = data.find(b"\r\n\r\n", at, at + MAX_TRAILER_BYTES)
            if found < 0:
                if len(data) - at >= MAX_TRAILER_BYTES:
                    raise MalformedAnswerError("its answer does not end behind its last chunk")
                return -1
            end = found + 4
            if not TRAILER.fullmatch(data, at, end):
                raise MalformedAnswerError("its answer has a trailer that is none")
        self.over = True
        return end
