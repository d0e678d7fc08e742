"""What an owner's status means to a caller, for every built-in facet; and JSON answers, passed on or read.

An owner's error body never reaches a caller: it may hold anything. Its JSON is passed on byte for byte, for
what it says is the owner's own; only where the node can know better is it read first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from micronode.calls.call import Reply, ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerReply, IReplyBody, IResponseSink
from micronode.oap.wire.heads import HeadError, parse_object

JSON: Final = "application/json"
#: Seconds: an owner may ask for a pause of at most an hour; without a word of it, a second.
MAX_RETRY_AFTER_S: Final = 3600
#: JSON the node reads itself: an address and whatever an owner may say beside it.
MAX_READ_BYTES: Final = 65_536
_SECONDS: Final = re.compile(r"[0-9]{1,9}")

_CODES: Final = {
    400: ErrorCode.BAD_REQUEST,
    404: ErrorCode.NOT_FOUND,
    409: ErrorCode.CONFLICT,
    413: ErrorCode.BODY_TOO_LARGE,
    422: ErrorCode.BAD_REQUEST,
    429: ErrorCode.OWNER_UNAVAILABLE,
    503: ErrorCode.OWNER_UNAVAILABLE,
}
_MESSAGES: Final = {
    ErrorCode.BAD_REQUEST: "the owner does not accept these arguments",
    ErrorCode.NOT_FOUND: "there is no such thing",
    ErrorCode.CONFLICT: "it conflicts with what is there",
    ErrorCode.BODY_TOO_LARGE: "the owner does not take a body of this size",
    ErrorCode.OWNER_UNAVAILABLE: "the {source} owner answered {status}: it takes no more for now",
    ErrorCode.BAD_GATEWAY: "the {source} owner answered {status}, which the node does not understand",
}


def refusal(reply: IOwnerReply, source: str, messages: Mapping[ErrorCode, str] | None = None) -> NodeError:
    """Return the error that *reply*, which is none of the expected ones, means; its body is thrown away.

    :param source: the owner's name.
    :param messages: what to say instead of the usual words; ``{source}`` and ``{status}`` are filled in.
    """
    reply.discard()
    code = _CODES.get(reply.status, ErrorCode.BAD_GATEWAY)
    message = (messages or {}).get(code) or _MESSAGES[code]
    retry_after_s: float | None = None
    if code is ErrorCode.OWNER_UNAVAILABLE:
        said = reply.header("retry-after")
        retry_after_s = 1.0
        if said is not None and _SECONDS.fullmatch(said):
            retry_after_s = float(min(max(int(said), 1), MAX_RETRY_AFTER_S))
    message = message.format(source=source, status=reply.status)
    return NodeError(code, message, retry_after_s=retry_after_s, source=source, owner_status=reply.status)


def json_reply(reply: IOwnerReply, source: str, messages: Mapping[ErrorCode, str] | None = None) -> Reply:
    """Pass an owner's JSON object (status 200) on, byte for byte; it is looked at as far as it is held.

    :raises NodeError: the owner answered otherwise, with no JSON, or in an encoding nobody asked for.
    """
    _expect_json(reply, source, messages, (200,))
    return Reply(head=ResponseHead(status=200, content_type=JSON, length=reply.length), body=reply.as_json())


async def read_object(
    reply: IOwnerReply,
    source: str,
    messages: Mapping[ErrorCode, str] | None = None,
    *,
    expected: tuple[int, ...],
    max_bytes: int = MAX_READ_BYTES,
    within_s: float | None = None,
) -> tuple[dict[str, Any], bytes]:
    """Read an owner's JSON object, strictly; return it and the bytes it was.

    Strictly, since a caller that is given the bytes must not find another value in them.

    :param expected: the owner's statuses that are good.
    :param within_s: seconds for the body; None: only its pauses are limited.

    :raises NodeError: as :func:`json_reply`; or it is no JSON object, or longer than *max_bytes*.
    """
    _expect_json(reply, source, messages, expected)
    data = await reply.read(max_bytes, within_s=within_s)
    try:
        return parse_object(data, max_bytes=max_bytes), data
    except HeadError:
        raise _not_understood(source, reply.status) from None


@implementer(IReplyBody)
@attrs.frozen
class HeldBody:
    """A small body that the node has read."""

    _data: bytes

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """See :class:`~micronode.interfaces.IReplyBody`."""
        return sink.answer(head, self._data)

    def abort(self) -> None:
        """See :class:`~micronode.interfaces.IReplyBody`: its connection has done its work."""


def _expect_json(
    reply: IOwnerReply, source: str, messages: Mapping[ErrorCode, str] | None, expected: tuple[int, ...]
) -> None:
    """Raise what *reply* means unless it is one of the *expected* ones, and plain JSON by its head."""
    if reply.status not in expected:
        raise refusal(reply, source, messages)
    if not _is_plain_json(reply.header("content-type"), reply.header("content-encoding")):
        reply.discard()
        raise _not_understood(source, reply.status)


@lru_cache(maxsize=64)
def _is_plain_json(content_type: str | None, content_encoding: str | None) -> bool:
    """Whether a body with these fields is JSON as it is. An owner says the same of thousands."""
    media_type = (content_type or JSON).partition(";")[0].strip().lower()
    return media_type == JSON and (content_encoding or "identity").strip().lower() == "identity"


def _not_understood(source: str, status: int) -> NodeError:
    message = f"the {source} owner answered {status} with what is no JSON object, or none that the node takes"
    return NodeError(ErrorCode.BAD_GATEWAY, message, source=source, owner_status=status)
