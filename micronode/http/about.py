"""What the application plane tells of itself: ``/app/_meta`` and ``/openapi.json``.

Both texts belong to the same snapshot as the routes, so they tell of what a request on the same routes would
find, also right after a reload. They are made when somebody asks first: most reloads are over before that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, Protocol

import micronode
from micronode.calls.answers import list_of, object_of
from micronode.calls.call import ResponseHead
from micronode.calls.operations import BodyRule, Operation
from micronode.facets.conditions import names_tag
from micronode.facets.hosted import Served
from micronode.http.limits import (
    MAX_HTTP_BODY_BYTES,
    MAX_HTTP_FIELDS,
    MAX_HTTP_HEAD_BYTES,
    MAX_QUERY_PARAMETERS,
)
from micronode.http.openapi import Page, make_openapi
from micronode.http.operations import http_body_bytes
from micronode.http.request import Request
from micronode.http.response import JSON, json_bytes
from micronode.http.routes import Route

_READ: Final = frozenset({"GET", "HEAD"})
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"type": "number"}

META: Final = Page(
    name="meta",
    path="/app/_meta",
    summary="What is loaded, and the limits of a call.",
    schema=object_of(
        service=_TEXT,
        version=_TEXT,
        facets=list_of(
            object_of(
                name=_TEXT,
                limit=_COUNT,
                timeout_s=_NUMBER,
                operations=list_of(
                    object_of(
                        name=_TEXT,
                        summary=_TEXT,
                        method=_TEXT,
                        path=_TEXT,
                        oap=object_of(profile=_COUNT, op=_TEXT),
                        access={"enum": ["read", "write"]},
                        subscribes={"type": "boolean"},
                        max_body=object_of(http=_COUNT, oap=_COUNT),
                    )
                ),
            )
        ),
        limits=object_of(
            http=object_of(head=_COUNT, fields=_COUNT, parameters=_COUNT, body=_COUNT),
            oap=object_of(frame=_COUNT, chunk=_COUNT, streams=_COUNT),
            decompress_ratio=_COUNT,
        ),
    ),
)
OPENAPI: Final = Page(
    name="openapi",
    path="/openapi.json",
    summary="This document.",
    schema=object_of(openapi=_TEXT, info={"type": "object"}, paths={"type": "object"}),
)
PAGES: Final = (META, OPENAPI)
#: Labels of these routes, for whoever builds Metrics.
ABOUT_ROUTES: Final = tuple(page.name for page in PAGES)


class Limits(Protocol):
    """What is read of the configuration's ``limits``."""

    @property
    def max_frame(self) -> int:
        """Bytes of a frame."""

    @property
    def max_chunk(self) -> int:
        """Bytes of a chunk."""

    @property
    def max_inflight(self) -> int:
        """Streams of an OAP/1 connection."""

    @property
    def decompress_ratio(self) -> int:
        """How many times its size compressed input may become."""


def about_routes(served: Mapping[str, Served], limits: Limits) -> tuple[Route, ...]:
    """Return the routes that tell of *served*, facets by name, and of *limits*."""
    operations = [operation for each in served.values() for operation in each.operations]
    return (
        _route(META, lambda: make_meta(served, limits)),
        _route(OPENAPI, lambda: make_openapi(operations, PAGES)),
    )


def make_meta(served: Mapping[str, Served], limits: Limits) -> dict[str, Any]:
    """Return the body of ``/app/_meta``; its shape is in ``docs/architecture.rst``."""
    return {
        "service": "micronode",
        "version": micronode.__version__,
        "facets": [_facet(name, each) for name, each in served.items()],
        "limits": {
            "http": {
                "head": MAX_HTTP_HEAD_BYTES,
                "fields": MAX_HTTP_FIELDS,
                "parameters": MAX_QUERY_PARAMETERS,
                "body": MAX_HTTP_BODY_BYTES,
            },
            "oap": {
                "frame": limits.max_frame,
                "chunk": limits.max_chunk,
                "streams": limits.max_inflight,
            },
            "decompress_ratio": limits.decompress_ratio,
        },
    }


def _facet(name: str, served: Served) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": name,
        "limit": served.settings.limit,
        "timeout_s": served.settings.timeout,
        "operations": [_operation(operation) for operation in served.operations],
    }
    if any(operation.subscribes for operation in served.operations):
        told["subscriptions"] = served.settings.subscriptions
    return told


def _operation(operation: Operation) -> dict[str, Any]:
    most = operation.max_body if operation.body is BodyRule.STREAMED else 0
    return {
        "name": operation.name,
        "summary": operation.summary,
        "method": operation.method,
        "path": operation.path,
        "oap": {"profile": int(operation.profile), "op": operation.op},
        "access": operation.access.value,
        "subscribes": operation.subscribes,
        "max_body": {"http": http_body_bytes(operation) or 0, "oap": most},
    }


def _route(page: Page, make: Callable[[], Any]) -> Route:
    # A cache may keep it, and asks each time whether it still is what it was.
    headers = (("Cache-Control", "no-cache"),)

    @cache
    def text() -> tuple[bytes, str]:
        body = json_bytes(make())
        return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'

    def handler(request: Request) -> None:
        sink, (body, tag) = request.sink, text()
        if names_tag(request.head.fields.get("if-none-match"), tag):
            sink.start(ResponseHead(status=304, etag=tag, headers=headers))
        else:
            sink.start(ResponseHead(content_type=JSON, length=len(body), etag=tag, headers=headers))
            sink.write(body)
        sink.finish()

    return Route(name=page.name, methods=_READ, path=page.path, handler=handler, reserved=True)
