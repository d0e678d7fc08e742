"""micronode.facets.search."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.operations import Access, BodyRule
from micronode.errors import ErrorCode, NodeError
from micronode.facets.search import SearchFacet
from micronode.interfaces import IFacet
from tests.contracts.facet import FacetContract
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubIndexOwner, StubReply


class SearchFacetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reply = StubReply(200, b'{"hits":[]}', content_type="application/json")
        self.index = StubIndexOwner(self.reply)
        self.query = operation_of(SearchFacet(self.index), "query")

    def test_declaration(self) -> None:
        verifyObject(IFacet, SearchFacet(self.index))
        query = self.query
        self.assertEqual((query.name, query.method, query.path), ("search.query", "GET", "/app/search"))
        self.assertEqual((query.profile, query.access, query.body), (0x0402, Access.READ, BodyRule.NONE))

    def test_arguments(self) -> None:
        for given, expected in (
            ({"q": "reactor"}, {"q": "reactor", "limit": 10, "offset": 0}),
            (
                {"q": "x" * 1024, "limit": 50, "offset": 10_000},
                {"q": "x" * 1024, "limit": 50, "offset": 10_000},
            ),
        ):
            self.assertEqual(self.query.bind(given), expected)
        for given in (
            {},
            {"q": ""},
            {"q": "x" * 1025},
            {"q": 1},
            {"q": "a", "limit": 0},
            {"q": "a", "limit": 51},
            {"q": "a", "offset": -1},
            {"q": "a", "offset": 10_001},
        ):
            self.assertRaises(NodeError, self.query.bind, given)

    def test_answer_is_the_owners(self) -> None:
        call = make_call(self.query, {"q": "reactor", "limit": 3, "offset": 6})
        reply = self.successResultOf(Deferred.fromCoroutine(self.query.handler(call)))
        self.assertEqual(self.index.calls, [("search", {"query": "reactor", "limit": 3, "offset": 6})])
        self.assertIs(reply.body, self.reply)
        head = reply.head
        self.assertEqual((head.status, head.content_type, head.length), (200, "application/json", 11))
        self.assertEqual((head.headers, head.etag, head.verified), ((), None, None))

    def test_failing_owner(self) -> None:
        self.index.reply = NodeError(ErrorCode.OWNER_TIMEOUT, "slow")
        call = make_call(self.query, {"q": "reactor"})
        failure = self.failureResultOf(Deferred.fromCoroutine(self.query.handler(call)), NodeError)
        self.assertIs(failure.value, self.index.reply)


class ContractTests(FacetContract, SynchronousTestCase):
    def make_facet(self) -> SearchFacet:
        return SearchFacet(StubIndexOwner(StubReply()))
