"""Tests for :mod:`micronode.devowners.index`."""

import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.corpus import Document, Edge
from micronode.devowners.index import Index
from tests.devowners.support import make_document
from tests.devowners.test_query import NASTY

CID = "b3:" + "1" * 64


class IndexCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.index = Index()
        self.addCleanup(self.index.close)

    def put(self, *documents: Document) -> None:
        for document in documents:
            self.index.put(document, CID)

    def found(self, text: str, limit: int = 10, offset: int = 0) -> list[str]:
        hits, _total = self.index.search(text, limit=limit, offset=offset)
        return [hit["id"] for hit in hits]


class SearchTests(IndexCase):
    def test_a_hit_names_the_document_and_quotes_it(self) -> None:
        self.put(make_document("a", "one\n two  needle three", title="The A"))
        hits, total = self.index.search("needle", limit=10, offset=0)
        self.assertEqual(total, 1)
        self.assertEqual((hits[0]["id"], hits[0]["title"]), ("a", "The A"))
        self.assertEqual(hits[0]["snippet"], "one two needle three")
        self.assertGreater(hits[0]["score"], 0)

    def test_id_and_title_weigh_more_than_text(self) -> None:
        self.put(
            make_document("in-text", "something about a reactor here"),
            make_document("in-title", "something about loops here ok", title="Reactor"),
            make_document("reactor", "something about loops here ok"),
            make_document("neither", "something else altogether, then"),
            make_document("nothing", "and another one"),
        )
        self.assertEqual(self.found("reactor"), ["reactor", "in-title", "in-text"])

    def test_scores_fall(self) -> None:
        self.put(*(make_document(str(n), "needle " * n + "hay " * 20) for n in range(1, 6)))
        scores = [hit["score"] for hit in self.index.search("needle", limit=10, offset=0)[0]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(len(scores), 5)

    def test_word_forms_and_accents(self) -> None:
        self.put(make_document("a", "many reactors in a café"))
        self.assertEqual(self.found("reactor"), ["a"])
        self.assertEqual(self.found("cafe"), ["a"])

    def test_all_words_must_match_if_any_document_has_them_all(self) -> None:
        self.put(make_document("both", "red green"), make_document("one", "red"))
        self.assertEqual(self.found("red green"), ["both"])

    def test_any_word_does_if_no_document_has_them_all(self) -> None:
        self.put(make_document("a", "red"), make_document("b", "green"))
        self.assertEqual(sorted(self.found("red green blue")), ["a", "b"])

    def test_pages(self) -> None:
        self.put(*(make_document(str(n), "same") for n in range(5)))
        pages = [self.found("same", limit=2, offset=offset) for offset in (0, 2, 4, 6)]
        self.assertEqual([len(page) for page in pages], [2, 2, 1, 0])
        self.assertEqual(sorted(found for page in pages for found in page), ["0", "1", "2", "3", "4"])
        self.assertEqual(self.index.search("same", limit=0, offset=0), ([], 5))

    def test_no_input_is_an_error(self) -> None:
        self.put(make_document("a", "alpha beta and or not near"))
        for text in NASTY:
            hits, total = self.index.search(text, limit=10, offset=0)
            self.assertEqual(len(hits), total, text)


class PutTests(IndexCase):
    def test_the_same_again_changes_nothing(self) -> None:
        document = make_document("a", "text", requires=("b",))
        self.assertTrue(self.index.put(document, CID))
        self.assertFalse(self.index.put(document, CID))
        self.assertEqual(self.found("text"), ["a"])

    def test_a_change_replaces_text_edges_and_address(self) -> None:
        self.put(make_document("a", "before", requires=("b",)))
        other = "b3:" + "2" * 64
        self.assertTrue(self.index.put(make_document("a", "after", requires=("c",)), other))
        self.assertEqual(self.found("before"), [])
        self.assertEqual(self.found("after"), ["a"])
        self.assertEqual(self.index.manifest("a"), other)
        self.assertEqual([n["id"] for n in self.index.neighbors("a", hops=1, max_neighbors=9) or ()], ["c"])

    def test_what_is_not_kept_is_gone(self) -> None:
        self.put(make_document("a", "alpha", requires=("x",)), make_document("b", "beta"))
        self.assertEqual(self.index.keep_only({"b"}), 1)
        self.assertEqual(self.found("alpha"), [])
        self.assertIsNone(self.index.manifest("a"))
        self.assertIsNone(self.index.neighbors("x", hops=1, max_neighbors=9))
        self.assertEqual(self.found("beta"), ["b"])

    def test_a_failure_leaves_the_old_document(self) -> None:
        self.put(make_document("a", "before", requires=("b",)))
        broken = make_document("a", "after", requires=(object(),))  # type: ignore[arg-type]
        self.assertRaises(sqlite3.Error, self.index.put, broken, CID)
        self.assertEqual(self.found("before"), ["a"])
        self.assertEqual(self.found("after"), [])
        self.assertTrue(self.index.put(make_document("c"), CID))

    def test_lone_surrogates_do_no_harm(self) -> None:
        self.put(make_document("a", "text \ud800", title="title \udfff"))
        self.assertEqual(self.index.search("text", limit=1, offset=0)[0][0]["title"], "title ?")


class NameTests(IndexCase):
    def test_by_id_and_by_any_spelling(self) -> None:
        self.put(make_document("zope-interface"))
        self.assertEqual(self.index.manifest("zope-interface"), CID)
        self.assertEqual(self.index.manifest("Zope.Interface"), CID)
        self.assertIsNone(self.index.manifest("zope"))

    def test_by_address(self) -> None:
        self.put(make_document("a"))
        self.assertTrue(self.index.mentions(CID))
        self.assertFalse(self.index.mentions("b3:" + "0" * 64))


class NeighborTests(IndexCase):
    def neighbors(self, node: str, hops: int = 1, most: int = 100) -> list[tuple[str, str, int]]:
        found = self.index.neighbors(node, hops=hops, max_neighbors=most)
        assert found is not None
        return [(each["id"], each["kind"], each["hops"]) for each in found]

    def test_along_and_against_edges(self) -> None:
        self.put(make_document("a", requires=("b",)), make_document("c", requires=("a",)))
        self.assertEqual(self.neighbors("a"), [("b", "requires", 1), ("c", "required_by", 1)])

    def test_links_have_their_own_kinds(self) -> None:
        self.put(Document(id="a", title="", text="", body=b"", content_type="", edges=(Edge("links", "b"),)))
        self.assertEqual(self.neighbors("a"), [("b", "links", 1)])
        self.assertEqual(self.neighbors("b"), [("a", "linked_by", 1)])

    def test_breadth_first_and_each_node_once(self) -> None:
        self.put(
            make_document("a", requires=("b", "c")),
            make_document("b", requires=("c", "d")),
            make_document("d", requires=("a", "e")),
        )
        self.assertEqual(
            self.neighbors("a", hops=3),
            [("b", "requires", 1), ("c", "requires", 1), ("d", "required_by", 1), ("e", "requires", 2)],
        )

    def test_what_only_an_extra_requires_comes_last(self) -> None:
        edges = (Edge("requires", "a-extra", optional=True), Edge("requires", "z-needed"))
        self.put(
            Document(id="m", title="", text="", body=b"", content_type="", edges=edges),
            make_document("user", requires=("m",)),
        )
        self.assertEqual([each[0] for each in self.neighbors("m")], ["z-needed", "user", "a-extra"])

    def test_a_node_needs_no_document(self) -> None:
        self.put(make_document("a", requires=("ghost",)))
        self.assertEqual(self.neighbors("ghost"), [("a", "required_by", 1)])

    def test_bounded(self) -> None:
        self.put(make_document("hub", requires=tuple(f"n{n:03}" for n in range(300))))
        self.assertEqual(len(self.neighbors("hub", most=200)), 200)
        self.assertEqual(len(self.neighbors("n000", hops=2, most=7)), 7)

    def test_unknown(self) -> None:
        self.assertIsNone(self.index.neighbors("nobody", hops=1, max_neighbors=10))

    def test_alone(self) -> None:
        self.put(make_document("a"))
        self.assertEqual(self.neighbors("a", hops=3), [])
