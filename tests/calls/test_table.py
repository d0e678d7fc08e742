"""Tests for :mod:`micronode.calls.table`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.operations import BodyRule, Operation
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode, NodeError
from tests.calls.support import make_operation


class StubMount:
    """Finds :attr:`found`, or raises it."""

    def __init__(self) -> None:
        self.found: Any = None
        self.asked: list[tuple[str, str]] = []

    def find(self, method: str, path: str) -> Any:
        """See Mount."""
        self.asked.append((method, path))
        if isinstance(self.found, NodeError):
            raise self.found
        return self.found


class TableTests(SynchronousTestCase):
    """OperationTable."""

    def setUp(self) -> None:
        self.query = make_operation()
        self.put = make_operation("media.put", profile=0x0101, method="POST", body=BodyRule.STREAMED)
        self.get = make_operation("media.get", profile=0x0101)
        self.table = OperationTable([self.query, self.put, self.get])

    def test_order(self) -> None:
        self.assertEqual(list(self.table), [self.query, self.put, self.get])

    def test_found(self) -> None:
        self.assertIs(self.table.by_op(0x0402, "query"), self.query)
        self.assertIs(self.table.by_op(0x0101, "get"), self.get)

    def test_unknown(self) -> None:
        for profile, op, code in (
            (0x0402, "get", ErrorCode.UNKNOWN_OP),
            (0x0402, "", ErrorCode.UNKNOWN_OP),
            (0x0101, "query", ErrorCode.UNKNOWN_OP),
            (0x0201, "send", ErrorCode.UNKNOWN_APP),
            (0, "query", ErrorCode.UNKNOWN_APP),
        ):
            error = self.assertRaises(NodeError, self.table.by_op, profile, op)
            self.assertIs(error.code, code)
            self.assertIn(f"0x{profile:04x}", error.message)

    def test_unknown_is_named_as_a_person_knows_it(self) -> None:
        error = self.assertRaises(NodeError, self.table.by_op, 0x0201, "send")
        self.assertIn("profile feed (0x0201) is not served here", error.message)
        error = self.assertRaises(NodeError, self.table.by_op, 0x0101, "query")
        self.assertIn("it has get, put", error.message)

    def test_what_was_asked_is_not_repeated(self) -> None:
        error = self.assertRaises(NodeError, self.table.by_op, 0x0402, "a secret")
        self.assertNotIn("secret", error.message)

    def test_declared_twice(self) -> None:
        twins = (
            make_operation(path="/elsewhere", op="elsewhere"),
            make_operation("search.twin", op="query", path="/twin"),
            make_operation("search.twin", path=self.query.path),
        )
        for twin in twins:
            with self.assertRaisesRegex(ValueError, rf"{twin.name} is declared twice"):
                OperationTable([self.query, twin])

    def test_one_path_two_methods(self) -> None:
        table = OperationTable(
            [self.query, make_operation("search.head", method="HEAD", path=self.query.path)]
        )
        self.assertEqual(len(list(table)), 2)

    def mounted(self, facet: str, mount: Any, method: str = "GET", **more: Any) -> Operation:
        given = {"facet": facet, "path": f"/app/{facet}/x", "op": "call", "profile": 0x0501}
        return make_operation(f"{facet}.call", mount=mount, method=method, **(given | more))

    def test_mounts(self) -> None:
        one, two = StubMount(), StubMount()
        operations = [self.mounted("one", one), self.mounted("one", one, "POST"), self.mounted("two", two)]
        table = OperationTable([self.query, *operations])
        self.assertEqual(list(table), [self.query, *operations])
        one.found = operations[1]
        args = {"facet": "one", "method": "POST", "path": "/x?y", "headers": {}}
        self.assertIs(table.by_op(0x0501, "call", args), operations[1])
        self.assertEqual((one.asked, two.asked), ([("POST", "/x?y")], []))
        self.assertIs(table.by_op(0x0402, "query", {}), self.query)

    def test_mounts_that_find_nothing(self) -> None:
        mount = StubMount()
        table = OperationTable([self.mounted("one", mount)])
        args = {"facet": "one", "method": "GET", "path": "/"}
        # That code is HTTP's alone.
        for raised, told in (
            (ErrorCode.NOT_FOUND, ErrorCode.NOT_FOUND),
            (ErrorCode.METHOD_NOT_ALLOWED, ErrorCode.NOT_FOUND),
            (ErrorCode.BAD_REQUEST, ErrorCode.BAD_REQUEST),
        ):
            mount.found = NodeError(raised, "why")
            error = self.assertRaises(NodeError, table.by_op, 0x0501, "call", args)
            self.assertEqual((error.code, error.message), (told, "why"))
        for wrong, code in (
            ({"facet": "two"}, ErrorCode.NOT_FOUND),
            ({"facet": ""}, ErrorCode.BAD_REQUEST),
            ({"facet": 3}, ErrorCode.BAD_REQUEST),
            ({"method": None}, ErrorCode.BAD_REQUEST),
            ({"path": ["/"]}, ErrorCode.BAD_REQUEST),
        ):
            error = self.assertRaises(NodeError, table.by_op, 0x0501, "call", args | wrong)
            self.assertIs(error.code, code, wrong)
        error = self.assertRaises(NodeError, table.by_op, 0x0501, "call")
        self.assertIn("'facet' is missing", error.message)
        error = self.assertRaises(NodeError, table.by_op, 0x0501, "get")
        self.assertIn("it has call", error.message)

    def test_mounts_declared_twice(self) -> None:
        one, other = StubMount(), StubMount()
        first = self.mounted("one", one)
        for twin in (
            self.mounted("one", other, "POST"),
            self.mounted("one", one, op="other", method="POST"),
            self.mounted("two", other, path=first.path),
            make_operation("two.call", profile=0x0501, op="call", path="/y"),
            make_operation("one.call", profile=0x0501, op="other", path="/y"),
        ):
            with self.assertRaisesRegex(ValueError, "is declared twice"):
                OperationTable([first, twin])

    def test_empty(self) -> None:
        error = self.assertRaises(NodeError, OperationTable([]).by_op, 0x0402, "query")
        self.assertIs(error.code, ErrorCode.UNKNOWN_APP)
