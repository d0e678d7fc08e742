"""Tests for :mod:`micronode.calls.answers`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.answers import Answer, list_of, object_of

TEXT = {"type": "string"}


class SchemaTests(SynchronousTestCase):
    """What shortens the writing of schemas."""

    def test_an_object_needs_its_members_and_may_have_others(self) -> None:
        self.assertEqual(
            object_of(a=TEXT, b=TEXT),
            {"type": "object", "required": ["a", "b"], "properties": {"a": TEXT, "b": TEXT}},
        )

    def test_a_list(self) -> None:
        self.assertEqual(list_of(TEXT), {"type": "array", "items": TEXT})

    def test_an_answer_is_json_unless_it_says_otherwise(self) -> None:
        answer = Answer(doc="Good.")
        self.assertEqual((answer.status, answer.content, answer.schema), (200, "application/json", None))
