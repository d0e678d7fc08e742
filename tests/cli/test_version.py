"""micronode version."""

import json

from micronode import __version__
from micronode.cli.version import main
from micronode.observability.version import build_version
from tests.cli.support import CommandTestCase


class VersionTests(CommandTestCase):
    def test_plain(self) -> None:
        self.assertEqual(main([]), 0)
        self.assertEqual(self.printed, f"micronode {__version__}\n")

    def test_json(self) -> None:
        self.assertEqual(main(["--json"]), 0)
        self.assertEqual(json.loads(self.printed), build_version())
