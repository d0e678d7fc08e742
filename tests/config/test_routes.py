"""micronode.config.routes: what a route of a custom facet may be, and what is said of the others."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.kinds import Key, Kind
from micronode.config.problems import RefusedError
from micronode.config.routes import Route, read_route

ROW = Key(path="facets.x.routes", kind=Kind.ROUTES, doc="", default=())


def read(**value: Any) -> Route:
    return read_route(ROW, {"method": "GET", "access": "read"} | value)


class RouteTests(SynchronousTestCase):
    def test_taken(self) -> None:
        self.assertEqual(read(), Route("GET", "/{rest}", "read"))
        for path in ("/", "/v1", "/v1/", "/v1/{id}", "/v1/{id}/x/{rest}", "/{a}/{b}", "/a.b~c_-"):
            self.assertEqual(read(path=path).path, path)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            self.assertEqual(read(method=method).method, method)
        route = read(path="/x", access="write")
        self.assertIs(read_route(ROW, route), route)
        self.assertEqual(str(route), "GET /x write")

    def refused(self, said: str, **value: Any) -> None:
        error = self.assertRaises(RefusedError, read, **value)
        self.assertRegex(f"{error.what}; {error.fix}", said)

    def test_refused(self) -> None:
        self.refused("capability is not available yet in this release; leave it out", capability="x")
        self.refused("goes on behind {rest}.*let {rest} be its last", path="/{rest}/x")
        self.refused("goes on behind {rest}", path="/{rest}/{rest}")
        self.refused("goes on behind {rest}", path="/{rest}/")
        self.refused("two segments of one name", path="/{a}/{a}")
        self.refused("method 'get'; use one of GET, HEAD.*did you mean GET", method="get")
        self.refused("method 'CONNECT'; use one of", method="CONNECT")
        self.refused("access is missing; use one of read, write", access=None)
        self.refused("access 'admin'", access="admin")
        self.refused("unknown key 'acess' .did you mean access", acess="read")
        for path in (
            "",
            "x",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/a b",
            "/a%20",
            "/a?b",
            "/a#b",
            "/{A}",
            "/{a",
            3,
        ):
            self.refused("use a path such as", path=path)
        self.assertRaises(RefusedError, read_route, ROW, "GET / read")
