"""Tests for :mod:`micronode.devowners.members`; what is refused is in the contracts of the owners."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.members import Members
from micronode.errors import NodeError


class MembersTests(SynchronousTestCase):
    def test_missing_ones(self) -> None:
        members = Members(b'{"null": null}')
        self.assertIsNone(members.optional_text("absent", max_chars=9))
        self.assertIsNone(members.optional_text("null", max_chars=9))
        self.assertEqual(members.integer("absent", default=7, minimum=1, maximum=9), 7)
        self.assertEqual(members.texts("absent"), {})
        for ask in (members.base64, lambda name: members.text(name, max_chars=9)):
            self.assertRaises(NodeError, ask, "absent")

    def test_too_much_is_the_most(self) -> None:
        members = Members(b'{"n": 99999999999999999999999}')
        self.assertEqual(members.integer("n", default=1, minimum=1, maximum=9), 9)

    def test_order_of_texts_does_not_matter(self) -> None:
        self.assertEqual(list(Members(b'{"a": {"z": "1", "b": "2"}}').texts("a")), ["b", "z"])

    def test_no_value_is_quoted(self) -> None:
        members = Members(b'{"a": "secret\\u0000", "b": {"secret": 1}, "c": "secret?"}')
        for ask in (
            lambda: members.text("a", max_chars=9),
            lambda: members.texts("b"),
            lambda: members.base64("c"),
        ):
            self.assertNotIn("secret", self.assertRaises(NodeError, ask).message)
