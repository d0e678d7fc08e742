"""Tests for :mod:`micronode.http.routes`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode, NodeError
from micronode.http.operations import operation_routes
from micronode.http.request import Request
from micronode.http.routes import Route, Routes
from tests.http.support import StubDispatcher, get, request_of


class MatchTests(SynchronousTestCase):
    """Which route a raw path takes."""

    def setUp(self) -> None:
        self.routes = operation_routes(StubDispatcher())

    def admit(self, data: bytes) -> Request:
        request = request_of(data)
        self.routes.admit(request)
        return request

    def refused(self, data: bytes) -> NodeError:
        return self.assertRaises(NodeError, self.admit, data)

    def test_operation_and_arguments(self) -> None:
        request = self.admit(get("/app/search?q=a+b&limit=7"))
        assert request.route is not None
        self.assertEqual((request.route.name, request.route.facet), ("search.query", "search"))
        self.assertEqual(request.prepared["args"], {"q": "a b", "limit": 7})

    def test_argument_is_one_raw_segment_decoded_once(self) -> None:
        for path, key in (
            ("name%3Aa%2Fb", "name:a/b"),
            ("name:a", "name:a"),
            ("%252F", "%2F"),
            ("a;b=c&d", "a;b=c&d"),
            ("%C3%A9", "é"),
        ):
            request = self.admit(get(f"/app/graph/resolve/{path}"))
            self.assertEqual(request.prepared["args"], {"key": key})

    def test_unknown_paths(self) -> None:
        for path in (
            "/",
            "/app",
            "/app/search/",
            "//app/search",
            "/app//search",
            "/App/search",
            "/%61pp/search",
            "/app%2Fsearch",
            "/app/graph/resolve/",
            "/app/graph/resolve/a/b",
            "/app/./search",
            "/app/x/../search",
            "/app/search|",
            "/" + "a/" * 8000,
        ):
            error = self.refused(get(path + "?q=x"))
            self.assertEqual(error.code.value, "not_found", path)

    def test_path_that_is_no_text(self) -> None:
        for segment in ("%", "%zz", "%ff", "%00", "..", "%2e%2E"):
            error = self.refused(get(f"/app/graph/resolve/{segment}"))
            self.assertEqual(error.code.value, "bad_request", segment)

    def test_wrong_method_names_the_right_ones(self) -> None:
        for method, path, allow in (
            ("POST", "/app/search", "GET"),
            ("HEAD", "/app/search", "GET"),
            ("get", "/app/search", "GET"),
            ("OPTIONS", "/app/search", "GET"),
            ("BREW", "/app/media/x", "GET, HEAD"),
            ("GET", "/app/media", "POST"),
        ):
            error: Any = self.refused(get(path, method=method))
            self.assertEqual(error.code.value, "method_not_allowed")
            self.assertEqual(error.headers, (("Allow", allow),), method)

    def test_methods_of_one_path_are_told_apart(self) -> None:
        for method, name in (("GET", "media.get"), ("HEAD", "media.head")):
            route = self.admit(get("/app/media/x", method=method)).route
            assert route is not None
            self.assertEqual(route.name, name)

    def test_body_is_judged_by_the_head(self) -> None:
        for path, field, code in (
            ("/app/feed/a/ack", "Content-Length: 1", "body_too_large"),
            ("/app/feed/a/ack", "Transfer-Encoding: chunked", "body_too_large"),
            ("/app/feed/a", "Content-Length: 11", "body_too_large"),
            ("/app/media", "Content-Length: 1048577", "body_too_large"),
            ("/app/media", "Content-Length: 9999999999999999999", "body_too_large"),
        ):
            self.assertEqual(self.refused(get(path, field, method="POST")).code.value, code)
        for path, field in (
            ("/app/feed/a/ack", "Content-Length: 0"),
            ("/app/feed/a", "Content-Length: 10"),
            ("/app/feed/a", "Transfer-Encoding: chunked"),
            ("/app/media", "Content-Length: 1048576"),
        ):
            self.admit(get(path, field, method="POST"))

    def test_encoded_bodies(self) -> None:
        def put(*fields: str) -> bytes:
            return get("/app/media", "Content-Length: 3", *fields, method="POST")

        for name in (
            "br",
            "deflate",
            "compress",
            "gzip, gzip",
            "gzip, zstd",
            "identity, gzip",
            "gzip;q=1",
            "",
        ):
            error = self.refused(put(f"Content-Encoding: {name}"))
            self.assertEqual(error.code.value, "unsupported_encoding", name)
        for name in ("gzip", "x-gzip", "GZip", "zstd"):
            self.assertIsNotNone(self.admit(put(f"Content-Encoding: {name}")).inflate)
        self.assertIsNone(self.admit(put("Content-Encoding: Identity")).inflate)
        # Its header alone may be longer than what the operation takes.
        self.admit(get("/app/feed/a", "Content-Length: 100", "Content-Encoding: gzip", method="POST"))
        error = self.refused(
            get("/app/feed/a", "Content-Length: 1048577", "Content-Encoding: gzip", method="POST")
        )
        self.assertEqual(error.code.value, "body_too_large")
        self.admit(get("/app/search?q=x", "Content-Encoding: gzip"))

    def test_arguments_are_checked_from_the_head(self) -> None:
        for query in ("", "limit=3", "q=", "q=x&limit=0", "q=x&limit=ten", "q=x&q=y", "q=%ff", "q=x&token=y"):
            self.assertEqual(self.refused(get(f"/app/search?{query}")).code.value, "bad_request", query)
        self.admit(get("/app/search?q=x&unknown=1&unknown=2"))

    def test_query_cannot_stand_in_for_a_path_or_header_argument(self) -> None:
        request = self.admit(get("/app/graph/resolve/a?key=b"))
        self.assertEqual(request.prepared["args"], {"key": "a"})
        request = self.admit(get("/app/media?content_type=b", method="POST"))
        self.assertEqual(request.prepared["args"], {"content_type": None})

    def test_header_argument(self) -> None:
        request = self.admit(get("/app/media", "Content-Type: text/x", method="POST"))
        self.assertEqual(request.prepared["args"], {"content_type": "text/x"})


class BuildTests(SynchronousTestCase):
    """Tables that make no sense."""

    def test_refuses_unusable_paths(self) -> None:
        for path in ("", "a", "/a/", "/a//b", "/{a}b", "/<a>", "/{A}", "/a b"):
            route = Route(name="x", methods=frozenset({"GET"}), path=path, handler=lambda _: None)
            self.assertRaises(ValueError, Routes, [route])

    def test_refuses_two_of_a_name(self) -> None:
        route = Route(name="x", methods=frozenset({"GET"}), path="/", handler=lambda _: None)
        self.assertRaises(ValueError, Routes, [route, route])


class KnownPathTests(SynchronousTestCase):
    """What the map said is remembered, and of no more paths than there are routes."""

    def test_only_of_paths_without_arguments(self) -> None:
        routes = operation_routes(StubDispatcher())
        for path in ("/app/search?q=x", "/app/search?q=y", *(f"/app/graph/resolve/{n}" for n in range(20))):
            routes.admit(request_of(get(path)))
        self.assertEqual(list(routes._known), [("GET", "/app/search")])

    def test_of_one_method_alone(self) -> None:
        routes = operation_routes(StubDispatcher())
        routes.admit(request_of(get("/app/search?q=x")))
        for method in ("POST", "HEAD", "get"):
            with self.assertRaises(NodeError) as caught:
                routes.admit(request_of(get("/app/search?q=x", method=method)))
            self.assertIs(caught.exception.code, ErrorCode.METHOD_NOT_ALLOWED)
