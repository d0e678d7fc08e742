"""The OpenAPI 3.1 document of the application plane: operations in, a JSON value out. It never does IO.

Generated from the very rows that the routes are made of, so that it cannot tell of another node than the
one it comes from. OpenAPI 3.1 has no word for a stream of events: that of a subscription is a text, and
``x-micronode-message`` tells of the messages in it. While nobody checks capabilities no answer is 401,
and none is written down.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

import micronode
from micronode.calls.answers import Answer
from micronode.calls.operations import Access, BodyRule, Operation
from micronode.errors import ErrorCode, http_status
from micronode.http.eventtext import EVENT_STREAM
from micronode.http.openapi_mounts import mounted_operation
from micronode.http.parameters import arguments_body, bytes_body, parameter
from micronode.http.response import JSON
from micronode.oap.wire.errors import MAX_MESSAGE

_SEGMENT: Final = re.compile(r"\{[a-z0-9_]+\}")
#: What any request may be told, whatever it asks for.
_ANY: Final = (
    ErrorCode.BAD_REQUEST,
    ErrorCode.TIMEOUT,
    ErrorCode.BODY_TOO_LARGE,
    ErrorCode.EXPECTATION_FAILED,
    ErrorCode.HEAD_TOO_LARGE,
)
#: What a call of any operation may be told beside that.
_CALL: Final = (
    ErrorCode.CAP_TOO_LARGE,
    ErrorCode.FORBIDDEN,
    ErrorCode.BUSY,
    ErrorCode.RATE_LIMITED,
    ErrorCode.INTERNAL,
    ErrorCode.BAD_GATEWAY,
    ErrorCode.NOT_READY,
    ErrorCode.DRAINING,
    ErrorCode.OWNER_UNAVAILABLE,
    ErrorCode.OWNER_TIMEOUT,
)
#: And what one with a body may be told.
_BODY: Final = (ErrorCode.UNSUPPORTED_ENCODING, ErrorCode.BAD_COMPRESSION, ErrorCode.DECOMPRESS_CAP)
_TEXTS: Final = {
    400: "The request, or one of its arguments, is malformed.",
    403: "The policy forbids it; the message names its rule.",
    404: "There is no such thing.",
    408: "The request was not whole in time.",
    409: "It conflicts with what is there.",
    413: "The body, or the capability, is too large; or this operation takes no body.",
    415: "A Content-Encoding other than gzip or zstd.",
    416: "The object has no such range.",
    417: "Expect says anything but 100-continue.",
    429: "As many calls as may be are under way, or its caller asks too often. Nothing was done.",
    431: "The head is too large.",
    500: "A defect of the node; its log has the request id.",
    502: "What stands behind the node answered wrongly.",
    503: "The node is stopping, or what stands behind it takes no more. Nothing was done.",
    504: "What stands behind the node did not answer in time.",
}
_RETRY_AFTER: Final = {
    "Retry-After": {
        "description": "When to come back, in seconds.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_REQUEST_ID: Final = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "The caller's own id of the request, for logs; one that does not fit is replaced.",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH: Final = {
    "name": "if-none-match",
    "in": "header",
    "description": "Entity tags that the caller has: 304 if it is one of them.",
    "schema": {"type": "string"},
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "By which the same request, sent again, is known.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_TENANT: Final = {
    "name": "X-Tenant-ID",
    "in": "header",
    "description": "The tenant that the call is made for, passed on to the owner.",
    "schema": {"type": "string", "pattern": "^[0-9a-fA-F]{32}$"},
}
_ERROR: Final = {
    "type": "object",
    "description": "Every error, by every door. Further members tell more of it.",
    "required": ["code", "message", "retryable", "request_id"],
    "properties": {
        "code": {"type": "string", "description": "Its name."},
        "message": {"type": "string", "maxLength": MAX_MESSAGE, "description": "For a person."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "retry_after_ms": {"type": "integer", "minimum": 1, "description": "When to come back."},
        "request_id": {"type": "string", "description": "Under which the node's log has the request."},
    },
}


@attrs.frozen(kw_only=True)
class Page:
    """A path of the plane that tells of the node itself; no call, so no facet's."""

    #: Also the ``route`` label of metrics.
    name: str
    path: str
    summary: str
    #: JSON Schema of what it answers.
    schema: Mapping[str, Any]


def make_openapi(operations: Iterable[Operation], pages: Iterable[Page]) -> dict[str, Any]:
    """Return the document that tells of *operations* and of *pages*."""
    paths: dict[str, dict[str, Any]] = {}
    templates: dict[str, str] = {}
    statuses: dict[int, set[ErrorCode]] = {}
    facets: dict[str, None] = {}
    passed: Counter[str] = Counter()
    for operation in operations:
        facets[operation.facet] = None
        if operation.mount is not None:
            # All of a facet's have one name.
            passed[operation.facet] += 1
            template = templates.setdefault(_SEGMENT.sub("{}", operation.path), operation.path)
            told = mounted_operation(operation, template, f"{operation.name}.{passed[operation.facet]}")
            paths.setdefault(template, {}).setdefault(operation.method.lower(), told)
            continue
        # Two paths that differ in the names of their arguments are one path to OpenAPI.
        template = templates.setdefault(_SEGMENT.sub("{}", operation.path), operation.path)
        names = dict(zip(_SEGMENT.findall(operation.path), _SEGMENT.findall(template), strict=True))
        in_path = {found[1:-1]: shown[1:-1] for found, shown in names.items()}
        paths.setdefault(template, {})[operation.method.lower()] = _operation(operation, in_path, statuses)
    for page in pages:
        paths[page.path] = _page(page, statuses)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "micronode, application plane",
            "version": micronode.__version__,
            "description": "What this node serves over HTTP now.",
        },
        "tags": [{"name": name} for name in facets],
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "parameters": {"RequestID": _REQUEST_ID, "TenantID": _TENANT},
            "responses": {"Error": _refusal("Any other refusal.")}
            | {f"Error{status}": _known_refusal(status, codes) for status, codes in sorted(statuses.items())},
        },
    }


