"""micronode.http.mounts: what is behind a custom facet's path is not read, and is judged from the head."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import Ingress
from micronode.calls.table import OperationTable
from micronode.config.routes import Route
from micronode.errors import NodeError
from micronode.facets.custom import CustomFacet, echo
from micronode.http.head import HeadReader
from micronode.http.mounts import mount_routes
from micronode.http.operations import operation_routes
from micronode.http.request import Request, make_request
from micronode.http.routes import Routes
from micronode.http.run import run
from tests.http.support import StubDispatcher, get, make_table, post

ROUTES = (
    Route("GET", "/{rest}", "read"),
    Route("POST", "/v1/{id}", "write"),
    Route("OPTIONS", "/", "read"),
)


class StubSink:
    """As much of a sink as running a request looks at."""

    cut = False


class MountTests(SynchronousTestCase):
    def setUp(self) -> None:
        operations = CustomFacet("own", ROUTES, echo, max_body=10).operations()
        others = CustomFacet("other", ROUTES[:1], echo, max_body=10).operations()
        table = OperationTable((*make_table(), *operations, *others))
        self.dispatcher = StubDispatcher()
        self.routes: Routes = operation_routes(
            self.dispatcher, table, about=tuple(mount_routes(table, self.dispatcher))
        )

    def admit(self, data: bytes) -> Request:
        head = HeadReader().read(bytearray(data))
        assert head is not None
        request = make_request(head, peer="peer", began_s=0.0)
        self.routes.admit(request)
        return request

    def refused(self, data: bytes, code: str) -> NodeError:
        error = self.assertRaises(NodeError, self.admit, data)
        self.assertEqual(error.code.value, code, data)
        return error

    def test_path_and_query_are_passed_on_byte_for_byte(self) -> None:
        for target in (
            *("/", "/?", "/a", "/a/", "/a?", "/a?b=c&b=%zz+&%00=", "/a?q=100%", "/a%20b%2Fc", "/%ff"),
            *("/a/b;c=d/e", "/?/app/own//x", "/%252e", "/own", "/a?" + "x&" * 500),
        ):
            request = self.admit(get("/app/own" + target))
            assert request.route is not None
            self.assertEqual(request.prepared["args"]["path"], target)
            self.assertEqual((request.route.name, request.route.facet), ("own.call", "own"))
        self.assertEqual(self.admit(get("http://node/app/own/x?y")).prepared["args"]["path"], "/x?y")

    def test_which_facet(self) -> None:
        request = self.admit(get("/app/other/own/x"))
        self.assertEqual(request.prepared["args"]["path"], "/own/x")
        for path in ("/app/own", "/app/owner/x", "/app/Own/x", "/app/%6Fwn/x", "//app/own/x", "/app//own/x"):
            self.refused(get(path), "not_found")

    def test_the_fields_go_along(self) -> None:
        request = self.admit(get("/app/own/x", "X-Own: 1", "X-Own: 2", "Authorization: Basic x"))
        args = request.prepared["args"]
        self.assertEqual((args["headers"]["x-own"], args["headers"]["authorization"]), ("1, 2", "Basic x"))
        self.assertEqual((args["facet"], args["method"]), ("own", "GET"))

    def test_no_route(self) -> None:
        for method in ("DELETE", "PATCH", "get"):
            error = self.refused(get("/app/own/x", method=method), "method_not_allowed")
            self.assertEqual(error.headers, (("Allow", "GET"),))
        error = self.refused(get("/app/own/", method="TRACE"), "method_not_allowed")
        self.assertEqual(error.headers, (("Allow", "GET, OPTIONS"),))
        self.refused(get("/app/other/x", method="OPTIONS"), "method_not_allowed")

    def test_forgery_is_refused_from_the_head(self) -> None:
        for target in ("//x", "/../x", "/%2e%2e/x", "/a\\b", "/%00", "/%zz"):
            self.refused(get("/app/own" + target), "bad_request")
            self.refused(post("/app/own" + target, b"x" * 99), "bad_request")

    def test_tokens_in_the_query_are_refused_here_too(self) -> None:
        for query in ("token=x", "a=%zz&access_token", "%74oken=x", "CAP=", "x&macaroon=1"):
            error = self.refused(get(f"/app/own/x?{query}"), "bad_request")
            self.assertIn("send the token in the Authorization header", error.message)
        self.admit(get("/app/own/x?tokens=1&xtoken=2&a=token"))

    def test_bodies(self) -> None:
        request = self.admit(post("/app/own/v1/7", b"0123456789", "Content-Encoding: br"))
        # No encoding is undone, whatever it is.
        self.assertIsNone(request.inflate)
        # Whatever it is: the stub leaves it alone, and the call is not over.
        request.sink = StubSink()  # type: ignore[assignment]
        run(self.routes, request, b"0123456789")
        (call,) = self.dispatcher.calls
        assert call.body is not None
        self.assertEqual((call.ingress, call.operation.method, call.body.length), (Ingress.HTTP, "POST", 10))
        self.refused(post("/app/own/v1/7", b"0123456789a"), "body_too_large")
        self.refused(get("/app/own/x", "Content-Length: 1"), "body_too_large")

    def test_bad_fields_of_the_nodes_own(self) -> None:
        self.refused(get("/app/own/x", "X-Tenant-ID: x"), "bad_request")
