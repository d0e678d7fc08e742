"""How long it takes to check a configuration of 200 lines, and to say ``micronode version``.

    python -m tests.bench.bench_config

Checking is reading, parsing, merging with environment and flags, and validating, in a process that has
its imports; the median of 50 rounds counts. ``version`` is a process from start to end; the median of 10.
Exits with 1 above a target: 20 ms and 150 ms.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from micronode.config.schema import Config
from micronode.config.shown import shown_as_toml
from micronode.config.sources import Flag, load

LINES = 200
CHECK_MS = 20.0
VERSION_MS = 150.0
ENVIRON = {"MICRONODE_LOG_LEVEL": "error", "MICRONODE_OWNERS_INDEX_URL": "http://a,http://b"}
FLAGS = (
    Flag("http.listen", "127.0.0.1:1", "flag --http"),
    Flag("drain.grace", "1s", "flag --set drain.grace"),
)


def sample() -> str:
    """Return a file of every key, filled up with comments."""
    lines = shown_as_toml(Config()).splitlines()
    assert len(lines) <= LINES
    return "\n".join([*["# a comment"] * (LINES - len(lines)), *lines]) + "\n"


def milliseconds(act: Callable[[], object], rounds: int) -> list[float]:
    """Return how long each of *rounds* of *act* took."""
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        act()
        took.append((time.perf_counter() - begun) * 1000)
    return took


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "micronode.toml"
        path.write_text(sample(), "utf-8")
        check = milliseconds(
            lambda: load(flags=FLAGS, environ=ENVIRON, path=str(path), to_run=True), rounds=50
        )
    command = [sys.executable, "-m", "micronode", "version"]
    version = milliseconds(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ)),
        rounds=10,
    )
    failed = False
    for name, took, target in (("check of 200 lines", check, CHECK_MS), ("version", version, VERSION_MS)):
        median = statistics.median(took)
        failed |= median > target
        print(f"{name}: median {median:.1f} ms, worst {max(took):.1f} ms (target {target:g} ms)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
