"""Facets of a host: what is taken, and what is refused."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Operation
from micronode.facets.hosted import FacetSettings, serve_hosted
from micronode.interfaces import IFacet
from tests.contracts.facet import FacetContract

TAKEN = ("graph", "search", "media")


async def answer(call: Call) -> Reply:
    return Reply(head=ResponseHead(length=0))


def operation(**changes: Any) -> Operation:
    fields: dict[str, Any] = {
        "name": "own.say",
        "facet": "own",
        "method": "GET",
        "path": "/app/own",
        "profile": 0x7001,
        "op": "say",
        "access": Access.READ,
        "handler": answer,
    }
    return Operation(**(fields | changes))


@implementer(IFacet)
class OwnFacet:
    def __init__(self, name: Any = "own", *operations: Operation) -> None:
        self.name = name
        self._operations = operations or (operation(),)

    def operations(self) -> tuple[Operation, ...]:
        return self._operations


class HostedTests(SynchronousTestCase):
    def refused(self, *facets: Any) -> str:
        return str(self.assertRaises(ValueError, serve_hosted, facets, TAKEN))

    def test_double(self) -> None:
        verifyObject(IFacet, OwnFacet())

    def test_none(self) -> None:
        self.assertEqual(serve_hosted((), TAKEN), {})

    def test_alone_it_has_the_usual_settings(self) -> None:
        facet = OwnFacet()
        served = serve_hosted([facet], TAKEN)
        self.assertEqual(list(served), ["own"])
        self.assertEqual(served["own"].settings, FacetSettings(limit=64, timeout=5.0, subscriptions=1024))
        self.assertEqual(served["own"].operations, facet.operations())

    def test_with_settings(self) -> None:
        settings = FacetSettings(limit=1, timeout=0.5, subscriptions=2)
        self.assertIs(serve_hosted([(OwnFacet(), settings)], TAKEN)["own"].settings, settings)

    def test_settings_are_bounds(self) -> None:
        for name in ("limit", "timeout", "subscriptions"):
            for wrong in (*(() if name == "subscriptions" else (0,)), -1, "8", None, True):
                error = self.assertRaises(ValueError, FacetSettings, **{name: wrong})
                self.assertIn(f"{name} is a ", str(error))
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, FacetSettings(), "limit", 2)

    def test_no_facet(self) -> None:
        for thing in (object(), OwnFacet):
            self.assertIn("is no IFacet", self.refused(thing))

    def test_no_settings(self) -> None:
        for pair in ((OwnFacet(), {"limit": 1}), (OwnFacet(),), ()):
            self.assertIn("neither an IFacet nor a pair", self.refused(pair))

    def test_names(self) -> None:
        for name in ("", "Own", "own facet", "1st", "own.say", "ö", "x" * 33, None):
            self.assertIn(f"facet {name!r}: a name is", self.refused(OwnFacet(name)))

    def test_a_name_that_is_taken(self) -> None:
        for name in TAKEN:
            self.assertIn(f"facet {name!r}: a facet of the node's own", self.refused(OwnFacet(name)))
        self.assertIn("'own' is given twice", self.refused(OwnFacet(), OwnFacet()))

    def test_operations_that_are_not_its_own(self) -> None:
        for changes, said in (
            ({"facet": "search"}, "says that it is of 'search'"),
            ({"name": "search.say"}, "must be named own.<op>"),
            ({"profile": 0}, "has profile 0"),
            ({"profile": 0x10000}, "has profile 65536"),
        ):
            self.assertIn(said, self.refused(OwnFacet("own", operation(**changes))))


class OwnFacetTests(FacetContract, SynchronousTestCase):
    def make_facet(self) -> OwnFacet:
        return OwnFacet()
