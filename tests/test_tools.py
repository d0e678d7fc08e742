"""A missing tool is a skip, and a failure where nothing may be missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import FailTest, SkipTest, SynchronousTestCase

from tests.support.tools import REQUIRE_VARIABLE, missing, require_tool

UNKNOWN = "no-such-program-anywhere"


class RequireToolTests(SynchronousTestCase):
    """require_tool() and missing()."""

    def test_there(self) -> None:
        """The interpreter is always beside itself."""
        name = Path(sys.executable).name
        self.assertTrue(os.access(require_tool(name), os.X_OK))

    def test_on_the_path(self) -> None:
        self.assertEqual(os.path.basename(require_tool("sh")), "sh")

    def test_missing(self) -> None:
        for value in (None, "", "0"):
            environment = {} if value is None else {REQUIRE_VARIABLE: value}
            self.patch(os, "environ", {"PATH": os.environ.get("PATH", "")} | environment)
            with self.assertRaisesRegex(SkipTest, f"^{UNKNOWN} is not installed$"):
                require_tool(UNKNOWN)

    def test_nothing_may_be_missing(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ.get("PATH", ""), REQUIRE_VARIABLE: "1"})
        with self.assertRaisesRegex(FailTest, UNKNOWN):
            require_tool(UNKNOWN)
        self.assertRaises(FailTest, missing, "a library")
