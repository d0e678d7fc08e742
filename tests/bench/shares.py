"""Where the node's time goes: shares by part of the program, as cProfile sees it, or py-spy from outside.

What is written in C counts for whoever called it, but for what waits for the kernel. A profiler makes small
functions look larger than they are, so the shares tell where to look rather than what there is to win.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import micronode

#: Part -> what the path of its modules has; the first that fits counts.
_PARTS: Final = {
    "JSON, read and written": ("/json/", "micronode/oap/wire/heads.py", "micronode/oap/head.py"),
    "frames, and what they may do (oap.wire)": ("micronode/oap/wire/",),
    "sessions, streams, output (oap)": ("micronode/oap/",),
    "the call: routing, gate, deadline (calls)": ("micronode/calls/", "micronode/concurrency/"),
    "the owner's client (adapters)": ("micronode/adapters/",),
    "routes (klein, werkzeug)": ("/klein/", "/werkzeug/"),
    "the HTTP ingress (http)": ("micronode/http/",),
    "facets": ("micronode/facets/",),
    "access log": (
        "micronode/observability/logging.py",
        "micronode/observability/writer.py",
        "twisted/logger/",
    ),
    "metrics": ("micronode/observability/",),
    "Twisted: Deferreds and coroutines": ("twisted/internet/defer.py",),
    "Twisted: reactor and transport": ("twisted/",),
    "the facet that does nothing": ("tests/bench/",),
}
_KERNEL: Final = "reading and writing sockets"
_REST: Final = "the rest"
_SOCKETS: Final = ("'_socket.socket'", "'select.epoll'")
#: Waiting for callers is nobody's time.
_WAITING: Final = "'poll'"


class Shares:
    """A profile of this thread, from when it is made."""

    def __init__(self) -> None:
        self._profile = cProfile.Profile()
        self._profile.enable()

    def end(self) -> dict[str, float]:
        """Stop; return part -> its share, the largest first."""
        self._profile.disable()
        spent: Counter[str] = Counter()
        stats: dict[Any, Any] = pstats.Stats(self._profile).stats  # type: ignore[attr-defined]
        for (path, _, name), (_, _, own, _, callers) in stats.items():
            if path != "~":
                spent[_part(path)] += own
            elif not any(word in name for word in _SOCKETS):
                for (caller, _, _), (_, _, for_caller, _) in callers.items():
                    spent[_part(caller)] += for_caller
            elif _WAITING not in name:
                spent[_KERNEL] += own
        total = sum(spent.values())
        return {part: round(seconds / total, 4) for part, seconds in spent.most_common()}


def watched(pid: int, seconds: float, work: Callable[[], object]) -> dict[str, float]:
    """Do *work*, which keeps process *pid* busy for longer than *seconds*; return part -> its share.

    py-spy says so. What the kernel does for a part counts as its own.

    :raises SystemExit: py-spy is not installed, or must not look at the process.
    """
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if program is None:
        raise SystemExit("py-spy is not installed")
    with tempfile.NamedTemporaryFile("r") as samples:
        command = [program, "record", "--full-filenames", "--format", "raw", "--rate", "250"]
        command += ["--duration", f"{seconds:g}", "--pid", str(pid), "--output", samples.name]
        watching = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        work()
        if watching.wait():
            raise SystemExit("py-spy could not look at the node")
        spent: Counter[str] = Counter()
        for line in samples:
            stack, _, count = line.rpartition(" ")
            spent[_part(stack.rpartition(";")[2].partition("(")[2])] += int(count)
    total = sum(spent.values())
    return {part: round(count / total, 4) for part, count in spent.most_common()}


def _part(path: str) -> str:
    root = str(Path(micronode.__file__).parents[1])
    path = path.removeprefix(root + "/")
    return next((part for part, words in _PARTS.items() if any(word in path for word in words)), _REST)
