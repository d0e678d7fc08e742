"""The routes of the application plane, made from the table of operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, succeed

from micronode.calls.operations import Access, BodyRule, Operation
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode, NodeError
from micronode.http.events import EventSink
from micronode.http.limits import MAX_HTTP_BODY_BYTES
from micronode.http.request import Request, call_fields, make_call
from micronode.http.routes import ARGUMENT, Route, Routes
from micronode.oap.wire.heads import HeadError, parse_object
from micronode.oap.wire.limits import DECOMPRESS_RATIO, MAX_HEAD_BYTES

if TYPE_CHECKING:
    from micronode.calls.call import Call
    from micronode.interfaces import IResponseSink


class Dispatch(Protocol):
    """The dispatcher, as far as this ingress needs it."""

    @property
    def table(self) -> OperationTable:
        """The operations served."""

    def dispatch(self, call: Call, sink: IResponseSink) -> Deferred[None]:
        """Serve *call*.

        :return: a Deferred that fires (None) when *sink* was finished or failed; it never fails.
            Cancelling it aborts the owner's call and leaves the sink alone.
        """

    def turn_away(self, operation: Operation, origin: str) -> NodeError | None:
        """Return why it would refuse a call to *operation* at once, and count it; None: it is to be asked."""


def _parsed(operation: Operation, given: Mapping[str, str]) -> dict[str, Any]:
    """Return those arguments that are *given*, in path or header, while the others are yet to come."""
    return {each.name: each.parse(given[each.name]) for each in operation.arguments if each.name in given}


def http_body_bytes(operation: Operation) -> int | None:
    """Return how long a request body *operation* takes over HTTP; None: it takes none."""
    if operation.body is BodyRule.NONE:
        return None
    if operation.body is BodyRule.ARGUMENTS:
        return MAX_HEAD_BYTES
    return min(operation.max_body, MAX_HTTP_BODY_BYTES)


def operation_route(operation: Operation, dispatch: Dispatch) -> Route:
    """Return the route of *operation*: its arguments from path, header and query, its call to *dispatch*."""
    in_path = frozenset(ARGUMENT.findall(operation.path))
    in_header = tuple(
        (argument.name, argument.header.lower())
        for argument in operation.arguments
        if argument.header is not None and argument.name not in in_path
    )
    in_body = operation.body is BodyRule.ARGUMENTS
    in_query = tuple(
        argument.name
        for argument in operation.arguments
        if argument.header is None and argument.name not in in_path and not in_body
    )
    strange = in_path - {argument.name for argument in operation.arguments}
    if strange:
        raise ValueError(f"{operation.name}: path argument {min(strange)!r} is not declared")

    def prepare(request: Request) -> dict[str, Any]:
        # With a body it is read first, so that the connection can go on; there may be room by then, too.
        if not request.head.has_body and (error := dispatch.turn_away(operation, request.origin)) is not None:
            request.dispatched = True
            raise error
        given = request.segments
        fields = request.head.fields
        for name, header in in_header:
            if header in fields:
                given[name] = fields[header]
        for name in in_query:
            values = request.query.get(name)
            if values is not None:
                if len(values) > 1:
                    raise NodeError(ErrorCode.BAD_REQUEST, f"argument {name!r} is given twice")
                given[name] = values[0]
        args = _parsed(operation, given) if in_body else operation.bind_text(given)
        told = call_fields(request.head)
        if operation.needs_key and told["idempotency_key"] is None:
            # The facet would say so, too: when the body has come.
            raise NodeError(ErrorCode.BAD_REQUEST, "this operation needs a field Idempotency-Key")
        return {"args": args, **told}

    def handler(request: Request) -> Deferred[None]:
        if in_body:
            return with_arguments(request)
        call = make_call(operation, request, body=request.body, **request.prepared)
        if not operation.subscribes:
            return dispatch.dispatch(call, request.sink)
        return dispatch.dispatch(call, EventSink(request.sink, request.sink.clock))

    def with_arguments(request: Request) -> Deferred[None]:
        body, prepared = request.body, request.prepared
        try:
            given = parse_object(body.data) if body is not None and body.data else {}
            args = operation.bind(given | prepared["args"])
        except (HeadError, NodeError) as error:
            request.sink.fail(NodeError(error.code, error.message))
            return succeed(None)
        return dispatch.dispatch(make_call(operation, request, **prepared | {"args": args}), request.sink)

    return Route(
        name=operation.name,
        methods=frozenset({operation.method}),
        path=operation.path,
        facet=operation.facet,
        subscribes=operation.subscribes,
        writes=operation.access is Access.WRITE,
        prepare=prepare,
        handler=handler,
        max_body_bytes=http_body_bytes(operation),
    )


def operation_routes(
    dispatch: Dispatch,
    table: OperationTable | None = None,
    *,
    about: Sequence[Route] = (),
    decompress_ratio: int = DECOMPRESS_RATIO,
) -> Routes:
    """Return the application plane's routes, generated from a table of operations but those with a mount.

    :param table: the dispatcher's own where None.
    :param about: routes beside them; an operation at the path of one is refused.
    :param decompress_ratio: see :class:`Routes`.
    :raises ValueError: two routes would be one.
    """
    operations = dispatch.table if table is None else table
    taken = {route.path for route in about}
    for operation in operations:
        if operation.path in taken:
            raise ValueError(
                f"operation {operation.name}: {operation.path} is the node's own, choose another"
            )
    routes = (operation_route(operation, dispatch) for operation in operations if operation.mount is None)
    return Routes((*about, *routes), decompress_ratio=decompress_ratio)
