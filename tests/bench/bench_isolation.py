"""What one owner's bad day costs the callers of another: p99 of search while storage is ill.

    python -m tests.bench.bench_isolation [--rounds 8] [--seconds 3] [--json]

A node, a well index, and a storage that is well, stalls, drips or refuses (``micronode owners --fault``). 32
callers get an object, each again 0.1 s after it has its answer or error; meanwhile four others search, each
again 10 ms after its answer, and the time of each search is taken. Each round has every kind of day once, in
another order, for some seconds; a reload points the node at another storage. What counts is the median over
the rounds of p99 on the bad day to p99 on the well one of the same round. The target is 1.5 at most. Load and
node share the machine with whatever else runs there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

from tests.bench.processes import keeping
from tests.support.matrixcalls import CALLS, CORPUS
from tests.support.switched import OwnersProgram, SwitchedNode

TARGET: Final = 1.5
WELL: Final = "well"
#: Day -> the fault of storage.
DAYS: Final = {WELL: None, "stall": "stall", "drip": "drip", "refuse": "refuse"}
GETTERS: Final = 32
PAUSE_S: Final = 0.1
SEARCHERS: Final = 4
#: Without it they would measure how fast they are themselves.
SEARCH_PAUSE_S: Final = 0.01
#: After a reload: callers of the day before have their answers, kept connections are there.
SETTLE_S: Final = 1.5


class Caller:
    """Makes one call after the other on a connection that it keeps as long as the node does."""

    def __init__(self, address: str, path: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self) -> int:
        """Make a call; return its status."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = head.lower().partition(b"content-length:")[2]
        await reader.readexactly(int(fields.split(b"\r\n", 1)[0]))
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split()[1])

    def close(self) -> None:
        """Close its connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def again_and_again(caller: Caller, pause_s: float, told: Callable[[int, float], None]) -> None:
    """Call until cancelled; tell status and seconds of each call."""
    try:
        while True:
            began = time.perf_counter()
            status = await caller.call()
            told(status, time.perf_counter() - began)
            if pause_s:
                await asyncio.sleep(pause_s)
    finally:
        caller.close()


async def day(address: str, seconds: float) -> tuple[list[float], dict[int, int]]:
    """Return the seconds of each search, and how the calls of storage ended: status -> how many."""
    searches: list[float] = []
    ended: dict[int, int] = {}

    def searched(status: int, took_s: float) -> None:
        if status != 200:
            raise SystemExit(f"a search ended with {status}")
        searches.append(took_s)

    def got(status: int, took_s: float) -> None:
        ended[status] = ended.get(status, 0) + 1

    getting = [
        asyncio.ensure_future(again_and_again(Caller(address, CALLS["get_small"].path), PAUSE_S, got))
        for _ in range(GETTERS)
    ]
    searching = [
        asyncio.ensure_future(
            again_and_again(Caller(address, CALLS["search"].path), SEARCH_PAUSE_S, searched)
        )
        for _ in range(SEARCHERS)
    ]
    await asyncio.sleep(SETTLE_S)
    searches.clear()
    ended.clear()
    await asyncio.sleep(seconds)
    taken, counted = list(searches), dict(ended)
    for task in (*getting, *searching):
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*getting, *searching, return_exceptions=True)
    return taken, counted


def p99_ms(seconds: list[float]) -> float:
    """Return the 99th percentile, in milliseconds."""
    return statistics.quantiles(seconds, n=100)[98] * 1000


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each day")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, list[float]] = {name: [] for name in DAYS}
    statuses: dict[str, dict[int, int]] = {name: {} for name in DAYS}
    with keeping() as keeper:
        well = OwnersProgram(keeper, CORPUS)
        storages = {
            name: well if fault is None else OwnersProgram(keeper, CORPUS, "--fault", f"storage={fault}")
            for name, fault in DAYS.items()
        }
        node = SwitchedNode(
            keeper, {"facets.media": {"enabled": True, "timeout": "1s"}, "drain": {"grace": "0s"}}
        )
        for _ in range(options.rounds):
            for name in random.sample(list(DAYS), len(DAYS)):
                node.switch(
                    {"index": well.urls["index"], "storage": storages[name].urls["storage"]},
                    owners__storage={"timeout": "1s"},
                )
                searches, ended = asyncio.run(day(node.http, options.seconds))
                figures[name].append(p99_ms(searches))
                for status, count in ended.items():
                    statuses[name][status] = statuses[name].get(status, 0) + count
    ratios = {
        name: statistics.median(bad / good for bad, good in zip(each, figures[WELL], strict=True))
        for name, each in figures.items()
    }
    if options.json:
        print(json.dumps({"p99_ms": figures, "ratios": ratios, "statuses": statuses}))
    else:
        for name, each in figures.items():
            shown = ", ".join(f"{count} x {status}" for status, count in sorted(statuses[name].items()))
            print(
                f"storage {name:7} p99 of search {statistics.median(each):6.2f} ms,"
                f" {ratios[name]:.2f} x well (target {TARGET}); storage's calls: {shown}"
            )
    return 0 if max(ratios.values()) <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
