"""What every IFacet promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from micronode.calls.operations import Operation
from micronode.calls.table import OperationTable
from micronode.interfaces import IFacet


def row(operation: Operation) -> tuple[object, ...]:
    """Return how callers know *operation*, and what it is taken for."""
    door = operation.method, operation.path, operation.profile, operation.op
    return operation.name, *door, operation.access, operation.body, operation.subscribes


class FacetContract:
    """Subclasses have ``make_facet()``."""

    @property
    def case(self) -> Any:
        return self

    def test_is_a_facet(self) -> None:
        facet = self.case.make_facet()
        verifyObject(IFacet, facet)
        self.case.assertRegex(facet.name, r"\A[a-z][a-z0-9_-]*\Z")

    def test_operations(self) -> None:
        """They are its own, the same whenever it is asked, and can stand in one table."""
        facet = self.case.make_facet()
        operations = facet.operations()
        self.case.assertIsInstance(operations, tuple)
        self.case.assertTrue(operations)
        self.case.assertEqual([row(each) for each in facet.operations()], [row(each) for each in operations])
        for operation in operations:
            self.case.assertEqual(operation.facet, facet.name)
            self.case.assertEqual(operation.name, f"{facet.name}.{operation.op}")
            self.case.assertTrue(callable(operation.handler))
            # One that another node may have done already is never asked for twice.
            self.case.assertFalse(operation.idempotent and operation.method == "POST")
        self.case.assertEqual(set(OperationTable(operations)), set(operations))

    def test_paths(self) -> None:
        """Each begins where the facet's do, so that none can be another's."""
        facet = self.case.make_facet()
        for operation in facet.operations():
            first = operation.path.split("/")[1:3]
            self.case.assertEqual(first, ["app", facet.name])