def _operation(
    operation: Operation, in_path: Mapping[str, str], statuses: dict[int, set[ErrorCode]]
) -> dict[str, Any]:
    # In no header whose field has a place of its own in a document.
    arguments = [each for each in operation.arguments if each.header not in ("content-type", "authorization")]
    takes_body = operation.body is not BodyRule.NONE
    in_body = operation.body is BodyRule.ARGUMENTS
    codes = {*_ANY, *_CALL, *(_BODY if takes_body else ()), *operation.errors}
    if in_body:
        codes.add(ErrorCode.BAD_JSON)
    has_body = operation.method != "HEAD"
    told: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.facet],
        "summary": operation.summary,
        "parameters": [
            *(
                parameter(each, in_path.get(each.name))
                for each in arguments
                if not in_body or each.name in in_path or each.header is not None
            ),
            *([_IDEMPOTENCY_KEY] if operation.needs_key else ()),
            {"$ref": "#/components/parameters/RequestID"},
            {"$ref": "#/components/parameters/TenantID"},
        ],
        "responses": (
            _messages(operation.answers) if operation.subscribes else _answers(operation.answers, has_body)
        )
        | _refusals(codes, statuses, has_body),
        "x-micronode-access": operation.access.value,
        "x-micronode-oap": {"profile": int(operation.profile), "op": operation.op},
    }
    if takes_body:
        told["requestBody"] = arguments_body(arguments, in_path) if in_body else bytes_body(operation)
    if operation.access is Access.WRITE:
        told["description"] = "A write: the node never repeats it by itself."
    return told


def _answers(answers: Iterable[Answer], has_body: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for answer in answers:
        one: dict[str, Any] = {"description": answer.doc}
        if answer.headers:
            one["headers"] = {
                name: {"required": True, "schema": schema} for name, schema in answer.headers.items()
            }
        if has_body and answer.content is not None:
            one["content"] = {answer.content: {} if answer.schema is None else {"schema": answer.schema}}
        told[str(answer.status)] = one
    # A host's facet need not say what it answers.
    return told or {"2XX": {"description": "What the operation answers."}}


def _messages(answers: Iterable[Answer]) -> dict[str, Any]:
    """Return the responses of a subscription: the schema of its 200 is that of one message."""
    silent: dict[str, Any] = {"200": {"description": "Messages, as they come."}}
    told = _answers(answers, True) if answers else silent
    for status, answer in told.items():
        if status == "200":
            schema = answer.get("content", {}).get(JSON, {}).get("schema")
            more = {} if schema is None else {"x-micronode-message": schema}
            answer["content"] = {EVENT_STREAM: {"schema": {"type": "string"}, **more}}
    return told


def _refusals(
    codes: Iterable[ErrorCode], statuses: dict[int, set[ErrorCode]], has_body: bool
) -> dict[str, Any]:
    """Return the responses that tell *codes*, and note them in *statuses*."""
    told: dict[str, Any] = {}
    for code in sorted(codes, key=http_status):
        status = http_status(code)
        if has_body:
            statuses.setdefault(status, set()).add(code)
            told[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
        else:
            told[str(status)] = {"description": _text(status), **_fields(status)}
    told["default"] = (
        {"$ref": "#/components/responses/Error"} if has_body else {"description": "Any other refusal."}
    )
    return told


def _known_refusal(status: int, codes: Iterable[ErrorCode]) -> dict[str, Any]:
    names = [code.value for code in ErrorCode if code in codes]
    return _refusal(_text(status), {"properties": {"code": {"enum": names}}}) | _fields(status)


def _refusal(text: str, *more: Mapping[str, Any]) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    schema = {"allOf": [error, *more]} if more else error
    return {"description": text, "content": {JSON: {"schema": schema}}}


def _fields(status: int) -> dict[str, Any]:
    return {"headers": _RETRY_AFTER} if status in (429, 503) else {}


def _text(status: int) -> str:
    return _TEXTS.get(status, "Refused.")


def _page(page: Page, statuses: dict[int, set[ErrorCode]]) -> dict[str, Any]:
    fields: dict[str, Mapping[str, Any]] = {"ETag": {"type": "string"}}
    good = (
        Answer(doc=page.summary, schema=page.schema, headers=fields),
        Answer(status=304, doc="The caller has it already.", content=None, headers=fields),
    )
    told = {}
    for method in ("get", "head"):
        has_body = method == "get"
        told[method] = {
            "operationId": f"{page.name}.{method}",
            "summary": page.summary,
            "parameters": [_IF_NONE_MATCH, {"$ref": "#/components/parameters/RequestID"}],
            "responses": _answers(good, has_body) | _refusals(_ANY, statuses, has_body),
        }
    return told
