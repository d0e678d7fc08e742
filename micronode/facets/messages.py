"""What a mailbox owner answers, read strictly: messages for subscribers, and what became of a sent one.

An owner that says anything else is ``bad_gateway``. Pure but for reading the answer.
"""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from micronode.errors import ErrorCode, NodeError
from micronode.facets.replies import read_object
from micronode.interfaces import IOwnerReply
from micronode.oap.wire.heads import dump_object

OWNER: Final = "mailbox"
#: Bytes of a payload; a larger message is left to ``recv``. ``specs/oap-1.md`` section 3, "Subscriptions".
MAX_EVENT_PAYLOAD: Final = 48 * 1024
#: As it stands in a field of HTTP, in a path, which it must not climb, and in an event's ``id``.
_MSG_ID: Final = re.compile(r"(?!\.{1,2}\Z)[\x21-\x7e]{1,128}")
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
#: Seconds that an owner may take to hand them over, once it has begun: nobody else limits that.
READ_S: Final = 5.0
#: An answer may be so much longer than the messages in it: spaces, and what stands around them.
_SPARE_BYTES: Final = 4096


@attrs.frozen
class Received:
    """A message that was taken of the mailbox for a subscriber."""

    msg_id: str
    #: As the subscriber gets it.
    event: bytes
    payload_bytes: int


def is_msg_id(text: str) -> bool:
    """Whether a message may have *text* for its id."""
    return _MSG_ID.fullmatch(text) is not None


async def read_messages(reply: IOwnerReply, max_bytes: int) -> list[Received]:
    """Read the answer to ``recv``, which was asked for *max_bytes* of messages.

    :raises NodeError: what the owner refused it with; ``bad_gateway``: it is not what the contract says.
    """
    # Twice as many, as an owner may count messages without the spaces that it writes.
    most = 2 * max_bytes + _SPARE_BYTES
    said, _ = await read_object(reply, OWNER, expected=(200,), max_bytes=most, within_s=READ_S)
    messages = said.get("messages")
    if not isinstance(messages, list):
        raise _not_understood()
    return [_read(each) for each in messages]


async def read_sent(reply: IOwnerReply) -> tuple[bool, bytes]:
    """Read the answer to ``send``; return whether the message was there before, and the bytes it was.

    :raises NodeError: as :func:`read_messages`.
    """
    said, data = await read_object(reply, OWNER, SEND_MESSAGES, expected=(200, 201))
    duplicate = said.get("duplicate")
    _msg_id(said)
    if not isinstance(duplicate, bool):
        raise _not_understood()
    return duplicate, data


#: What to say where the owner refuses a message.
SEND_MESSAGES: Final = {
    ErrorCode.BAD_REQUEST: "the mailbox does not take such a topic, key or attrs",
    ErrorCode.CONFLICT: "this idempotency key stands for another message",
    ErrorCode.BODY_TOO_LARGE: "the mailbox does not take a payload of this size",
    ErrorCode.OWNER_UNAVAILABLE: "the mailbox takes no more messages for now",
}


def _read(message: Any) -> Received:
    if not isinstance(message, dict):
        raise _not_understood()
    msg_id, payload = _msg_id(message), message.get("payload_b64")
    ts, attempt, words = message.get("ts"), message.get("attempt"), message.get("attrs")
    if not (
        isinstance(payload, str)
        and _BASE64.fullmatch(payload)
        and _is_number(ts, int | float)
        and _is_number(attempt, int)
        and isinstance(words, dict)
        and all(isinstance(each, str) for each in words.values())
    ):
        raise _not_understood()
    event = dump_object(
        {"msg_id": msg_id, "ts": ts, "attempt": attempt, "attrs": words, "payload_b64": payload}
    )
    return Received(msg_id, event, len(payload) // 4 * 3 - payload.count("="))


def _msg_id(said: dict[str, Any]) -> str:
    msg_id = said.get("msg_id")
    if not isinstance(msg_id, str) or not is_msg_id(msg_id):
        raise _not_understood()
    return msg_id


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _not_understood() -> NodeError:
    message = "the mailbox owner answered in a way the node does not understand"
    return NodeError(ErrorCode.BAD_GATEWAY, message, source=OWNER)
