"""One call, whichever door it came through: what was asked, by whom, until when; and the answer's head.

Shapes only. Built by an ingress, read by the dispatcher and the facets. Nobody changes one that was made. The
type checker sees to that: objects that do so themselves take twice as long to make, and a call makes three.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from attrs import frozen as record
    from twisted.internet.defer import Deferred
    from twisted.web.iweb import IBodyProducer

    from micronode.calls.operations import Operation
    from micronode.interfaces import IReplyBody
else:
    record = attrs.define

#: tenant_id 0: unspecified.
NO_TENANT = bytes(16)


class Ingress(Enum):
    """The door a call came through; also the ``ingress`` label of metrics."""

    HTTP = "http"
    OAP = "oap"


@record(kw_only=True)
class Call:
    """A routed request with validated arguments."""

    operation: Operation
    #: Arguments as the operation declares them, defaults filled in.
    args: Mapping[str, Any]
    ingress: Ingress
    request_id: str
    #: Request body, or None where the operation takes none. The facet hands it to an owner client
    #: whole or not at all.
    body: IBodyProducer | None = None
    #: Fires when the body has been passed on whole; None where the body is at hand (or there is none).
    #: The facet's timeout stands still until then.
    body_done: Deferred[None] | None = None
    tenant: bytes = NO_TENANT
    capability: str | None = None
    #: The id of the token that *capability* is, 32 hex digits, once it was verified.
    token_id: str | None = None
    #: W3C trace context, as the caller sent it (validated), for the owner's request.
    traceparent: str | None = None
    idempotency_key: str | None = None
    #: The caller's own limit in seconds from dispatch; it only shortens the facet's timeout.
    deadline_s: float | None = None
    #: OAP stream id, for error objects and logs.
    corr_id: int | None = None
    #: For the access log.
    peer: str = ""
    #: Where its connection comes from, as the kernel says it: what callers without a token are told apart by.
    origin: str = ""


@record(kw_only=True)
class ResponseHead:
    """What precedes a response body.

    ``status`` is HTTP's; the other fields are None where unknown. ``length`` is the body's in bytes
    and is true, or the answer ends with an error; for HEAD-like operations it is that of the object.
    """

    status: int = 200
    content_type: str | None = None
    length: int | None = None
    etag: str | None = None
    #: Content-Range, as HTTP writes it (``bytes 0-99/1000``).
    range: str | None = None
    #: For content-addressed bodies: True when the bytes are checked against their address.
    verified: bool | None = None
    #: Further end-to-end header fields for HTTP (lower-case names); not part of an OAP head.
    headers: tuple[tuple[str, str], ...] = ()


@record(kw_only=True)
class Reply:
    """A facet's answer: the head and the body still to be relayed (None: there is no body)."""

    head: ResponseHead
    body: IReplyBody | None = None
