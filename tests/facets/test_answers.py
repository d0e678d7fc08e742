"""Tests for :mod:`micronode.facets.answers`: what is told of the built-in facets is what they judge by."""

from __future__ import annotations

import re
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.operations import Operation
from micronode.errors import NodeError
from micronode.facets.answers import CID, KEY
from micronode.facets.cid import parse_cid
from micronode.facets.graph import GraphFacet
from micronode.facets.media import MediaFacet
from micronode.facets.search import SearchFacet

_NOBODY = cast(Any, None)


def operations() -> list[Operation]:
    facets = (
        GraphFacet(_NOBODY),
        SearchFacet(_NOBODY),
        MediaFacet(_NOBODY, max_object=1, mismatches=None),
    )
    return [operation for facet in facets for operation in facet.operations()]


class AnswersTests(SynchronousTestCase):
    """The rows."""

    def test_every_operation_says_what_it_answers(self) -> None:
        silent = [operation.name for operation in operations() if not operation.answers]
        self.assertEqual(silent, [])

    def test_an_answer_is_no_error(self) -> None:
        for operation in operations():
            for answer in operation.answers:
                self.assertTrue(200 <= answer.status < 400, operation.name)

    def test_addresses(self) -> None:
        good, zeros = "b3:" + "09af" * 16, "0" * 64
        for text in (
            good,
            "",
            "b3:",
            zeros,
            f"b3:{zeros}0",
            f"b3:{zeros[1:]}",
            f"B3:{zeros}",
            f"b3:{'A' * 64}",
        ):
            try:
                parse_cid(text)
                taken = True
            except NodeError:
                taken = False
            self.assertEqual(re.search(CID, text) is not None, taken, text)

    def test_keys(self) -> None:
        for text, fits in (("name:x", True), (f"b3:{'0' * 64}", True), ("name:", False), ("other:x", False)):
            self.assertEqual(re.search(KEY, text) is not None, fits, text)
