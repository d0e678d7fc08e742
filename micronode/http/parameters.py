"""Where an OpenAPI document says that an operation's arguments go: parameters, and request bodies.

For :mod:`micronode.http.openapi`; made of the same rows as the routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from micronode.calls.operations import MAX_MEMBERS, Argument, Operation
from micronode.http.limits import MAX_HTTP_BODY_BYTES
from micronode.http.response import JSON
from micronode.oap.wire.limits import MAX_HEAD_BYTES


def parameter(argument: Argument, in_path: str | None) -> dict[str, Any]:
    """Return the parameter that *argument* is.

    :param in_path: what the path calls it, where it is in the path.
    """
    schema = _schema(argument, in_path)
    if in_path:
        where = {"name": in_path, "in": "path", "required": True}
    elif argument.header is not None:
        where = {"name": argument.header, "in": "header", "required": argument.required}
    else:
        where = {"name": argument.name, "in": "query", "required": argument.required}
    where["description"] = argument.doc
    if argument.type is dict:
        # Its text is JSON, which none of OpenAPI's styles for objects is.
        return where | {"content": {"application/json": {"schema": schema}}}
    return where | {"schema": schema}


def _schema(argument: Argument, in_path: str | None) -> dict[str, Any]:
    schema: dict[str, Any]
    if argument.type is int:
        limits = {"minimum": argument.minimum, "maximum": argument.maximum}
        schema = {"type": "integer"} | {name: at for name, at in limits.items() if at is not None}
    elif argument.type is dict:
        schema = {
            "type": "object",
            "maxProperties": MAX_MEMBERS,
            "additionalProperties": {"type": "string", "maxLength": argument.max_length},
        }
    else:
        schema = {"type": "string", "maxLength": argument.max_length}
        if argument.required or in_path:
            schema["minLength"] = 1
        if argument.pattern is not None:
            schema["pattern"] = argument.pattern
        elif argument.header is None or in_path:
            # What no URL of ours may hold, see http/url.
            schema["pattern"] = r"^[^\u0000]*$"
            if in_path:
                schema["not"] = {"enum": [".", ".."]}
    if argument.default is not None:
        schema["default"] = argument.default
    return schema


def arguments_body(arguments: Iterable[Argument], in_path: Mapping[str, str]) -> dict[str, Any]:
    """Return the body that has the arguments for which there is no other place."""
    inside = [each for each in arguments if each.name not in in_path and each.header is None]
    members = {each.name: _schema(each, None) | {"description": each.doc} for each in inside}
    schema: dict[str, Any] = {"type": "object", "properties": members}
    needed = [each.name for each in inside if each.required]
    if needed:
        schema["required"] = needed
    return {
        "description": "May be left out." if not needed else "The arguments.",
        "required": bool(needed),
        "content": {JSON: {"schema": schema}},
        "x-micronode-max-bytes": MAX_HEAD_BYTES,
    }


def bytes_body(operation: Operation) -> dict[str, Any]:
    """Return the body of an operation that takes bytes."""
    most = min(operation.max_body, MAX_HTTP_BODY_BYTES)
    media_types = ["application/octet-stream"]
    if any(each.header == "content-type" for each in operation.arguments):
        media_types.append("*/*")
    return {
        "description": f"At most {most} bytes, after its Content-Encoding (none, gzip or zstd) was undone.",
        # Without a schema it is bytes, whatever they are (OpenAPI 3.1.0 section 4.8.14.2).
        "content": {media_type: {} for media_type in media_types},
        "x-micronode-max-bytes": most,
    }
