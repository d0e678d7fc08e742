"""What ``specs/oap-1.md`` prints of the code: state tables and frames in hex, made from it anew.

``python -m tests.support.printed`` prints them all, to be pasted.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from micronode.config.schema import Timeouts
from micronode.oap.hello import hello_reply
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode, error_object
from micronode.oap.wire.events import HelloReceived, PingReceived
from micronode.oap.wire.frames import ACK_REQ, END, EVENT, REQ, START, Control, encode_frame
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.states import (
    CONNECTION,
    STREAM,
    ConnectionInput,
    ConnectionState,
    StreamInput,
    StreamState,
)
from micronode.oap.wire.windows import credit_frame

#: Where the fields of a header end.
_FIELDS = (4, 6, 8, 10, 12, 28, 30, 38)
_LINE_BYTES = 32


def table(states: type[enum.Enum], inputs: type[enum.Enum], moves: Mapping[Any, enum.Enum]) -> str:
    """Return a state table in Markdown: a row an input, a column a state, ``-`` where it is illegal."""
    rows = [["", *(state.name for state in states)]]
    for given in inputs:
        found = (moves.get((state, given)) for state in states)
        rows.append([f"`{given.name}`", *("-" if after is None else after.name for after in found)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def dump(data: bytes) -> str:
    """Return a frame in hex: the header by its fields, then capability and payload in lines."""
    edges = (0, *_FIELDS)
    lines = [" ".join(data[start:stop].hex() for start, stop in zip(edges, _FIELDS, strict=False))]
    cap_end = 38 + int.from_bytes(data[28:30], "big")
    for part in (data[38:cap_end], data[cap_end:]):
        lines += [part[at : at + _LINE_BYTES].hex() for at in range(0, len(part), _LINE_BYTES)]
    return "\n".join(lines)


def examples() -> dict[str, bytes]:
    """Return one conversation, frame by frame, as the code writes it; by the name it has in the text."""
    node = NodeConnection()
    said = {"HELLO": encode_frame(REQ, 0, Profile.CONTROL, 1, b'{"ua":null}')}
    [hello] = node.receive(said["HELLO"])
    assert isinstance(hello, HelloReceived)
    said["HELLO's answer"] = node.send_hello(hello, hello_reply(object(), idle_s=Timeouts().idle))

    query = b'{"op":"query","args":{"q":"reactor"}}'
    said["a request"] = encode_frame(REQ | START | END, 0, Profile.SEARCH, 2, query, cap=b"token")
    list(node.receive(said["a request"]))
    said["the head of its answer"] = node.send_head(2, {"status": 200, "content_type": "application/json"})
    said["a chunk of its body"] = node.send_body(2, b'{"query":"reactor","hits":[],"total":0}')
    said["its end"] = node.send_end(2)

    tenant = bytes(15) + b"\xaa"
    said["an upload"] = encode_frame(
        REQ | START, 0, Profile.MEDIA, 3, b'{"op":"put","args":{}}', tenant=tenant
    )
    said["a chunk of it"] = encode_frame(REQ, 0, Profile.MEDIA, 3, b"hello ", tenant=tenant)
    said["its last chunk"] = encode_frame(REQ | END, 0, Profile.MEDIA, 3, b"world", tenant=tenant)
    said["a cancel"] = encode_frame(REQ | END, 499, Profile.MEDIA, 3, tenant=tenant)
    list(node.receive(said["an upload"] + said["a chunk of it"] + said["its last chunk"] + said["a cancel"]))
    said["the answer to a cancel"] = node.send_error(3, ErrorCode.CANCELLED, {})

    list(node.receive(encode_frame(REQ | START | END, 0, Profile.MEDIA, 4, b'{"op":"get","args":{}}')))
    error = error_object(ErrorCode.NOT_FOUND, "no such object", request_id="5f3a", corr_id=4)
    said["a failure"] = node.send_error(4, ErrorCode.NOT_FOUND, error)
    topic = b'{"op":"subscribe","args":{"topic":"jobs"}}'
    said["a subscription"] = encode_frame(REQ | START | END | ACK_REQ, 0, Profile.FEED, 5, topic)
    list(node.receive(said["a subscription"]))
    node.send_head(5, {"status": 200, "content_type": "application/json"})
    message = b'{"msg_id":"7","ts":1767225600.5,"attempt":1,"attrs":{},"payload_b64":"aGVsbG8="}'
    said["a message of it"] = node.send_event(5, message)
    said["CREDIT for it"] = credit_frame(5, len(message))
    list(node.receive(said["CREDIT for it"]))
    said["PING"] = encode_frame(EVENT, Control.PING, 0, 0, b"abc")
    said["its echo"] = node.send_pong(PingReceived(0, b"abc"))
    said["GOAWAY"] = node.send_goaway(1000)
    failed = node.fail(ErrorCode.FRAME_TIMEOUT, "a frame was not whole in time")
    assert failed is not None
    error = error_object(failed.code, failed.message, request_id="5f3b")
    said["a connection error"] = node.send_failure(failed, error)
    return said


def blocks() -> list[str]:
    """Return everything the specification must have word for word."""
    return [
        table(ConnectionState, ConnectionInput, CONNECTION),
        table(StreamState, StreamInput, STREAM),
        *(f"**{name}** ({len(data)} bytes)\n\n```\n{dump(data)}\n```" for name, data in examples().items()),
    ]


if __name__ == "__main__":
    print("\n\n".join(blocks()))
