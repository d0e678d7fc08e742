"""Rolling restarts: two nodes behind HAProxy, restarted in turn under steady load; no call may fail.

    python -m tests.bench.rolling_restarts [--restarts 50]

Starts reference owners, two nodes and HAProxy with ``conf/haproxy.cfg`` (on free ports), and calls them all
the time: over HTTP on connections that are kept and on new ones, reads and writes, and over OAP/1, one call
at a time and several on one connection. No caller repeats a call, and HAProxy repeats nothing but connecting.
Meanwhile one node after the other is sent SIGTERM and started again. Exits with 1 when a call failed, or a
stop took longer than it may.

``tests/integration/test_rolling_restart.py`` does a few of them.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.bench.processes import keeping
from tests.support.rolling import LONGEST_S, Rolling


def main() -> int:
    """Run the bench and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--at-a-time", type=int, default=4, help="calls of an OAP/1 connection")
    parser.add_argument("--pause-ms", type=float, default=10, help="between two calls of a caller")
    options = parser.parse_args()
    took: list[float] = []
    with keeping() as case:
        rolling = Rolling(case, pause_s=options.pause_ms / 1000)
        rolling.begin(at_a_time=options.at_a_time)
        begun = time.monotonic()
        for number in range(options.restarts):
            took.append(rolling.restart(("53", "54")[number % 2]))
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {options.restarts}", end="", file=sys.stderr, flush=True)
        seconds = time.monotonic() - begun
        seen = rolling.end()
    print(
        f"{len(took)} restarts in {seconds:.0f} s; a stop took {min(took):.2f} to {max(took):.2f} s "
        f"(at most {LONGEST_S:.1f} s)\n{seen}\nfailed: {seen.failed}"
    )
    return 1 if seen.failed or max(took) > LONGEST_S else 0


if __name__ == "__main__":
    raise SystemExit(main())
