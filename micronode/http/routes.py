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
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from micronode.errors import ErrorCode, NodeError
from micronode.http.below import Below
from micronode.http.encoding import find_inflate
from micronode.http.framing import body_too_large
from micronode.http.limits import MAX_HTTP_BODY_BYTES
from micronode.http.request import Request
from micronode.http.url import decode_segment, parse_query, refuse_tokens
from micronode.oap.wire.limits import DECOMPRESS_RATIO

#: An argument in a path.
ARGUMENT: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
#: A path template: whole segments, each plain text or one argument.
_TEMPLATE: Final = re.compile(r"/|(?:/(?:[A-Za-z0-9._~-]+|\{[a-z][a-z0-9_]*\}))+")


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
    #: Whether a call may change something, whatever its method.
    writes: bool = False
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

        rule = ARGUMENT.sub(r"<\1>", route.path) + ("" if route.below is None else "/<below:below>")
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
