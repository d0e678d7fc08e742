"""The pages are reStructuredText that docutils has nothing to say against."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

_ROOT: Final = Path(__file__).parent.parent


def complaints(text: str, name: str) -> str:
    """Return what docutils says of *text*, its warnings included."""
    said = io.StringIO()
    publish_doctree(text, name, settings_overrides={"warning_stream": said, "report_level": 2})
    return said.getvalue()


class PagesTests(SynchronousTestCase):
    def test_all_are_in_order(self) -> None:
        pages = [_ROOT / "README.rst", *sorted((_ROOT / "docs").glob("*.rst"))]
        self.assertGreater(len(pages), 9)
        for page in pages:
            self.assertEqual(complaints(page.read_text("utf-8"), str(page)), "")

    def test_what_is_not_would_be_found(self) -> None:
        """A row of a table that goes on in its first column is another row to docutils."""
        text = "=== ===\na   b\n=== ===\n``x y\nz``\n=== ===\n"
        self.assertIn("Inline literal start-string without end-string", complaints(text, "page"))
