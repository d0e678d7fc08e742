"""The owners of chaos, in processes of their own."""

from __future__ import annotations

from typing import Any, Final

from tests.cli.processes import Program
from tests.support.matrixcalls import CORPUS
from tests.support.switched import OwnersProgram

#: How long the index takes to answer. With the gate it says how many calls a second it can do.
SERVICE_S: Final = 0.1


#: What the index that answers at once finds: as many as a search may ask for.
HITS: Final = 50


class TimedIndex:
    """An index that answers after so long, always the same, in a process of its own.

    :ivar url: where it is.
    """

    def __init__(self, keeper: Any, takes_s: float, hits: int = 0) -> None:
        arguments = (str(takes_s * 1000), str(hits))
        self.program = Program(keeper, *arguments, python=("-m", "tests.chaos.timedowner"))
        self.url = self.program.until(r'"url": "([^"]+)"')[1]


class Owners:
    """The owners, in processes of their own: well ones, ill ones, and indexes that are slow, and quick."""

    def __init__(self, keeper: Any) -> None:
        quiet = ("--log-level", "error")
        well = OwnersProgram(keeper, CORPUS, *quiet)
        ill = OwnersProgram(keeper, CORPUS, "--fault", "storage=stall,index=refuse", "--fault-health", *quiet)
        timed, quick = TimedIndex(keeper, SERVICE_S), TimedIndex(keeper, 0.0, HITS)
        self.well, self.ill = well.urls, ill.urls
        self.timed, self.quick = timed.url, quick.url
        self._programs = (well, ill, timed.program, quick.program)

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
