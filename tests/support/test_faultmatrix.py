"""docs/FAULTS.rst is what the table says, and the table knows every fault there is."""

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.faultspec import KINDS
from tests.support.faultmatrix import FAULTS, PAGE, ROWS, page


class PageTests(SynchronousTestCase):
    def test_is_not_stale(self) -> None:
        self.assertEqual(
            PAGE.read_text("utf-8"),
            page(),
            "run python -m tests.support.faultmatrix after changing the table",
        )

    def test_is_valid_markup(self) -> None:
        publish_doctree(page(), settings_overrides={"halt_level": 2, "report_level": 5})


class TableTests(SynchronousTestCase):
    def test_has_every_fault_for_every_call(self) -> None:
        self.assertEqual({fault.partition(":")[0] for fault in FAULTS}, set(KINDS))
        for row in ROWS:
            self.assertEqual(tuple(row.outcomes), FAULTS, row.call)
