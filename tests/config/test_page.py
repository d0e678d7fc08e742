"""docs/CONFIG.rst is what the table says, and the table's other texts are in order."""

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.schema import KEYS
from tests.support.config_page import PAGE, page


class PageTests(SynchronousTestCase):
    def test_is_not_stale(self) -> None:
        self.assertEqual(
            PAGE.read_text("utf-8"), page(), "run python -m tests.support.config_page after changing a key"
        )

    def test_names_every_key_and_variable(self) -> None:
        text = page()
        for row in KEYS.values():
            self.assertIn(f"``{row.name}``", text)
            self.assertIn(f"``{row.variable}``", text)

    def test_is_valid_markup(self) -> None:
        publish_doctree(page(), settings_overrides={"halt_level": 2, "report_level": 5})
