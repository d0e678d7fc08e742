"""A custom facet on a network in memory, and one call of it by either door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from micronode.adapters.owner import OwnerClient
from micronode.adapters.upstream import UpstreamClient
from micronode.calls.call import Call, Ingress, Reply
from micronode.calls.table import OperationTable
from micronode.config.routes import Route
from micronode.facets.custom import CustomFacet, Forwarding
from micronode.http.head import HeadReader
from micronode.http.mounts import mount_routes
from micronode.http.request import make_request
from micronode.http.routes import Routes
from micronode.oap.wire.profiles import Profile
from tests.http.support import StubDispatcher
from tests.support.clients import make_client
from tests.support.network import MemoryNetwork

AUTHORITY = "10.0.0.9:5321"
ROUTES = (
    Route("POST", "/admin/{rest}", "write"),
    Route("GET", "/v1/{id}", "read"),
    Route("GET", "/{rest}", "read"),
    Route("HEAD", "/{rest}", "read"),
    Route("POST", "/{rest}", "write"),
    Route("DELETE", "/v1/{id}", "write"),
    Route("OPTIONS", "/", "read"),
)


class CustomNode:
    """The facet ``own``, its client, and the network behind it."""

    def __init__(
        self, routes: Sequence[Route] = ROUTES, *, pass_headers: Sequence[str] = (), max_body: int = 1 << 20
    ) -> None:
        self.network = MemoryNetwork()
        self.client: OwnerClient = make_client(self.network, name="own", concurrency=64)
        self.facet = CustomFacet(
            "own",
            routes,
            Forwarding(UpstreamClient(self.client, deadline_s=5.0)),
            pass_headers=pass_headers,
            max_body=max_body,
        )
        self.table = OperationTable(self.facet.operations())
        self.routes = Routes(mount_routes(self.table, StubDispatcher()))

    def oap(self, args: dict[str, Any], **fields: Any) -> Deferred[Reply]:
        """Call as an OAP/1 START with *args* would; a refusal is raised."""
        operation = self.table.by_op(Profile.CUSTOM, "call", args)
        call = Call(
            operation=operation,
            args=operation.bind(args),
            **({"ingress": Ingress.OAP, "request_id": "r-1", "peer": "192.0.2.7"} | fields),
        )
        return Deferred.fromCoroutine(_awaited(call))

    def http(self, data: bytes, **fields: Any) -> Deferred[Reply]:
        """Call as the HTTP request *data*, a head, would; a refusal is raised."""
        head = HeadReader().read(bytearray(data))
        assert head is not None, "no whole head"
        request = make_request(head, peer="192.0.2.7", began_s=0.0)
        self.routes.admit(request)
        assert request.route is not None
        operation = self.table.by_op(
            Profile.CUSTOM, "call", {"facet": "own", "method": head.method, "path": request.below}
        )
        call = Call(
            operation=operation,
            **(
                {"ingress": Ingress.HTTP, "request_id": request.request_id, "peer": request.peer}
                | request.prepared
                | fields
            ),
        )
        return Deferred.fromCoroutine(_awaited(call))

    def heard(self) -> bytes:
        """Return what the upstream was sent by the latest call."""
        return self.network.serve().heard()


async def _awaited(call: Call) -> Reply:
    return await call.operation.handler(call)
