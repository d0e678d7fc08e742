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

    def test_all_that_is_wrong_is_told(self) -> None:
        error = self.assertRaises(
            RefusedError, read_route, ROW, {"method": "get", "path": "//", "acess": "read", "x": 1}
        )
        told = [problem.what for problem in error.problems("f:1")]
        expected = ("unknown key 'acess'", "unknown key 'x'", "method 'get'", "path '//'")
        self.assertEqual(len(told), len(expected), told)
        for what, each in zip(told, expected, strict=True):
            self.assertIn(each, what)

    def test_all_routes_are_looked_at(self) -> None:
        good = {"method": "GET", "access": "read"}
        bad = [{"method": "GET"}, good, {"access": "read"}, good | {"path": 3}]
        error = self.assertRaises(RefusedError, ROW.read, bad)
        self.assertEqual(
            [problem.what for problem in error.problems("f:1")],
            [
                "facets.x.routes, no. 1: access is missing",
                "facets.x.routes, no. 3: method is missing",
                "facets.x.routes, no. 4: path 3",
            ],
        )

    def test_unknown_keys_are_bounded(self) -> None:
        error = self.assertRaises(RefusedError, read, **{f"k{number}": 1 for number in range(1000)})
        self.assertEqual(len(error.others), 7)

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
