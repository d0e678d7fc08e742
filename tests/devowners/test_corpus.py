"""Tests for :mod:`micronode.devowners.corpus`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.corpus import Document, Loaded, load, normalised
from micronode.devowners.index import Index
from micronode.devowners.storage import ObjectStore
from tests.devowners.support import make_document


class MemoryCorpus:
    """The documents it was given."""

    name = "memory"

    def __init__(self, *documents: Document) -> None:
        self.skipped: Counter[str] = Counter()
        self._documents = documents

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents)


class NormalisedTests(SynchronousTestCase):
    def test_pep_503(self) -> None:
        self.assertEqual(normalised("Zope..Interface__x"), "zope-interface-x")


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.open()

    def open(self) -> None:
        self.index, self.store = Index(self.directory), ObjectStore(self.directory)
        self.addCleanup(self.close)

    def close(self) -> None:
        self.index.close()
        self.store.close()

    def load(self, *documents: Document) -> Loaded:
        result = Loaded()
        corpus = MemoryCorpus(*documents)
        self.steps = sum(1 for _ in load(corpus, self.index, self.store, result))
        self.skipped = corpus.skipped
        return result

    def test_each_text_becomes_an_object_its_name_leads_to(self) -> None:
        result = self.load(make_document("a", "alpha"), make_document("b", "beta"))
        self.assertEqual(result, Loaded(documents=2, changed=2))
        self.assertEqual(self.steps, 2)
        cid = self.index.manifest("a")
        assert cid is not None
        stored = self.store.find(cid)
        assert stored is not None
        self.assertEqual(self.store.read(stored, 0, stored.size), b"alpha")

    def test_again_after_a_restart(self) -> None:
        self.load(make_document("a", "alpha"), make_document("b", "beta"), make_document("c"))
        self.close()
        self.open()
        result = self.load(make_document("a", "alpha"), make_document("b", "changed"), make_document("d"))
        self.assertEqual(result, Loaded(documents=3, changed=2, removed=1))
        self.assertEqual(self.index.search("changed", limit=9, offset=0)[1], 1)
        self.assertEqual(self.index.search("beta", limit=9, offset=0)[1], 0)

    def test_an_id_counts_once(self) -> None:
        result = self.load(make_document("a", "first"), make_document("a", "second"))
        self.assertEqual(result.documents, 1)
        self.assertEqual(self.skipped["duplicate"], 1)
        self.assertEqual(self.index.search("first", limit=9, offset=0)[1], 1)
