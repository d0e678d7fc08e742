"""``micronode call --subscribe``: print the messages of a subscription, one line each."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError

from micronode.cli.exits import Exit, say
from micronode.cli.output import LiveWriter
from micronode.oap.client import OAPClient, OAPError
from micronode.oap.wire.errors import ErrorCode


async def print_messages(
    client: OAPClient,
    profile: int,
    op: str,
    args: Mapping[str, Any],
    writer: LiveWriter,
    *,
    ack: bool = False,
    count: int | None = None,
) -> int:
    """Print messages until the node ends the subscription, *count* of them came, or this is cancelled.

    A message is asked for when the one before it was printed (and acked), so that a slow reader of the
    output leaves the rest in the mailbox.

    :param ack: ack each after it was printed.
    :return: the exit code. Being cancelled is a good end: there is no other for most subscriptions.
    :raises OAPError: the node ended it otherwise.
    """
    left = count
    subscription = client.events(profile, op, args, acked=ack)
    try:
        async for message in subscription:
            writer.write(line_of(message))
            await writer.drained()
            if writer.error is not None:
                break
            if ack:
                await client.ack(str(args["topic"]), _id_of(message))
            if left is not None:
                left -= 1
                if left == 0:
                    break
    except CancelledError:
        pass
    finally:
        subscription.cancel()
        writer.finish(newline=False)
    if writer.error is not None and not isinstance(writer.error, BrokenPipeError):
        say(f"cannot write messages: {writer.error.strerror}")
    return Exit.DONE if writer.error is None else Exit.FAILED


def _id_of(message: Mapping[str, Any]) -> str:
    msg_id = message.get("msg_id")
    if not isinstance(msg_id, str):
        raise OAPError.from_code(ErrorCode.BAD_GATEWAY, "the node sent a message without a msg_id")
    return msg_id


def line_of(message: Mapping[str, Any]) -> bytes:
    """Return *message* as the node sent it, on one line."""
    said = dict(message)
    payload = said.pop("payload", None)
    if isinstance(payload, bytes):
        said["payload_b64"] = base64.b64encode(payload).decode("ascii")
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
