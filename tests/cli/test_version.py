"""micronode version."""

import json

from micronode import __version__
from micronode.cli.version import main
from micronode.observability.version import build_version
from tests.cli.processes import run_python
from tests.cli.support import CommandTestCase


class VersionTests(CommandTestCase):
    def test_plain(self) -> None:
        self.assertEqual(main([]), 0)
        self.assertEqual(self.printed, f"micronode {__version__}\n")

    def test_takes_along_nothing_that_is_slow(self) -> None:
        """It is what people and probes call first: no reactor, no TLS, no table of keys."""
        script = "import sys; from micronode.cli.main import main; main(['version']); print(*sys.modules)"
        ran = run_python("-c", script)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        modules = set(ran.stdout.split())
        slow = {"twisted.internet.reactor", "twisted.web", "OpenSSL", "attrs", "micronode.config.schema"}
        self.assertEqual(modules & slow, set())

    def test_json(self) -> None:
        self.assertEqual(main(["--json"]), 0)
        self.assertEqual(json.loads(self.printed), build_version())
