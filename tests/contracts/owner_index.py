"""What an index owner promises; to be mixed into a ``SynchronousTestCase``."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.contracts.owner import OwnerContract

NOBODYS = "b3:" + "12" * 32


class IndexOwnerContract(OwnerContract):
    """The conformance suite.

    :cvar known: the name of a document that is a node of the graph with neighbours.
    :cvar word: one that more than one document has.
    """

    known = ""
    word = ""
    refused = (
        ("POST", "/search/x", 405),
        ("GET", "/resolve/x", 400),
        ("GET", "/resolve/b3:x", 400),
        ("GET", "/resolve/name:no%2Fsuch%2Fname", 404),
        ("GET", f"/resolve/{NOBODYS}", 404),
        ("GET", "/providers/x", 400),
        ("GET", f"/providers/{NOBODYS}", 404),
        ("GET", "/graph/no%2Fsuch%2Fnode", 404),
        ("GET", "/search/x?limit=-1", 400),
        ("GET", "/search/x?offset=y", 400),
    )

    def get(self, path: str) -> Any:
        case: Any = self
        answer = self.ask("GET", path)
        case.assertEqual(answer.status, 200, answer.body)
        case.assertEqual(answer.headers["content-type"], "application/json")
        return answer.json

    def test_search(self) -> None:
        case: Any = self
        found = self.get(f"/search/{self.word}?limit=2")
        case.assertEqual(list(found), ["query", "hits", "total"])
        case.assertEqual((found["query"], len(found["hits"])), (self.word, 2))
        case.assertGreaterEqual(found["total"], 2)
        for hit in found["hits"]:
            case.assertEqual(list(hit), ["id", "title", "snippet", "score"])
        case.assertGreaterEqual(found["hits"][0]["score"], found["hits"][1]["score"])
        case.assertEqual(self.get(f"/search/{self.word}?limit=1&offset=1")["hits"], found["hits"][1:])

    def test_any_text_is_a_query(self) -> None:
        case: Any = self
        for text in ('"', "NEAR(a, b", "a-b", "*", "a/b", "../..", "\x00", "é😀", "a AND", "x" * 1000):
            case.assertEqual(self.get(f"/search/{quote(text, safe='')}")["query"], text)

    def test_resolve(self) -> None:
        case: Any = self
        found = self.get(f"/resolve/{quote('name:' + self.known, safe='')}")
        case.assertEqual(list(found), ["key", "manifest", "providers"])
        case.assertEqual(found["key"], f"name:{self.known}")
        case.assertRegex(found["manifest"], r"\Ab3:[0-9a-f]{64}\Z")
        again = self.get(f"/resolve/{found['manifest']}")
        case.assertEqual((again["manifest"], again["providers"]), (found["manifest"], found["providers"]))
        listed = self.get(f"/providers/{found['manifest']}?limit=1")
        case.assertEqual(list(listed), ["cid", "providers"])
        case.assertEqual(listed["providers"], found["providers"][:1])
        for provider in found["providers"]:
            case.assertEqual(list(provider), ["id", "region", "score"])

    def test_graph(self) -> None:
        case: Any = self
        node = quote(self.known, safe="")
        found = self.get(f"/graph/{node}?hops=2&max_neighbors=200")
        case.assertEqual((list(found), found["node"]), (["node", "neighbors"], self.known))
        case.assertTrue(found["neighbors"])
        for neighbor in found["neighbors"]:
            case.assertEqual(list(neighbor), ["id", "kind", "hops"])
        hops = [neighbor["hops"] for neighbor in found["neighbors"]]
        case.assertEqual((hops, hops[0]), (sorted(hops), 1))
        near = self.get(f"/graph/{node}?hops=1&max_neighbors=1")["neighbors"]
        case.assertEqual(near, found["neighbors"][:1])
