"""The routes of a plane: one table, held by a Klein app, consulted once.

Routes are matched when the head is there, before the body is read, so that an unknown path costs
nothing more; and they are matched on the **raw** path, so that ``%2F`` cannot move a boundary.
Klein's own resource does neither: it runs when the body is whole, and on a path that was unescaped
first. A second router for the early answer could disagree with it, so there is none: the Klein
app's ``url_map``, generated from the operations, is asked with the raw path, what it says is kept
on the request, and when the body is there the very endpoint it named is executed
(``Klein.execute_endpoint``). KleinResource.render, which would match again, is not used; that also
saves half the cost of a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from micronode.calls.operations import BodyRule, Operation, OperationTable
from micronode.errors import ErrorCode, NodeError
from micronode.http.below import Below
from micronode.http.encoding import find_inflate
from micronode.http.events import EventSink
from micronode.http.framing import body_too_large
from micronode.http.limits import MAX_HTTP_BODY_BYTES
from micronode.http.request import Request, call_fields, make_call
from micronode.http.url import decode_segment, parse_query, refuse_tokens
from micronode.oap.wire.heads import HeadError, parse_object
from micronode.oap.wire.limits import DECOMPRESS_RATIO, MAX_HEAD_BYTES

if TYPE_CHECKING:
    from micronode.calls.call import Call
    from micronode.interfaces import IResponseSink

_ARGUMENT: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
#: A path template: whole segments, each plain text or one argument.
_TEMPLATE: Final = re.compile(r"/|(?:/(?:[A-Za-z0-9._~-]+|\{[a-z][a-z0-9_]*\}))+")


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


def _nothing(request: Request) -> dict[str, Any]:
    return {}


@attrs.frozen(kw_only=True, eq=False)
class Route:
    """One endpoint of a plane."""

    #: Also the ``route`` label of metrics and logs.
    name: str
    methods: frozenset[str]
    #: ``{argument}`` stands for one raw segment.
    path: str
    #: Called when the request is whole. What it returns, if a Deferred, is cancelled when the caller
    #: goes; by the time it fires the request's sink must have ended.
    handler: Callable[[Request], Deferred[None] | None]
    #: Called when the head is there; what it returns becomes ``request.prepared``. Raises NodeError.
    prepare: Callable[[Request], dict[str, Any]] = _nothing
    #: Largest body in bytes; None: it takes none.
    max_body_bytes: int | None = None
    facet: str | None = None
    #: Whether its answers last as long as their callers stay.
    subscribes: bool = False
    #: Whether the path is its alone: by another method nothing else is reached, say a path with arguments.
    reserved: bool = False
    #: Set where it stands for all that begins with its path and a ``/``: returns the route of a method and of
    #: the raw path and query from there on. Raises NodeError.
    below: Callable[[str, str], Route] | None = None
    #: Whether query and body are passed on as they come: neither is decoded.
    opaque: bool = False


class Routes:
    """The routes of one plane."""

    def __init__(self, routes: Iterable[Route], *, decompress_ratio: int = DECOMPRESS_RATIO) -> None:
        """:param decompress_ratio: how many times its size a compressed body may become, above 4 KiB."""
        # Here and not above: klein imports the global reactor, and a host that holds a node must have
        # had its chance to install the one it wants.
        from klein import Klein

        self.app = Klein()
        self.app.url_map.converters["below"] = Below
        self._by_name: dict[str, Route] = {}
        #: What the map has said of paths without arguments, by method and path.
        self._known: dict[tuple[str, str], Route] = {}
        self._decompress_ratio = decompress_ratio
        # Redirects and forgiving slashes are two spellings of one thing: a policy sees only one.
        self.app.url_map.merge_slashes = False
        self.app.url_map.redirect_defaults = False
        for route in routes:
            self._add(route)
        # The map is asked for paths only: the name it is bound to shows nowhere.
        self._map = self.app.url_map.bind("micronode")

    def _add(self, route: Route) -> None:
        if route.name in self._by_name:
            raise ValueError(f"route {route.name} is declared twice")
        if _TEMPLATE.fullmatch(route.path) is None:
            raise ValueError(f"route {route.name} has no usable path: {route.path!r}")
        self._by_name[route.name] = route

        def endpoint(request: Request) -> Deferred[None] | None:
            return route.handler(request)

        rule = _ARGUMENT.sub(r"<\1>", route.path) + ("" if route.below is None else "/<below:below>")
        self.app.route(rule, endpoint=route.name, methods=sorted(route.methods))(endpoint)
        # werkzeug lets HEAD in wherever GET is; here the table alone says so.
        for each in self.app.url_map.iter_rules(route.name):
            any_method = route.reserved or route.below is not None
            each.methods = None if any_method else set(route.methods)

    def admit(self, request: Request) -> None:
        """Find the route of *request* and let it judge the head; nothing has run by then.

        :raises NodeError: ``not_found``, ``method_not_allowed``, ``bad_request``, ``body_too_large``,
            ``unsupported_encoding``, or what the route's ``prepare`` raises.
        """
        head = request.head
        route, raw = self._match(head.method, head.path)
        if route.below is not None:
            # Where it finds none the facet is known all the same.
            request.route = route
            request.below = head.target[len(route.path) :]
            route, raw = route.below(head.method, request.below), {}
        request.route = route
        request.segments = {name: decode_segment(value) for name, value in raw.items()}
        if route.opaque:
            refuse_tokens(head.query)
        else:
            request.query = parse_query(head.query)
        if head.has_body:
            if route.max_body_bytes is None:
                raise NodeError(ErrorCode.BODY_TOO_LARGE, "this operation takes no body")
            if not route.opaque:
                request.inflate = find_inflate(head.fields.get("content-encoding", "identity"))
            # A compressed body may be the longer one, by its own header.
            most = route.max_body_bytes if request.inflate is None else MAX_HTTP_BODY_BYTES
            if head.body_length is not None and head.body_length > most:
                raise body_too_large(most)
            request.max_encoded_bytes = most
        request.prepared = route.prepare(request)

    def _match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        known = self._known.get((method, path))
        if known is not None:
            return known, {}
        if path.startswith("//"):
            # werkzeug drops what is too much in front.
            raise _not_found()
        try:
            endpoint, raw = self._map.match(path, method)
        except MethodNotAllowed as error:
            raise _method_not_allowed(error.valid_methods or ()) from None
        except HTTPException:
            raise _not_found() from None
        route = self._by_name[str(endpoint)]
        if not raw and method in route.methods:
            # A path without arguments, so there are no more of these than routes.
            self._known[method, path] = route
        if method not in route.methods and route.below is None:
            # werkzeug upper-cases methods; HTTP's are case-sensitive (RFC 9110 section 9.1).
            raise _method_not_allowed(route.methods)
        return route, dict(raw)

    def decode(self, request: Request, data: bytes) -> bytes:
        """Return the body of *request*, which came as *data*, without its Content-Encoding.

        :raises NodeError: ``bad_compression``, ``decompress_cap``.
        """
        if request.inflate is None:
            return data
        assert request.route is not None
        return request.inflate(data, request.route.max_body_bytes or 0, self._decompress_ratio)

    def run(self, request: Request) -> Any:
        """Execute the endpoint that :meth:`admit` found, and return what it returns."""
        assert request.route is not None
        return self.app.execute_endpoint(request.route.name, request)  # type: ignore[arg-type]


def _method_not_allowed(allowed: Iterable[str]) -> NodeError:
    allow = ", ".join(sorted(allowed))
    return NodeError(ErrorCode.METHOD_NOT_ALLOWED, f"this path takes {allow}", headers=(("Allow", allow),))


def _not_found() -> NodeError:
    return NodeError(ErrorCode.NOT_FOUND, "nothing is served at this path")


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
    in_path = frozenset(_ARGUMENT.findall(operation.path))
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
