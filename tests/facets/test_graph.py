"""micronode.facets.graph."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import Reply
from micronode.calls.operations import Access
from micronode.errors import ErrorCode, NodeError
from micronode.facets.graph import GraphFacet
from micronode.interfaces import IFacet
from tests.contracts.facet import FacetContract
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubIndexOwner, StubReply

CID = "b3:" + "0a" * 32


class GraphFacetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reply = StubReply(200, b"{}", content_type="application/json; charset=utf-8")
        self.index = StubIndexOwner(self.reply)
        self.facet = GraphFacet(self.index)

    def run_op(self, op: str, args: dict[str, Any]) -> Deferred[Reply]:
        operation = operation_of(self.facet, op)
        return Deferred.fromCoroutine(operation.handler(make_call(operation, args)))

    def test_declarations(self) -> None:
        verifyObject(IFacet, self.facet)
        self.assertEqual(
            [(each.name, each.op, each.method, each.path) for each in self.facet.operations()],
            [
                ("graph.resolve", "resolve", "GET", "/app/graph/resolve/{key}"),
                ("graph.providers", "providers", "GET", "/app/graph/providers/{cid}"),
                ("graph.neighbors", "neighbors", "GET", "/app/graph/neighbors/{node}"),
            ],
        )
        for each in self.facet.operations():
            self.assertEqual((each.profile, each.access, each.facet), (0x0401, Access.READ, "graph"))

    def test_translation(self) -> None:
        for op, args, made in (
            ("resolve", {"key": "name:klein"}, {"key": "name:klein"}),
            ("providers", {"cid": CID, "limit": 3}, {"cid": CID, "limit": 3}),
            ("neighbors", {"node": "klein"}, {"node": "klein", "hops": 1, "max_neighbors": 50}),
            (
                "neighbors",
                {"node": "a/b", "hops": 3, "max_neighbors": 200},
                {"node": "a/b", "hops": 3, "max_neighbors": 200},
            ),
        ):
            reply = self.successResultOf(self.run_op(op, args))
            self.assertEqual(self.index.calls.pop(), (op, made))
            self.assertIs(reply.body, self.reply)
            self.assertEqual(reply.head.content_type, "application/json")

    def test_arguments_out_of_range(self) -> None:
        for op, args in (
            ("resolve", {"key": ""}),
            ("neighbors", {"node": "a", "hops": 0}),
            ("neighbors", {"node": "a", "hops": 4}),
            ("neighbors", {"node": "a", "max_neighbors": 201}),
            ("providers", {"cid": CID, "limit": 0}),
        ):
            self.assertRaises(NodeError, self.run_op, op, args)

    def test_provider_of_what_is_no_address(self) -> None:
        failure = self.failureResultOf(self.run_op("providers", {"cid": "klein"}), NodeError)
        self.assertIs(failure.value.code, ErrorCode.BAD_REQUEST)
        self.assertEqual(self.index.calls, [])

    def test_key_that_is_neither_a_name_nor_a_digest(self) -> None:
        for key in ("klein", "NAME:klein", "b2:00", " name:x"):
            error = self.failureResultOf(self.run_op("resolve", {"key": key}), NodeError).value
            self.assertIs(error.code, ErrorCode.BAD_REQUEST)
            self.assertIn("'name:'", error.message)
        self.assertEqual(self.index.calls, [])

    def test_unknown_things_are_named(self) -> None:
        self.index.reply = StubReply(404, b'{"code":"not_found","message":"secret"}')
        for op, args, word in (
            ("resolve", {"key": "name:x"}, "key"),
            ("providers", {"cid": CID}, "object"),
            ("neighbors", {"node": "x"}, "node"),
        ):
            error = self.failureResultOf(self.run_op(op, args), NodeError).value
            self.assertIs(error.code, ErrorCode.NOT_FOUND)
            self.assertIn(word, error.message)
            self.assertNotIn("secret", error.message)


class ContractTests(FacetContract, SynchronousTestCase):
    def make_facet(self) -> GraphFacet:
        return GraphFacet(StubIndexOwner(StubReply()))
