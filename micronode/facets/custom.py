"""Custom facets: the user's own HTTP services behind the node, as the configuration says.

A *proxy* passes a request on to its upstream and the answer back, whatever its status, as it comes; what of
either goes through is :mod:`micronode.facets.forward`'s. An *echo* has no upstream: it answers with what one
would have been sent. ``docs/FACETS.rst``, "Your own service behind the node".
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.calls.call import Call, Ingress, Reply, ResponseHead
from micronode.calls.operations import MOUNT_ARGUMENTS, Access, Argument, BodyRule, Operation
from micronode.config.schema import Route
from micronode.facets.forward import answer_fields, request_fields
from micronode.facets.mount import RouteMount
from micronode.facets.replies import JSON, HeldBody
from micronode.interfaces import IFacet, IOwnerReply, IUpstream
from micronode.oap.wire.profiles import Profile

#: Bytes of a body that an echo shows.
MAX_ECHO_BYTES: Final = 65_536
#: Methods whose requests have no body here; what one would mean nobody has settled (RFC 9110 section 9.3.1).
_BODILESS: Final = frozenset({"GET", "HEAD"})
_ARGUMENTS: Final = (
    *MOUNT_ARGUMENTS,
    Argument(name="headers", type=dict, max_length=16_384, doc="Header fields for the service."),
)
#: A request as a service gets it: method, target, fields, body.
Sent = tuple[bytes, bytes, list[tuple[bytes, bytes]], IBodyProducer | None]


@implementer(IFacet)
class CustomFacet:
    """See :class:`~micronode.interfaces.IFacet`.

    :param routes: which requests it takes; the first that fits counts.
    :param answer: makes the answer to a request.
    :param pass_headers: which fields that say who the caller is are passed on.
    :param max_body: bytes of a request body.
    """

    def __init__(
        self,
        name: str,
        routes: Iterable[Route],
        answer: Callable[[Call, Sent], Awaitable[Reply]],
        *,
        pass_headers: Collection[str] = (),
        max_body: int,
    ) -> None:
        self.name = name
        self._answer = answer
        self._pass_headers = frozenset(pass_headers)
        self._max_body = max_body
        self._mount = RouteMount(name)
        self._mount.operations = tuple(self._operation(route) for route in routes)

    def operations(self) -> tuple[Operation, ...]:
        """``NAME.call``, once for each route."""
        return self._mount.operations

    def _operation(self, route: Route) -> Operation:
        bodiless = route.method in _BODILESS
        return Operation(
            name=f"{self.name}.call",
            facet=self.name,
            method=route.method,
            path=f"/app/{self.name}{route.path}",
            profile=Profile.CUSTOM,
            op="call",
            access=Access(route.access),
            handler=self._call,
            arguments=_ARGUMENTS,
            body=BodyRule.NONE if bodiless else BodyRule.STREAMED,
            max_body=0 if bodiless else self._max_body,
            mount=self._mount,
            summary="Passed on to a service of the user's own.",
        )

    async def _call(self, call: Call) -> Reply:
        method, target = call.operation.method, call.args["path"]
        headers: Mapping[str, str] = call.args.get("headers") or {}
        fields = request_fields(headers.items(), self._pass_headers) + _forwarded(call)
        body = None if call.operation.body is BodyRule.NONE else call.body
        return await self._answer(call, (method.encode("ascii"), target.encode("ascii"), fields, body))


@attrs.frozen
class Forwarding:
    """Answers with what an upstream answers."""

    upstream: IUpstream

    async def __call__(self, call: Call, sent: Sent) -> Reply:
        reply = await self.upstream.send(call, *sent)
        return Reply(head=_head_of(reply), body=reply.streamed())


async def echo(call: Call, sent: Sent) -> Reply:
    """Answer with what an upstream would have been sent, as JSON."""
    method, target, fields, body = sent
    taken = _Sample()
    if body is not None:
        await body.startProducing(taken)
    told: dict[str, Any] = {
        "facet": call.operation.facet,
        "method": method.decode("ascii"),
        "path": target.decode("ascii"),
        "headers": [[name.decode("ascii"), value.decode("latin-1")] for name, value in fields],
        "request_id": call.request_id,
        "body_bytes": taken.size,
        "body": taken.text(),
    }
    data = json.dumps(told).encode("ascii") + b"\n"
    return Reply(head=ResponseHead(content_type=JSON, length=len(data)), body=HeldBody(data))


@implementer(IConsumer)
class _Sample:
    """Counts a body, and keeps its beginning."""

    def __init__(self) -> None:
        self.size = 0
        self._begin = bytearray()

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._begin += data[: MAX_ECHO_BYTES - len(self._begin)]

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Nothing pauses it."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""

    def text(self) -> str | None:
        """Return the body; None where it is too long to be shown, or no text."""
        try:
            return self._begin.decode("utf-8") if self.size <= MAX_ECHO_BYTES else None
        except UnicodeDecodeError:
            return None


def _forwarded(call: Call) -> list[tuple[bytes, bytes]]:
    """Return what the node says of the caller in fields of its own.

    No ``X-Forwarded-Host``: nobody has checked the caller's Host, and a service would make links of it. No
    ``Via``: services pack answers less well for whoever says it.
    """
    fields = []
    if call.peer != "unix" and call.peer.isascii() and call.peer.isprintable():
        fields.append((b"x-forwarded-for", call.peer.encode("ascii")))
    if call.ingress is Ingress.HTTP:
        fields.append((b"x-forwarded-proto", b"http"))
        fields.append((b"x-forwarded-prefix", f"/app/{call.operation.facet}".encode("ascii")))
    return fields


def _head_of(reply: IOwnerReply) -> ResponseHead:
    """Return the head of an answer that is passed on, whatever its status."""
    own: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for name, value in answer_fields(reply.headers()):
        if name in ("content-type", "etag", "content-range"):
            own.setdefault(name, value)
        else:
            others.append((name, value))
    return ResponseHead(
        status=reply.status,
        content_type=own.get("content-type"),
        length=reply.length,
        etag=own.get("etag"),
        range=own.get("content-range"),
        headers=tuple(others),
    )
