"""The head of an owner's answer: read strictly, and judged before anything is made of it.

The parser is httptools (llhttp), the kept C parser that Node and uvicorn stand on. One expression goes over
the bytes before it, because a parser of everybody's answers lets more through than this node may: bare LF
and LF behind nothing, folded lines, control characters in a reason or a value, empty lines before the
status, HTTP/0.9 and HTTP/2.0, a status of 999. So there is one reading of what is accepted. What neither
knows is judged here by RFC 9112, section 6.3: where the body ends, and whether the head says it twice.

Heads that were read lately are known by their bytes: an owner says the same of all answers of one length in a
second. So a head is not changed once it was read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*"
_FIELDS: Final = rb"(?:" + _TOKEN + rb":" + _TEXT + rb"\r\n)*"
_HEAD: Final = re.compile(rb"HTTP/1\.[01] [1-5][0-9]{2}(?: " + _TEXT + rb")?\r\n" + _FIELDS + rb"\r\n")
#: Fields behind a chunked body, with the empty line that ends them.
TRAILER: Final = re.compile(_FIELDS + rb"\r\n")
#: What stands where the version does: ``HTTP/1.x``, the status behind it, and what ends that.
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")
_STATUS_BYTES: Final = 13
_VERSION: Final = b"HTTP/1."
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
#: Fields of the connection and not of the answer; those that ``Connection`` names are, too.
_HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    )
)
_BODILESS: Final = (204, 304)
_VERSION_11: Final = (b"HTTP", 1, 1)
_VERSION_10: Final = (b"HTTP", 1, 0)
#: What may stand in a field's value that is asked for as text; anything else makes the field unreadable.
_READABLE: Final = re.compile(rb"[\x20-\x7e]{0,1024}")
#: How many heads are known, and of how many bytes at most.
_KNOWN_HEADS: Final = 256
_KNOWN_BYTES: Final = 1_024


class MalformedAnswerError(Exception):
    """What the owner sent is no answer; the message holds nothing of it."""


class AnswerHead:
    """Status and fields of an answer, and how its body ends. httptools tells it of the fields.

    :ivar fields: names in small letters, and values; but for those of the connection.
    :ivar about: those that are the connection's.
    :ivar length: of the body in bytes; None where it is chunked, or as long as the connection lasts.
    :ivar keeps: whether the connection outlives the answer, for all the owner says.
    """

    __slots__ = ("_raw", "_texts", "about", "chunked", "code", "fields", "keeps", "length", "version")
    # The parser asks for each of these, and asking for what is not there takes longer than all the fields.
    on_message_begin = on_status = on_headers_complete = on_body = None
    on_message_complete = on_chunk_header = on_chunk_complete = None

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        #: What fields say that were asked for.
        self._texts: dict[str, str | None] = {}
        self.code = int(raw[9:12])
        self.version = _VERSION_11 if raw[7] == 0x31 else _VERSION_10
        self.fields: list[tuple[bytes, bytes]] = []
        self.about: list[tuple[bytes, bytes]] = []
        self.length: int | None = None
        self.chunked = False
        # HTTP/1.0 keeps connections by another agreement, which is not worth its traps.
        self.keeps = raw[7] == 0x31

    @property
    def phrase(self) -> bytes:
        """The reason behind the status; it may be empty."""
        return self._raw[13 : self._raw.index(b"\r")]

    def text(self, name: str) -> str | None:
        """Return the first value of field *name*; None: there is none, or it is not visible ASCII."""
        texts = self._texts
        if name not in texts:
            wanted = name.lower().encode("ascii")
            value = next((value for each, value in self.fields if each == wanted), None)
            texts[name] = value.decode("ascii") if value is not None and _READABLE.fullmatch(value) else None
        return texts[name]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        name = name.lower()
        (self.about if name in _HOP_BY_HOP else self.fields).append((name, value.strip(b" \t")))


def read_answer_head(raw: bytes, *, to_head: bool) -> AnswerHead:
    """Read *raw*, a head with the empty line at its end.

    :param to_head: whether the request was a HEAD: a length is the object's then, and a field as others are.
    :raises MalformedAnswerError: it is none, or what it says of its body contradicts itself.
    """
    return (_known if len(raw) <= _KNOWN_BYTES else _read)(raw, to_head)


def _read(raw: bytes, to_head: bool) -> AnswerHead:
    if not _HEAD.fullmatch(raw):
        raise MalformedAnswerError("what it answered is not HTTP/1.1")
    head = AnswerHead(raw)
    code = head.code
    if code == 101:
        raise MalformedAnswerError("it changed the protocol, which nobody asked for")
    try:
        HttpResponseParser(head).feed_data(raw)
    except (HttpParserError, HttpParserUpgrade):
        raise MalformedAnswerError("the head of its answer contradicts itself") from None
    if head.about:
        _judge(head, to_head=to_head)
    if to_head or code < 200 or code in _BODILESS:
        head.length, head.chunked = 0, False
    return head


_known: Final = lru_cache(_KNOWN_HEADS)(_read)


def _judge(head: AnswerHead, *, to_head: bool) -> None:
    """Find the end of the body; see RFC 9112, section 6.3, whose choices are all made for the strict side."""
    lengths: list[bytes] = []
    transfers: list[bytes] = []
    # All of them first: there may be thousands of such fields, and of others.
    options: set[bytes] = set()
    for name, value in head.about:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            transfers.append(value)
        elif name == b"connection" and value.lower() != b"keep-alive":
            options.update(token.strip(b" \t").lower() for token in value.split(b","))
    if lengths:
        # One, and of digits alone: a list of the same number is a bug that somebody else reads otherwise.
        if len(lengths) > 1 or transfers or not _LENGTH.fullmatch(lengths[0]):
            raise MalformedAnswerError("its answer has two lengths, or one that is none")
        head.length = int(lengths[0])
        if to_head:
            head.fields.append((b"content-length", lengths[0]))
    elif transfers:
        if len(transfers) > 1 or transfers[0].lower() != b"chunked" or head.version != _VERSION_11:
            raise MalformedAnswerError("its answer is in a transfer encoding that nobody asked for")
        head.chunked = True
    if head.code == 204 and (head.length or head.chunked):
        # What announces a body where there can be none may send one: into the next answer.
        head.keeps = False
    if options:
        head.keeps = head.keeps and b"close" not in options
        head.fields = [field for field in head.fields if field[0] not in options]


def read_status(begun: bytes) -> int | None:
    """Read the status out of a head's first bytes; None where there are too few of them.

    :raises MalformedAnswerError: no head begins like this.
    """
    if len(begun) < _STATUS_BYTES:
        if not _VERSION.startswith(begun[: len(_VERSION)]):
            raise MalformedAnswerError("what it answered is not HTTP/1.1")
        return None
    found = _STATUS.match(begun)
    if found is None:
        raise MalformedAnswerError("what it answered is not HTTP/1.1")
    return int(found[1])
