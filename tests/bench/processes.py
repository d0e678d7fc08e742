"""The processes of tests, for benches: what a test case keeps of them, without a test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Keeper:
    """Ends what was begun, in the order of a test's cleanups; it stands where a test case is asked for."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp()
        self._cleanups: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [(shutil.rmtree, (self._folder,))]
        self._count = 0

    def addCleanup(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call *function* in the end."""
        self._cleanups.append((function, arguments))

    def mktemp(self) -> str:
        """Return a path where nothing is yet."""
        self._count += 1
        return str(Path(self._folder) / str(self._count))

    def close(self) -> None:
        """Do what was left for the end."""
        while self._cleanups:
            function, arguments = self._cleanups.pop()
            function(*arguments)


@contextmanager
def keeping() -> Iterator[Any]:
    """Yield a :class:`Keeper`, which is closed in the end."""
    keeper = Keeper()
    try:
        yield keeper
    finally:
        keeper.close()
