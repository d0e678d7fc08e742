"""Tests for :mod:`micronode.http.about`: what the application plane tells of itself."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

import micronode
from micronode.calls.operations import Access, Argument, BodyRule
from micronode.calls.table import OperationTable
from micronode.facets.hosted import FacetSettings, Served
from micronode.http.about import ABOUT_ROUTES, PAGES, about_routes, make_meta
from micronode.http.operations import operation_routes
from micronode.http.site import app_settings
from tests.http.support import Plane, StubDispatcher, Timeouts, get, operation, post


@attrs.frozen
class Limits:
    max_frame: int = 1 << 20
    max_chunk: int = 65_536
    max_inflight: int = 64
    decompress_ratio: int = 10


QUERY = operation("search.query", "GET", "/app/search", "query", summary="Search.")
PUT = operation(
    "media.put",
    "POST",
    "/app/media",
    "put",
    profile=0x0101,
    access=Access.WRITE,
    body=BodyRule.STREAMED,
    max_body=1 << 30,
)
WATCH = operation("feed.watch", "GET", "/app/feed", "watch", profile=0x0201, subscribes=True)
SERVED = {
    "search": Served(FacetSettings(limit=7, timeout=2.5), (QUERY,)),
    "media": Served(FacetSettings(), (PUT,)),
    "feed": Served(FacetSettings(subscriptions=3), (WATCH,)),
}


class MetaTests(SynchronousTestCase):
    """The body of /app/_meta."""

    def setUp(self) -> None:
        self.meta = make_meta(SERVED, Limits(max_frame=9, max_chunk=8, max_inflight=7, decompress_ratio=6))

    def test_facets(self) -> None:
        search, media, feed = self.meta["facets"]
        self.assertEqual((search["name"], search["limit"], search["timeout_s"]), ("search", 7, 2.5))
        self.assertNotIn("subscriptions", search)
        self.assertEqual((media["name"], feed["name"], feed["subscriptions"]), ("media", "feed", 3))

    def test_operations(self) -> None:
        (query,), (put,), (watch,) = (each["operations"] for each in self.meta["facets"])
        self.assertEqual(
            query,
            {
                "name": "search.query",
                "summary": "Search.",
                "method": "GET",
                "path": "/app/search",
                "oap": {"profile": 0x0402, "op": "query"},
                "access": "read",
                "subscribes": False,
                "max_body": {"http": 0, "oap": 0},
            },
        )
        self.assertEqual((put["access"], put["max_body"]), ("write", {"http": 1 << 20, "oap": 1 << 30}))
        self.assertEqual((watch["method"], watch["path"], watch["subscribes"]), ("GET", "/app/feed", True))

    def test_limits(self) -> None:
        self.assertEqual(
            self.meta["limits"],
            {
                "http": {"head": 16_384, "fields": 128, "parameters": 128, "body": 1 << 20},
                "oap": {"frame": 9, "chunk": 8, "streams": 7},
                "decompress_ratio": 6,
            },
        )

    def test_version(self) -> None:
        self.assertEqual((self.meta["service"], self.meta["version"]), ("micronode", micronode.__version__))


class RoutesTests(SynchronousTestCase):
    """Both pages, asked for."""

    def setUp(self) -> None:
        self.dispatcher = StubDispatcher()
        self.plane = Plane(self.dispatcher)
        self.serve(QUERY)

    def serve(self, *operations: object, limit: int = 7) -> None:
        """Put other settings in force."""
        table = OperationTable(operations)  # type: ignore[arg-type]
        served = {"search": Served(FacetSettings(limit=limit), tuple(table))}
        self.plane.site.settings = app_settings(
            self.dispatcher, table, timeouts=Timeouts(), idle_s=75.0, about=about_routes(served, Limits())
        )

    def ask(self, path: str, *fields: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        heads = (0,) if method == "HEAD" else ()
        (answer,) = self.plane.connect().send(get(path, *fields, method=method)).answers(heads=heads)
        return answer.status, answer.fields, answer.body

    def test_every_page_has_a_route(self) -> None:
        self.assertEqual(tuple(route.name for route in about_routes({}, Limits())), ABOUT_ROUTES)

    def test_get_and_head(self) -> None:
        for page in PAGES:
            status, fields, body = self.ask(page.path)
            self.assertEqual((status, fields["content-type"]), (200, "application/json"))
            self.assertEqual(fields["cache-control"], "no-cache")
            status, head, nothing = self.ask(page.path, method="HEAD")
            self.assertEqual((status, nothing), (200, b""))
            self.assertEqual(head["etag"], fields["etag"])
            self.assertEqual(head["content-length"], str(len(body)))

    def test_who_has_it_is_told_so(self) -> None:
        for page in PAGES:
            tag = self.ask(page.path)[1]["etag"]
            for said in (tag, f'"x", W/{tag}', "*"):
                status, fields, body = self.ask(page.path, f"If-None-Match: {said}")
                self.assertEqual((status, fields["etag"], body), (304, tag, b""))
            self.assertEqual(self.ask(page.path, 'If-None-Match: "x"')[0], 200)

    def test_other_methods_are_refused(self) -> None:
        for page in PAGES:
            for method in ("PUT", "DELETE", "OPTIONS", "get"):
                status, fields, _ = self.ask(page.path, method=method)
                self.assertEqual((status, fields["allow"]), (405, "GET, HEAD"))

    def test_a_body_is_refused(self) -> None:
        answer = self.plane.connect().send(get("/openapi.json", "Content-Length: 1") + b"x").answers()[0]
        self.assertEqual(answer.status, 413)

    def test_a_token_in_the_query_is_refused(self) -> None:
        self.assertEqual(self.ask("/app/_meta?token=x")[0], 400)

    def test_they_are_counted_and_logged_like_any_route(self) -> None:
        self.ask("/app/_meta")
        self.ask("/openapi.json", method="HEAD")
        self.assertEqual([line["route"] for line in self.plane.log], ["meta", "openapi"])
        labels = {"route": "openapi", "method": "HEAD", "status": "200"}
        self.assertEqual(self.plane.sample("http_requests_total", **labels), 1)

    def test_nobody_else_is_reached_at_their_paths(self) -> None:
        """An operation whose path has arguments matches them, too."""
        name = Argument(name="name", required=True)
        for path in ("/app/{name}", "/{name}/_meta"):
            self.serve(
                operation("own.get", "GET", path, "get", arguments=(name,)),
                operation("own.post", "POST", path, "post", arguments=(name,)),
            )
            self.assertIn(b'"facets"', self.ask("/app/_meta")[2])
            answer = self.plane.connect().send(post("/app/_meta", b"")).answer()
            self.assertEqual(answer.status, 405)
            self.assertEqual(self.dispatcher.calls, [])

    def test_their_paths_are_taken(self) -> None:
        for page in PAGES:
            table = OperationTable([operation("own.say", "POST", page.path, "say")])
            error = self.assertRaises(
                ValueError, operation_routes, self.dispatcher, table, about=about_routes({}, Limits())
            )
            self.assertIn(page.path, str(error))

    def test_they_change_with_the_routes(self) -> None:
        before = {page.path: self.ask(page.path)[1]["etag"] for page in PAGES}
        self.serve(QUERY, PUT)
        for page in PAGES:
            _, fields, body = self.ask(page.path)
            self.assertNotEqual(fields["etag"], before[page.path])
            self.assertIn(b"media.put", body)
        self.serve(QUERY)
        self.assertEqual({page.path: self.ask(page.path)[1]["etag"] for page in PAGES}, before)

    def test_meta_alone_tells_of_limits(self) -> None:
        before = {page.path: self.ask(page.path)[1]["etag"] for page in PAGES}
        self.serve(QUERY, limit=8)
        self.assertNotEqual(self.ask("/app/_meta")[1]["etag"], before["/app/_meta"])
        self.assertEqual(self.ask("/openapi.json")[1]["etag"], before["/openapi.json"])
