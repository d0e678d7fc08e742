"""micronode.adapters.index: what is asked of the index owner."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.adapters.index import IndexClient
from micronode.errors import NodeError
from micronode.facets.search import SearchFacet
from micronode.interfaces import IIndexOwner
from tests.contracts.index_owner import IndexOwnerContract
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubIndexOwner, StubOwnerClient, StubReply


class IndexClientTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        verifyObject(IIndexOwner, IndexClient(StubOwnerClient()))
        verifyObject(IIndexOwner, StubIndexOwner(StubReply()))

    def test_requests(self) -> None:
        owner = StubOwnerClient()
        index = IndexClient(owner, deadline_s=3.0)
        call = make_call(
            operation_of(SearchFacet(index), "query"), {"q": "x"}, request_id="abc", deadline_s=9.0
        )
        asked = (
            index.resolve(call, "name:a/b"),
            index.providers(call, "b3:00", limit=7),
            index.search(call, "fast reactor?", limit=5, offset=10),
            index.neighbors(call, "klein", hops=2, max_neighbors=9),
        )
        for each in asked:
            self.assertIs(self.successResultOf(each), owner.reply)
        self.assertEqual(
            [(made["method"], made["path"], made["query"]) for made in owner.calls],
            [
                (b"GET", b"/resolve/name%3Aa%2Fb", []),
                (b"GET", b"/providers/b3%3A00", [("limit", "7")]),
                (b"GET", b"/search/fast%20reactor%3F", [("limit", "5"), ("offset", "10")]),
                (b"GET", b"/graph/klein", [("hops", "2"), ("max_neighbors", "9")]),
            ],
        )
        for made in owner.calls:
            self.assertEqual((made["headers"], made["body"]), ([(b"x-request-id", b"abc")], None))
        self.assertEqual(owner.terms, [(True, 3.0, 9.0)] * 4)


class ContractTests(IndexOwnerContract, SynchronousTestCase):
    def make_owner(self, reply: StubReply | NodeError) -> IndexClient:
        return IndexClient(StubOwnerClient(reply=reply))


class StubTests(IndexOwnerContract, SynchronousTestCase):
    def make_owner(self, reply: StubReply | NodeError) -> StubIndexOwner:
        return StubIndexOwner(reply)
