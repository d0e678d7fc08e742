"""The routes of facets that take whole paths: one a facet, behind which the facet's own matcher decides.

What is behind ``/app/FACET`` is nobody's to read here: neither path nor query is decoded, and a body keeps
its encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred

from micronode.calls.operations import Mount, Operation
from micronode.http.operations import Dispatch, http_body_bytes
from micronode.http.request import Request, call_fields, make_call
from micronode.http.routes import Route

#: Whatever a method is, the matcher judges it.
_ANY: Final[frozenset[str]] = frozenset()


def mount_routes(operations: Iterable[Operation], dispatch: Dispatch) -> Iterator[Route]:
    """Yield the route of each mount that *operations* have; others are left out."""
    mounts: dict[Mount, dict[Operation, Route]] = {}
    for operation in operations:
        if operation.mount is not None:
            routes = mounts.setdefault(operation.mount, {})
            routes[operation] = _inner_route(operation, dispatch)
    for mount, routes in mounts.items():
        yield _outer_route(mount, routes)


def _outer_route(mount: Mount, routes: dict[Operation, Route]) -> Route:
    first = next(iter(routes.values()))

    def below(method: str, target: str) -> Route:
        return routes[mount.find(method, target)]

    def handler(request: Request) -> Deferred[None] | None:
        assert request.route is not None
        return request.route.handler(request)

    return Route(
        name=first.name,
        methods=_ANY,
        path=f"/app/{first.facet}",
        facet=first.facet,
        handler=handler,
        below=below,
    )


def _inner_route(operation: Operation, dispatch: Dispatch) -> Route:
    def prepare(request: Request) -> dict[str, Any]:
        head = request.head
        args = {
            "facet": operation.facet,
            "method": head.method,
            "path": request.below,
            "headers": head.fields,
        }
        return {"args": args, **call_fields(head)}

    def handler(request: Request) -> Deferred[None]:
        call = make_call(operation, request, body=request.body, **request.prepared)
        return dispatch.dispatch(call, request.sink)

    return Route(
        name=operation.name,
        methods=frozenset({operation.method}),
        path=operation.path,
        facet=operation.facet,
        prepare=prepare,
        handler=handler,
        max_body_bytes=http_body_bytes(operation),
        opaque=True,
    )
