"""micronode.facets.mount: which route takes a request, and that no spelling leads around one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.routes import Route
from micronode.errors import ErrorCode, NodeError
from micronode.facets.custom import CustomFacet, echo

ROUTES = (
    Route("POST", "/admin/{rest}", "write"),
    Route("GET", "/v1/{id}", "read"),
    Route("GET", "/v1/{id}/parts/{rest}", "read"),
    Route("PUT", "/v1/{id}", "write"),
    Route("POST", "/{rest}", "write"),
    Route("GET", "/a.b", "read"),
)


class MountTests(SynchronousTestCase):
    def setUp(self) -> None:
        facet = CustomFacet("own", ROUTES, echo, max_body=10)
        self.operations = facet.operations()
        mount = self.operations[0].mount
        assert mount is not None
        self.mount = mount

    def test_first_route_that_fits(self) -> None:
        for method, path, number in (
            ("POST", "/admin/", 0),
            ("POST", "/admin/x/y?z", 0),
            ("POST", "/admin", 4),
            ("POST", "/", 4),
            ("POST", "/x/y/", 4),
            ("GET", "/v1/7", 1),
            ("GET", "/v1/7?x=/v1/7/parts/", 1),
            ("GET", "/v1/%20", 1),
            ("GET", "/v1/7/parts/", 2),
            ("GET", "/v1/7/parts/a/b%2Fc", 2),
            ("PUT", "/v1/7", 3),
            ("GET", "/a.b", 5),
        ):
            self.assertIs(self.mount.find(method, path), self.operations[number], path)

    def refused(self, method: str, path: str, code: ErrorCode) -> NodeError:
        error = self.assertRaises(NodeError, self.mount.find, method, path)
        self.assertIs(error.code, code, path)
        return error

    def test_no_route(self) -> None:
        for path in ("/v2", "/aXb"):
            error = self.refused("GET", path, ErrorCode.METHOD_NOT_ALLOWED)
            self.assertEqual(error.headers, (("Allow", "POST"),))
        facet = CustomFacet("own", ROUTES[1:2], echo, max_body=10)
        (only,) = facet.operations()
        assert only.mount is not None
        for path in ("/", "/v1", "/v1/", "/v1/7/", "/v1/7/x", "/V1/7"):
            error = self.assertRaises(NodeError, only.mount.find, "GET", path)
            self.assertIs(error.code, ErrorCode.NOT_FOUND)
            self.assertIn("facet own has no route for this path", error.message)

    def test_other_method(self) -> None:
        error = self.refused("DELETE", "/v1/7", ErrorCode.METHOD_NOT_ALLOWED)
        self.assertEqual(error.headers, (("Allow", "GET, POST, PUT"),))
        for method in ("get", "HEAD", "", "GET "):
            self.refused(method, "/v1/7", ErrorCode.METHOD_NOT_ALLOWED)

    def test_a_path_that_decodes_to_another_route_is_refused(self) -> None:
        for path in ("/%61dmin/x", "/admin%2Fx", "/adm%69n/", "/%61%64min/%78"):
            self.assertIn("decoded", self.refused("POST", path, ErrorCode.BAD_REQUEST).message)
        # Servlets leave parameters out, others take them for part of the segment.
        for path in ("/admin;x/y", "/admin;/y", "/adm%69n;x=1/y", "/admin%3B/x"):
            self.assertIn(";parameters", self.refused("POST", path, ErrorCode.BAD_REQUEST).message)
        self.refused("GET", "/v1/7%2F;a", ErrorCode.BAD_REQUEST)
        self.assertIs(self.mount.find("POST", "/admin/x;y=1"), self.operations[0])
        self.assertIs(self.mount.find("GET", "/v1/7;y=1"), self.operations[1])
        # The slash would make two segments of one.
        self.refused("GET", "/v1/a%2Fb", ErrorCode.BAD_REQUEST)
        self.refused("GET", "/v1/7%2Fparts/x", ErrorCode.BAD_REQUEST)
        # Decoded to the same route it is the same route.
        self.assertIs(self.mount.find("POST", "/admin/%78%2Fy"), self.operations[0])
        # Nobody decodes twice.
        self.assertIs(self.mount.find("POST", "/%2561dmin/x"), self.operations[4])

    def test_rules_come_before_routes(self) -> None:
        self.refused("GET", "/v1/..", ErrorCode.BAD_REQUEST)
        self.refused("NONE", "//", ErrorCode.BAD_REQUEST)
