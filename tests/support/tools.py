"""Tools a test needs and a machine may lack: it skips, or fails where every tool must be there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from twisted.trial.unittest import FailTest, SkipTest

#: Set by ``.ci/run``: a skip for a missing tool is a failure.
REQUIRE_VARIABLE = "TEST_REQUIRE_TOOLS"
_SBIN = "/usr/sbin:/sbin"


def require_tool(name: str) -> str:
    """Return the path of the program *name*: beside this interpreter, else on PATH.

    :raises SkipTest: it is not there; :exc:`FailTest` where ``TEST_REQUIRE_TOOLS=1``.
    """
    beside = Path(sys.executable).parent / name
    if os.access(beside, os.X_OK):
        return str(beside)
    # Balancers are where only root looks for programs.
    return shutil.which(name) or shutil.which(name, path=_SBIN) or missing(f"{name} is not installed")


def missing(what: str) -> NoReturn:
    """Skip the running test because of *what*, or fail it; see :func:`require_tool`."""
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        raise FailTest(f"{what}, and {REQUIRE_VARIABLE}=1 says that nothing may be missing")
    raise SkipTest(what)
