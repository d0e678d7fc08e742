"""The owners of chaos, in processes of their own."""

from __future__ import annotations

from typing import Any, Final

from tests.cli.processes import Program
from tests.support.matrixcalls import CORPUS
from tests.support.switched import OwnersProgram

#: How long the index takes to answer. With the gate it says how many calls a second it can do.
SERVICE_S: Final = 0.1


def timed_index(keeper: Any, takes_s: float) -> Program:
    """Start an index that answers after so long; it prints where it is."""
    return Program(keeper, str(takes_s * 1000), python=("-m", "tests.chaos.timedowner"))


class Owners:
    """The owners, in processes of their own: well ones, ill ones, and an index that takes its time."""

    def __init__(self, keeper: Any) -> None:
        quiet = ("--log-level", "error")
        well = OwnersProgram(keeper, CORPUS, *quiet)
        ill = OwnersProgram(keeper, CORPUS, "--fault", "storage=stall,index=refuse", "--fault-health", *quiet)
        timed = timed_index(keeper, SERVICE_S)
        self.well, self.ill = well.urls, ill.urls
        self.timed = timed.until(r'"url": "([^"]+)"')[1]
        self._programs = (well, ill, timed)

    def sections(self, *, index: str = "", storage: str = "") -> dict[str, dict[str, object]]:
        """Return what a node's file says of them, with another *index* or *storage*."""
        return {
            "owners__index": {"url": index or self.timed},
            "owners__storage": {"url": storage or self.well["storage"], "timeout": "1s"},
            "owners__mailbox": {"url": self.well["mailbox"]},
        }

    def check(self) -> None:
        """:raises AssertionError: one has ended."""
        for program in self._programs:
            assert program.process.poll() is None, program.complained
