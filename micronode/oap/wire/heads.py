"""Strict JSON for heads and HELLO, and the head of a call. ``specs/oap-1.md`` section 5.

The stock parser takes duplicate keys, NaN, 1e999 and a thousand levels of nesting; two readers of
one head must never disagree about it, so all of that is ``bad_json`` here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.jsontext import make_decoder, make_encoder
from micronode.oap.wire.limits import MAX_HEAD_BYTES, MAX_JSON_DEPTH, MAX_JSON_INTEGER


class HeadError(Exception):
    """A head that is not taken.

    :ivar code: ``bad_json`` or ``bad_request``.
    :ivar message: what is wrong with it, for the peer; it quotes no content.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class CallHead:
    """The head of a START: what is asked for."""

    op: str
    args: dict[str, Any]
    idempotency_key: str | None
    deadline_ms: int | None
    traceparent: str | None


def parse_object(data: bytes, *, max_bytes: int = MAX_HEAD_BYTES) -> dict[str, Any]:
    """Read *data* as one strict JSON object.

    :raises HeadError: ``bad_json``.
    """
    if len(data) > max_bytes:
        raise _bad_json(f"longer than {max_bytes} bytes")
    try:
        text = data.decode("utf-8")
        value = _decode(text)
        if "\\u" in text:  # an escape may have made half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise _bad_json("not UTF-8") from None
    except RecursionError:
        raise _bad_json(f"deeper than {MAX_JSON_DEPTH} levels") from None
    except ValueError as error:
        # The parser's message has a position in it and nothing of the text; ours say what rule broke.
        raise _bad_json(str(error)) from None
    if not isinstance(value, dict):
        raise _bad_json("not an object")
    # A text with few brackets cannot nest deeper than it has brackets.
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _deeper_than(value, MAX_JSON_DEPTH):
        raise _bad_json(f"deeper than {MAX_JSON_DEPTH} levels")
    return value


def parse_call_head(data: bytes) -> CallHead:
    """Read the head of a START; unknown keys are ignored.

    :raises HeadError: ``bad_json``, or ``bad_request`` naming the key that is missing or of a wrong type.
    """
    value = parse_object(data)
    op = _typed(value, "op", str, required=True)
    args = _typed(value, "args", dict, required=True)
    if len(value) == 2:
        return CallHead(op, args, None, None, None)
    deadline_ms = _typed(value, "deadline_ms", int)
    if deadline_ms is not None and deadline_ms < 0:
        raise HeadError(ErrorCode.BAD_REQUEST, "'deadline_ms' must not be negative")
    return CallHead(
        op, args, _typed(value, "idempotency_key", str), deadline_ms, _typed(value, "traceparent", str)
    )


def parse_answer_head(data: bytes) -> dict[str, Any]:
    """Read the head of an answer, as a caller does: what is there has its type; unknown keys are kept.

    :raises HeadError: as :func:`parse_call_head`.
    """
    value = parse_object(data)
    status = _typed(value, "status", int, required="status" in value)
    length = _typed(value, "length", int)
    if status is not None and not 100 <= status <= 599:
        raise HeadError(ErrorCode.BAD_REQUEST, "'status' must be from 100 to 599")
    if length is not None and length < 0:
        raise HeadError(ErrorCode.BAD_REQUEST, "'length' must not be negative")
    for key in ("content_type", "etag", "range"):
        _typed(value, key, str)
    if not isinstance(value.get("verified"), bool | None):
        raise HeadError(ErrorCode.BAD_REQUEST, "'verified' must be true or false")
    return value


def dump_object(value: Mapping[str, Any]) -> bytes:
    """Write *value* as compact UTF-8 JSON."""
    return _encode(value).encode("utf-8")


def _typed(value: dict[str, Any], key: str, kind: type, *, required: bool = False) -> Any:
    found = value.get(key)
    if found is None and not required:
        return None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise HeadError(ErrorCode.BAD_REQUEST, f"{key!r} must be {_NAMES[kind]}")
    return found


def _bad_json(what: str) -> HeadError:
    return HeadError(ErrorCode.BAD_JSON, f"the JSON is not taken: {what}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) <= 17 else MAX_JSON_INTEGER + 1
    if abs(value) > MAX_JSON_INTEGER:
        raise ValueError("an integer beyond 2**53")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number beyond what a double holds")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _deeper_than(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        children: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                children.extend(node.values())
            elif isinstance(node, list):
                children.extend(node)
        level = children
    return any(isinstance(node, dict | list) for node in level)


_NAMES = {str: "a string", dict: "an object", int: "an integer"}
_decode = make_decoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_encode = make_encoder(ascii_only=False)
