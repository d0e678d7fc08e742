"""Tests for :mod:`micronode.devowners.index_web`."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.index import Index
from micronode.devowners.index_web import IndexOwner, Provider
from micronode.devowners.storage import ObjectStore
from tests.contracts.owner import Answer
from tests.contracts.owner_index import IndexOwnerContract
from tests.devowners.support import InMemory, MemoryCaller, make_document
from tests.devowners.test_query import NASTY

NOWHERE = "b3:" + "0" * 64


class IndexOwnerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.index, self.store = Index(), ObjectStore()
        self.addCleanup(self.index.close)
        self.addCleanup(self.store.close)
        self.cid = self.store.put(b"alpha text")
        self.index.put(make_document("a/b", "alpha text", title="A", requires=("c", "d")), self.cid)
        self.index.put(make_document("c", "gamma text", requires=("e",)), NOWHERE)
        far = Provider("far", "elsewhere", 0.5, self.store)
        near = Provider("near", "local", 1.0, self.store)
        self.owner = owner = IndexOwner(self.index, execute, [far, near])
        owner.is_ready = True
        self.caller = MemoryCaller(owner)
        self.addCleanup(self.caller.hang_up)

    def ask(self, path: str) -> Answer:
        return self.caller.ask("GET", path)


class ContractTests(InMemory, IndexOwnerContract, IndexOwnerCase):
    """The index keeps the contract of all indexes."""

    known = "a/b"
    word = "text"

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:  # type: ignore[override]
        return InMemory.ask(self, method, path, body, **fields)


class RouteTests(IndexOwnerCase):
    def test_search(self) -> None:
        answer = self.ask("/search/ALPHA?limit=5&offset=0")
        self.assertEqual(answer.json["query"], "ALPHA")
        self.assertEqual(answer.json["total"], 1)
        (hit,) = answer.json["hits"]
        self.assertEqual(list(hit), ["id", "title", "snippet", "score"])
        self.assertEqual((hit["id"], hit["title"], hit["snippet"]), ("a/b", "A", "alpha text"))

    def test_nothing_found(self) -> None:
        self.assertEqual(self.ask("/search/").json, {"query": "", "hits": [], "total": 0})
        self.assertEqual(self.ask("/search/omega").json, {"query": "omega", "hits": [], "total": 0})

    def test_no_query_is_an_error(self) -> None:
        for text in NASTY:
            answer = self.ask("/search/" + quote(text, safe=""))
            self.assertEqual(answer.status, 200, text)
            self.assertEqual(answer.json["query"], text)

    def test_resolve_a_name(self) -> None:
        answer = self.ask("/resolve/name%3Aa%2Fb")
        self.assertEqual(answer.json["key"], "name:a/b")
        self.assertEqual(answer.json["manifest"], self.cid)
        self.assertEqual(
            answer.json["providers"],
            [
                {"id": "near", "region": "local", "score": 1.0},
                {"id": "far", "region": "elsewhere", "score": 0.5},
            ],
        )

    def test_resolve_an_address(self) -> None:
        answer = self.ask(f"/resolve/{self.cid}")
        self.assertEqual((answer.json["key"], answer.json["manifest"]), (self.cid, self.cid))
        self.assertEqual(len(answer.json["providers"]), 2)

    def test_a_document_whose_object_nobody_holds(self) -> None:
        self.assertEqual(self.ask("/resolve/name:c").json["providers"], [])
        self.assertEqual(self.ask(f"/resolve/{NOWHERE}").json["providers"], [])
        self.assertEqual(self.ask(f"/providers/{NOWHERE}").json, {"cid": NOWHERE, "providers": []})

    def test_an_object_of_no_document(self) -> None:
        cid = self.store.put(b"put by a caller")
        self.assertEqual(self.ask(f"/resolve/{cid}").json["manifest"], cid)

    def test_providers(self) -> None:
        answer = self.ask(f"/providers/{self.cid}?limit=1")
        self.assertEqual([provider["id"] for provider in answer.json["providers"]], ["near"])

    def test_graph(self) -> None:
        answer = self.ask("/graph/a%2Fb?hops=2&max_neighbors=10")
        self.assertEqual(answer.json["node"], "a/b")
        self.assertEqual(
            answer.json["neighbors"],
            [
                {"id": "c", "kind": "requires", "hops": 1},
                {"id": "d", "kind": "requires", "hops": 1},
                {"id": "e", "kind": "requires", "hops": 2},
            ],
        )

    def test_bounds_are_kept(self) -> None:
        self.index.put(make_document("hub", requires=tuple(f"n{n}" for n in range(400))), self.cid)
        self.assertEqual(len(self.ask("/graph/hub?max_neighbors=9999").json["neighbors"]), 200)
        self.assertEqual(len(self.ask("/graph/a%2Fb?hops=99").json["neighbors"]), 3)
        for number in range(150):
            self.index.put(make_document(f"x{number}", "same"), self.cid)
        answer = self.ask("/search/same?limit=100000")
        self.assertEqual((len(answer.json["hits"]), answer.json["total"]), (100, 150))

    def test_refusals(self) -> None:
        for path, status, code in (
            ("/resolve/name:nobody", 404, "not_found"),
            ("/resolve/name:", 400, "bad_request"),
            ("/resolve/b3:zz", 400, "bad_request"),
            ("/resolve/klein", 400, "bad_request"),
            ("/resolve/b3:" + "f" * 64, 404, "not_found"),
            ("/providers/b3:" + "f" * 64, 404, "not_found"),
            ("/providers/b3:" + "F" * 64, 400, "bad_request"),
            ("/graph/nobody", 404, "not_found"),
            ("/graph/a/b", 404, "not_found"),
            ("/graph/c?hops=0", 400, "bad_request"),
            ("/graph/c?max_neighbors=x", 400, "bad_request"),
            ("/search/a?limit=-1", 400, "bad_request"),
            ("/search/a?limit=" + "9" * 5000, 400, "bad_request"),
            ("/search", 404, "not_found"),
        ):
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.json["code"]), (status, code), path)
        self.assertEqual(self.caller.ask("POST", "/search/a").status, 405)


class ThreadTests(IndexOwnerCase):
    """Queries wait for their turn elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        owner = IndexOwner(self.index, self.wait, [])
        owner.is_ready = True
        self.caller = MemoryCaller(owner)

    def wait(self, query: Callable[[], Any]) -> Deferred[Any]:
        self.waiting.append((query, Deferred()))
        return self.waiting[-1][1]

    def test_nothing_is_asked_in_the_reactors_thread(self) -> None:
        self.caller.send(b"GET /search/alpha HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.caller.transport.value(), b"")
        query, result = self.waiting.pop()
        result.callback(query())
        self.assertEqual(self.caller.answer().json["total"], 1)

    def test_a_caller_who_has_gone_costs_no_query(self) -> None:
        self.caller.send(b"GET /search/alpha HTTP/1.1\r\nHost: x\r\n\r\n")
        self.caller.hang_up()
        self.index.close()  # a query now would raise something else
        query, result = self.waiting.pop()
        execute(query).chainDeferred(result)
        self.assertEqual(self.caller.log_lines(), [])
