"""One answer of an owner, read as it comes: interim heads, the head, the body, and what is behind it.

No IO. Whatever pieces the bytes come in, what is read of them is the same.
"""

from __future__ import annotations

from typing import Final

from micronode.adapters.answerhead import AnswerHead, MalformedAnswerError, read_answer_head, read_status
from micronode.adapters.chunks import ChunkReader

#: Status line and fields, and the interim answers before them; four times what the node takes itself.
MAX_OWNER_HEAD_BYTES: Final = 65_536


class AnswerReader:
    """Takes bytes by :meth:`take_head` until that returns the head, then by :meth:`take_body`.

    :param to_head: whether the request was a HEAD.
    :ivar begun: whether there were any bytes.
    :ivar status: the answer's, as soon as it can be read; it may be an interim one's.
    :ivar rest: what came with the head's last byte and is not yet taken; of an answer that is over, its body.
    :ivar over: whether the answer was whole.
    :ivar surplus: whether there were bytes behind it.
    """

    __slots__ = (
        "_chunks",
        "_head_bytes",
        "_held",
        "_left",
        "_searched",
        "_to_head",
        "begun",
        "over",
        "rest",
        "status",
        "surplus",
    )

    def __init__(self, *, to_head: bool) -> None:
        self.begun = False
        self.status = 0
        self.rest = b""
        self.over = False
        self.surplus = False
        self._to_head = to_head
        self._held: bytearray | None = None
        #: Where in what is held to look for a head's end: all before it was looked at.
        self._searched = 0
        #: Those of interim heads, which are gone.
        self._head_bytes = 0
        self._chunks: ChunkReader | None = None
        #: Bytes of the body to come, where its length is known.
        self._left: int | None = None

    def take_head(self, data: bytes) -> AnswerHead | None:
        """Take bytes of the head; return it when it is whole.

        :raises MalformedAnswerError: they are none, or too many.
        """
        self.begun = True
        held: bytes | bytearray = data
        if self._held is not None:
            self._held += data
            held = self._held
        at = 0
        while True:
            end = held.find(b"\r\n\r\n", at + self._searched) + 4
            if end < 4:
                break
            raw = bytes(held[at:end])
            self._count(len(raw))
            self._head_bytes += len(raw)
            head = read_answer_head(raw, to_head=self._to_head)
            self.status = head.code
            self._searched = 0
            at = end
            if head.code >= 200:
                self._begin_body(head, bytes(held[at:]))
                return head
        if at or self._held is None:
            self._held = bytearray(held[at:])
        left = len(self._held)
        self._searched = max(0, left - 3)
        self._count(left)
        self.status = read_status(bytes(self._held[:16])) or self.status
        return None

    def hold(self, data: bytes) -> None:
        """Take bytes behind the head that nobody wants yet: they are :attr:`rest`, or too many."""
        if self.over:
            self.surplus = True
        else:
            self.rest += data

    def take_body(self, data: bytes) -> bytes:
        """Take bytes behind the head; return those that are the body's.

        :raises MalformedAnswerError: the chunks are broken.
        """
        if self._chunks is not None:
            body, behind = self._chunks.take(data)
            if self._chunks.over:
                self._end(behind)
            return body
        left = self._left
        if left is None:
            return data
        if len(data) < left:
            self._left = left - len(data)
            return data
        self._end(data[left:])
        return data[:left] if self.surplus else data

    @property
    def ends_with_connection(self) -> bool:
        """Whether a body that has begun is over when, and only when, the owner closes."""
        return self._chunks is None and self._left is None

    def _count(self, size: int) -> None:
        if self._head_bytes + size > MAX_OWNER_HEAD_BYTES:
            raise MalformedAnswerError("the head of its answer is too long")

    def _begin_body(self, head: AnswerHead, rest: bytes) -> None:
        self._held = None
        if head.chunked:
            self._chunks = ChunkReader()
        elif head.length is not None and len(rest) >= head.length:
            self._end(rest[head.length :])
            rest = rest[: head.length]
        else:
            self._left = head.length
        self.rest = rest

    def _end(self, behind: bytes) -> None:
        self._left = 0
        self.over = True
        self.surplus = bool(behind)
