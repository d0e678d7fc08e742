"""The table of operations: argument checks as a table, and the look-ups."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.operations import MAX_MEMBERS, Access, Argument
from micronode.errors import ErrorCode, NodeError
from tests.calls.support import make_operation

TEXT = Argument(name="q", required=True, max_length=8)
OPTIONAL_TEXT = Argument(name="q", default="all")
NUMBER = Argument(name="limit", type=int, minimum=1, maximum=100, default=10)
FLOOR = Argument(name="limit", type=int, minimum=0)
CEILING = Argument(name="limit", type=int, maximum=9)
PAIRS = Argument(name="attrs", type=dict, max_length=10)

#: argument, value as JSON gives it, what comes of it: the value, or a part of the message.
CHECKED: tuple[tuple[Argument, Any, Any], ...] = (
    (TEXT, "klein", "klein"),
    (TEXT, "\u00e9" * 8, "\u00e9" * 8),
    (TEXT, "x" * 8, "x" * 8),
    (NUMBER, 1, 1),
    (NUMBER, 100, 100),
    (FLOOR, 2**53, 2**53),
    (CEILING, -5, -5),
    (OPTIONAL_TEXT, "", ""),
    (PAIRS, {}, {}),
    (PAIRS, {"a": "b", "": ""}, {"a": "b", "": ""}),
)
REFUSED: tuple[tuple[Argument, Any, str], ...] = (
    (TEXT, "", "must not be empty"),
    (TEXT, "x" * 9, "is longer than 8 characters"),
    (TEXT, "\ud800", "is not valid Unicode"),
    (TEXT, 5, "must be a string"),
    (TEXT, True, "must be a string"),
    (TEXT, ["klein"], "must be a string"),
    (TEXT, {"q": "klein"}, "must be a string"),
    (TEXT, b"klein", "must be a string"),
    (NUMBER, 0, "must be at least 1"),
    (NUMBER, 101, "must be at most 100"),
    (NUMBER, "10", "must be an integer"),
    (NUMBER, 10.0, "must be an integer"),
    (NUMBER, True, "must be an integer"),
    (NUMBER, [], "must be an integer"),
    (FLOOR, -1, "must be at least 0"),
    (CEILING, 10, "must be at most 9"),
    (PAIRS, "{}", "must be an object whose values are strings"),
    (PAIRS, ["a"], "must be an object whose values are strings"),
    (PAIRS, {"a": 1}, "must be an object whose values are strings"),
    (PAIRS, {"a": None}, "must be an object whose values are strings"),
    (PAIRS, {"a": "x" * 10}, "is longer than 10 characters, names included"),
    (PAIRS, {"a" * 11: ""}, "is longer than 10 characters, names included"),
    (PAIRS, {"a": "\udc80"}, "is not valid Unicode"),
    (PAIRS, {"\0": ""}, "holds a NUL"),
    (TEXT, "a\0b", "holds a NUL"),
    (PAIRS, {str(n): "" for n in range(MAX_MEMBERS + 1)}, "has more than 64 members"),
)
#: argument, text in a URL or header, what comes of it.
PARSED: tuple[tuple[Argument, str, Any], ...] = (
    (TEXT, "klein", "klein"),
    (NUMBER, "1", 1),
    (NUMBER, "007", 7),
    (FLOOR, "-0", 0),
    (CEILING, "-12", -12),
    (PAIRS, "{}", {}),
    (PAIRS, ' {"a": "\\u00e9", "b": ""}', {"a": "\u00e9", "b": ""}),
)
UNPARSED: tuple[tuple[Argument, str, str], ...] = (
    (PAIRS, "", "must be a JSON object"),
    (PAIRS, "[]", "must be a JSON object"),
    (PAIRS, "a=b", "must be a JSON object"),
    (PAIRS, '{"a": "b", "a": "c"}', "must be a JSON object"),
    (PAIRS, '{"a": 1}', "must be an object whose values are strings"),
    (PAIRS, '{"a": "\udc80"}', "must be a JSON object"),
    (PAIRS, "[" * 100_000, "must be a JSON object"),
    (TEXT, "", "must not be empty"),
    (TEXT, "\udc80", "is not valid Unicode"),
    (NUMBER, "", "must be an integer"),
    (NUMBER, "-", "must be an integer"),
    (NUMBER, "--1", "must be an integer"),
    (NUMBER, "+1", "must be an integer"),
    (NUMBER, " 1", "must be an integer"),
    (NUMBER, "1_0", "must be an integer"),
    (NUMBER, "1e1", "must be an integer"),
    (NUMBER, "1.0", "must be an integer"),
    (NUMBER, "0x10", "must be an integer"),
    (NUMBER, "\u0663", "must be an integer"),
    (NUMBER, "\u00b2", "must be an integer"),
    (NUMBER, "9" * 17, "must be an integer"),
    (NUMBER, "9" * 100_000, "must be an integer"),
    (NUMBER, "101", "must be at most 100"),
)


class ArgumentTests(SynchronousTestCase):
    """Argument.check and Argument.parse."""

    def refusal(self, call: Any, value: Any, argument: Argument) -> str:
        error = self.assertRaises(NodeError, call, value)
        self.assertIs(error.code, ErrorCode.BAD_REQUEST)
        self.assertIn(repr(argument.name), error.message)
        message: str = error.message
        return message

    def test_check(self) -> None:
        for argument, value, expected in CHECKED:
            found = argument.check(value)
            self.assertEqual((found, type(found)), (expected, type(expected)))

    def test_check_refuses(self) -> None:
        for argument, value, expected in REFUSED:
            self.assertIn(expected, self.refusal(argument.check, value, argument), repr(value))

    def test_parse(self) -> None:
        for argument, text, expected in PARSED:
            found = argument.parse(text)
            self.assertEqual((found, type(found)), (expected, type(expected)))

    def test_parse_refuses(self) -> None:
        for argument, text, expected in UNPARSED:
            self.assertIn(expected, self.refusal(argument.parse, text, argument), repr(text[:20]))

    def test_the_value_is_not_repeated(self) -> None:
        """A message may end in a log: it names the argument, never what was in it."""
        for argument, value, _ in REFUSED:
            if isinstance(value, str) and value.isprintable() and value:
                self.assertNotIn(value, self.refusal(argument.check, value, argument))


class IdempotentTests(SynchronousTestCase):
    def test_what_reads_and_says_so(self) -> None:
        for method, access, expected in (
            ("GET", Access.READ, True),
            ("HEAD", Access.READ, True),
            ("GET", Access.WRITE, False),
            ("POST", Access.READ, False),
            ("POST", Access.WRITE, False),
        ):
            operation = make_operation(method=method, access=access)
            self.assertIs(operation.idempotent, expected, (method, access))


class BindTests(SynchronousTestCase):
    """Operation.bind and bind_text."""

    def setUp(self) -> None:
        self.operation = make_operation(arguments=(TEXT, NUMBER))

    def test_defaults(self) -> None:
        self.assertEqual(self.operation.bind({"q": "x"}), {"q": "x", "limit": 10})
        self.assertEqual(self.operation.bind_text({"q": "x"}), {"q": "x", "limit": 10})

    def test_given(self) -> None:
        self.assertEqual(self.operation.bind({"q": "x", "limit": 3}), {"q": "x", "limit": 3})
        self.assertEqual(self.operation.bind_text({"q": "x", "limit": "3"}), {"q": "x", "limit": 3})

    def test_unknown_are_ignored(self) -> None:
        self.assertEqual(self.operation.bind({"q": "x", "self": 1, "q2": []}), {"q": "x", "limit": 10})

    def test_null_is_absent(self) -> None:
        self.assertEqual(self.operation.bind({"q": "x", "limit": None}), {"q": "x", "limit": 10})

    def test_missing(self) -> None:
        for given in ({}, {"q": None}, {"Q": "x"}):
            error = self.assertRaises(NodeError, self.operation.bind, given)
            self.assertIs(error.code, ErrorCode.BAD_REQUEST)
            self.assertEqual(error.message, "argument 'q' is missing")

    def test_no_segment_of_a_path_climbs(self) -> None:
        """As over HTTP, where such a path is refused before it is looked at."""
        key, note = Argument(name="key", required=True), Argument(name="note")
        operation = make_operation("graph.resolve", path="/app/graph/resolve/{key}", arguments=(key, note))
        for dots in (".", ".."):
            with self.assertRaises(NodeError) as raised:
                operation.bind({"key": dots})
            self.assertIs(raised.exception.code, ErrorCode.BAD_REQUEST)
            self.assertIn("'key'", raised.exception.message)
            self.assertEqual(operation.bind({"key": dots * 3, "note": dots})["note"], dots)

    def test_json_is_not_parsed(self) -> None:
        """Text that would do in a URL is the wrong type in JSON, and the other way round."""
        self.assertRaises(NodeError, self.operation.bind, {"q": "x", "limit": "3"})
        self.assertEqual(self.operation.bind_text({"q": "3"})["q"], "3")

    def test_the_first_that_does_not_fit_is_named(self) -> None:
        error = self.assertRaises(NodeError, self.operation.bind, {"limit": 0})
        self.assertIn("'q'", error.message)

    def test_the_given_is_left_alone(self) -> None:
        given = {"q": "x"}
        self.operation.bind(given)
        self.assertEqual(given, {"q": "x"})
