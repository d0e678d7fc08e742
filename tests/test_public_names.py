"""What other programs may rely on: the package's names, and the protocol's error names and statuses."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import micronode
from micronode.errors import ErrorCode, http_status

ROOT = Path(micronode.__file__).parent.parent
SPECIFICATION = ROOT / "specs/oap-1.md"
#: A row of the specification's table of errors.
_ROW = re.compile(r"\| `(\w+)` \| (\d{3}) \| (yes|no|n/a) \| (.*) \|")


class PackageTests(SynchronousTestCase):
    """``import micronode``."""

    def test_names(self) -> None:
        self.assertEqual(sorted(micronode.__all__), ["Config", "__version__", "make_node"])

    def test_what_they_are(self) -> None:
        from micronode.config.schema import Config
        from micronode.node import make_node

        self.assertIs(micronode.Config, Config)
        self.assertIs(micronode.make_node, make_node)

    def test_signature(self) -> None:
        self.assertEqual(
            list(inspect.signature(micronode.make_node).parameters),
            ["config", "reactor", "facets", "read", "sockets"],
        )

    def test_version(self) -> None:
        self.assertRegex(micronode.__version__, r"^\d+\.\d+\.\d+([a-z]+\d+)?$")

    def test_dir(self) -> None:
        """What completes at a prompt, before and after the names were used."""
        for name in micronode.__all__:
            self.assertIn(name, dir(micronode))
        self.assertNotIn("TYPE_CHECKING", dir(micronode))

    def test_unknown(self) -> None:
        error = self.assertRaises(AttributeError, getattr, micronode, "make_nodes")
        self.assertEqual(str(error), "module 'micronode' has no attribute 'make_nodes'")
        self.assertFalse(hasattr(micronode, "__path_hooks__"))

    def test_lazy(self) -> None:
        """The names load on first use, and a star takes them all."""
        program = (
            f"import sys; sys.path[:0] = {[str(ROOT)]!r}; import micronode; "
            "assert 'micronode.config.schema' not in sys.modules; micronode.Config; "
            "assert 'micronode.config.schema' in sys.modules; assert 'micronode.node' not in sys.modules; "
            "from micronode import *; make_node, Config, __version__; assert 'micronode.node' in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_typed(self) -> None:
        self.assertTrue((Path(micronode.__file__).parent / "py.typed").exists())


class ErrorTableTests(SynchronousTestCase):
    """The code's table of errors is the specification's."""

    def setUp(self) -> None:
        self.rows = _ROW.findall(SPECIFICATION.read_text("utf-8"))

    def test_names_statuses_and_retries(self) -> None:
        specified = {name: (int(status), retry == "yes") for name, status, retry, _ in self.rows}
        self.assertEqual(len(specified), len(self.rows), "a name is there twice")
        self.assertEqual(specified, {code.value: (code.status, code.retryable) for code in ErrorCode})

    def test_where_http_differs(self) -> None:
        for name, status, _, when in self.rows:
            said = re.search(r"over HTTP the status is (\d{3})", when)
            self.assertEqual(http_status(ErrorCode(name)), int(said[1] if said else status), name)
