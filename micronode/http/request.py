"""One request on its way through the HTTP ingress: what was read, which route it took, its sink.

Not twisted.web's Request: that one parses forms and cookies, renders HTML errors, and loses its
``channel`` under the feet of whoever still writes to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from micronode.calls.call import NO_TENANT, Call, Ingress
from micronode.calls.context import check_idempotency_key, fresh_request_id, read_traceparent
from micronode.errors import ErrorCode, NodeError
from micronode.http.head import RequestHead
from micronode.oap.wire.limits import MAX_CAP_BYTES

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from micronode.calls.operations import Operation
    from micronode.http.body import BytesBody
    from micronode.http.encoding import Inflate
    from micronode.http.routes import Route
    from micronode.http.sink import ResponseSink

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TENANT: Final = re.compile(r"[0-9a-fA-F]{32}")
_CAPABILITY_SCHEMES: Final = frozenset({"bearer", "macaroon", "macro"})


@attrs.define(eq=False, kw_only=True)
class Request:
    """What the ingress knows of one request; handlers of routes are called with it."""

    head: RequestHead
    request_id: str
    peer: str
    #: See :attr:`micronode.calls.call.Call.origin`.
    origin: str = ""
    #: When the head was whole, by the reactor's clock.
    began_s: float
    #: None: no route matched (or the head could not be read).
    route: Route | None = None
    #: Path arguments, decoded.
    segments: dict[str, str] = attrs.field(factory=dict)
    #: Path and query as they came, less the path of a route that stands for all below it.
    below: str = ""
    #: Query parameters, decoded.
    query: dict[str, list[str]] = attrs.field(factory=dict)
    #: What the route made of the head before the body came.
    prepared: dict[str, Any] = attrs.field(factory=dict)
    body: BytesBody | None = None
    #: Most bytes its body may have as it comes.
    max_encoded_bytes: int = 0
    #: What undoes its Content-Encoding; None: it has none.
    inflate: Inflate | None = None
    #: Body bytes that came, and that went.
    bytes_in: int = 0
    bytes_out: int = 0
    #: True once its body, if any, was read to the end.
    whole: bool = False
    #: True once the route's handler runs: from there on the dispatcher counts refusals.
    dispatched: bool = False
    #: The handler's Deferred, to be cancelled when the caller goes.
    running: Deferred[None] | None = None
    #: Where the answer goes; set by the channel at once.
    sink: ResponseSink = attrs.field(init=False, repr=False)

    @property
    def reads(self) -> bool:
        """Whether it is a call that changes nothing, and ends."""
        route = self.route
        return route is None or not (route.subscribes or route.writes)

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with it: the caller says so, or nobody will read its body."""
        return not self.head.keep_alive or (self.head.has_body and not self.whole)


def make_request(head: RequestHead, *, peer: str, began_s: float, origin: str = "") -> Request:
    """Return the request of *head*, under the caller's id if it has an acceptable one."""
    request_id = head.fields.get("x-request-id", "")
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = fresh_request_id()
    return Request(head=head, request_id=request_id, peer=peer, origin=origin, began_s=began_s)


def call_fields(head: RequestHead) -> dict[str, Any]:
    """Return what the fields of *head* say about a :class:`~micronode.calls.call.Call`.

    :raises NodeError: ``bad_request`` for a malformed tenant or idempotency key, ``cap_too_large``.
    """
    fields = head.fields
    tenant = fields.get("x-tenant-id")
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise NodeError(ErrorCode.BAD_REQUEST, "X-Tenant-ID must be 32 hexadecimal digits")
    return {
        "tenant": NO_TENANT if tenant is None else bytes.fromhex(tenant),
        "idempotency_key": check_idempotency_key(fields.get("idempotency-key"), "Idempotency-Key"),
        "traceparent": read_traceparent(fields.get("traceparent")),
        "capability": _capability(fields.get("authorization")),
    }


def make_call(operation: Operation, request: Request, **prepared: Any) -> Call:
    """Return the call of *operation* that *request* is.

    :param prepared: its arguments and :func:`call_fields`, and what of the call is not of the request.
    """
    return Call(
        operation=operation,
        ingress=Ingress.HTTP,
        request_id=request.request_id,
        peer=request.peer,
        origin=request.origin,
        **prepared,
    )


def _capability(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() not in _CAPABILITY_SCHEMES:
        return None
    token = token.strip(" ")
    if len(token) > MAX_CAP_BYTES:
        raise NodeError(ErrorCode.CAP_TOO_LARGE, f"a capability is at most {MAX_CAP_BYTES} bytes")
    return token
