"""What a good caller notices of slowhttptest: p99 of search while a thousand connections are held open.

    python -m tests.bench.hostile [--connections 1000] [--idle 5000] [--seconds 5] [--json] [--save]

A node and its owners, and beside them idle OAP/1 connections. Four callers search, each again 10 ms after
its answer, on connections that they keep, and one on a new connection each time; the time of each search
is taken, first on a calm day, then while slowhttptest (Debian) plagues the node in one of its four ways.
A way goes on until all of its connections are closed, and begins anew until it has taken the seconds. It
must be the node that closes them, by a deadline or since they read too little; p99 must stay below 50 ms;
the idle connections must still be there, and answer, in the end. Deadlines are shorter than by default,
so that there is an end to wait for. Load and node share the machine with whatever else runs there. Exits
with 1 where something is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import re
import statistics
import subprocess
import sys
import time
from typing import Any, Final

import attrs

from micronode.oap.wire.frames import EVENT, Control, encode_frame
from tests.bench import regions
from tests.bench.bench_isolation import Caller, again_and_again, p99_ms
from tests.bench.load import connect, raise_open_files, read_frame
from tests.bench.processes import keeping
from tests.cli.processes import ask, ask_json
from tests.support.matrixcalls import CALLS, CORPUS
from tests.support.slowhttp import WAYS, no_more_open, start_slow
from tests.support.switched import OwnersProgram, SwitchedNode

TARGET_MS: Final = 50.0
CALM: Final = "calm"
#: How the page calls what the others do.
SPELLED: Final = {
    CALM: "nothing",
    "slow heads": "heads, a field a second",
    "slow bodies": "bodies, a parameter a second",
    "many ranges": "many ranges",
    "slow reads": "reading 256 bytes a second",
}
SEARCHERS: Final = 4
PAUSE_S: Final = 0.01
#: As long as a way goes on where nothing ends it.
PATIENCE_S: Final = 80
#: Seconds within which it opens its connections: all at once they were a flood, and no matter of slowness.
OPENING_S: Final = 4
#: What each way asks for; an object is put for those that read it.
PATHS: Final = {"slow heads": CALLS["search"].path, "slow bodies": "/app/media"}
OBJECT: Final = bytes(1 << 20)
TIMEOUTS: Final = {"read": "5s", "body": "5s", "write_stall": "5s", "idle": "10m"}


@attrs.define
class Day:
    """What was seen while the node was plagued in one way."""

    searches: list[float] = attrs.field(factory=list)
    #: Of searches that did not end with 200.
    failed: collections.Counter[str] = attrs.field(factory=collections.Counter)
    #: Of the other callers: by the node's log.
    statuses: collections.Counter[str] = attrs.field(factory=collections.Counter)
    times: int = 0
    #: Whether all connections were closed, each time.
    ended: bool = True
    memory: int = 0


class NewCaller(Caller):
    """One that keeps no connection."""

    async def call(self) -> int:
        try:
            return await super().call()
        finally:
            self.close()


class Bench:
    """A node under attack."""

    def __init__(self, keeper: Any, options: argparse.Namespace) -> None:
        self.options = options
        owners = OwnersProgram(keeper, CORPUS)
        room = options.connections + options.idle + 1_000
        self.node = SwitchedNode(
            keeper,
            {
                "facets.media": {"enabled": True},
                "timeouts": TIMEOUTS,
                "http": {"idle": "5s"},
                "limits": {"max_connections": room, "max_handshakes": room},
                "drain": {"grace": "0s", "deadline": "1s"},
            },
        )
        self.node.switch({name: owners.urls[name] for name in ("index", "storage")})
        _, _, said = ask(f"http://{self.node.http}/app/media", "POST", OBJECT)
        self.object = f"/app/media/{json.loads(said)['cid']}"

    async def search(self, day: Day, over: asyncio.Event) -> None:
        """Search until *over*."""

        def told(status: int, took_s: float) -> None:
            if status == 200:
                day.searches.append(took_s)
            else:
                day.failed[str(status)] += 1

        kinds = [Caller] * SEARCHERS + [NewCaller]
        path = CALLS["search"].path
        tasks = [
            asyncio.ensure_future(again_and_again(kind(self.node.http, path), PAUSE_S, told))
            for kind in kinds
        ]
        await over.wait()
        for task in tasks:
            if task.done() and task.exception() is not None:
                day.failed[repr(task.exception())] += 1
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def live(self, way: str) -> Day:
        """Return what a day is like when it is plagued in that *way*."""
        day, over = Day(), asyncio.Event()
        before = len(self.node.program.complained)
        searching = asyncio.ensure_future(self.search(day, over))
        began = time.monotonic()
        while time.monotonic() - began < self.options.seconds:
            if way == CALM:
                await asyncio.sleep(self.options.seconds)
                continue
            url = f"http://{self.node.http}{PATHS.get(way, self.object)}"
            count = self.options.connections
            process = start_slow(way, url, connections=count, rate=count // OPENING_S, seconds=PATIENCE_S)
            day.times += 1
            day.ended &= await asyncio.to_thread(self.wait, process)
        over.set()
        await searching
        log = self.node.program.complained[before:]
        lines = [line for line in log.splitlines() if '"route":"search.query","status":200' not in line]
        day.statuses.update(re.findall(r'"route":.*"status":(\d+)', "\n".join(lines)))
        day.memory = int(re.findall(r"VmRSS:\s+(\d+)", self._proc())[0]) >> 10
        return day

    def _proc(self) -> str:
        with open(f"/proc/{self.node.pid}/status", encoding="ascii") as status:
            return status.read()

    def wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for slowhttptest; whether the node has closed all of its connections."""
        ended = no_more_open(process)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            open_ = ask_json(f"http://{self.node.admin}/api/v1/status")["connections"]["http"]
            # Those of the searchers.
            if open_ <= SEARCHERS + 1:
                return ended
            time.sleep(0.2)
        return False


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--connections", type=int, default=1_000, help="of slowhttptest")
    parser.add_argument("--idle", type=int, default=5_000, help="OAP/1 connections beside")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each way, at least")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the figures into docs/")
    options = parser.parse_args()
    about = regions.about()
    raise_open_files()
    with keeping() as keeper:
        bench = Bench(keeper, options)
        idle = connect(int(bench.node.oap.rpartition(":")[2]), options.idle)
        days = {way: asyncio.run(bench.live(way)) for way in (CALM, *WAYS)}
        answering = 0
        for number, peer in enumerate(idle):
            peer.sendall(encode_frame(EVENT, Control.PING, 0, 0, b"%d" % number))
            answering += read_frame(peer).endswith(b"%d" % number)
            peer.close()
        bench.node.check_log()
    p99 = {way: p99_ms(day.searches) for way, day in days.items()}
    good = answering == options.idle
    for way, day in days.items():
        good &= p99[way] < TARGET_MS and day.ended and not day.failed
    if options.save:
        regions.HOSTILE.save(
            about
            | {"connections": options.connections, "target_ms": TARGET_MS}
            | {"idle": options.idle, "idle_answering": answering}
            | {
                "days": [
                    {
                        "what": SPELLED[way],
                        "median_ms": round(statistics.median(day.searches) * 1000, 2),
                        "p99_ms": round(p99[way], 1),
                        "met": p99[way] < TARGET_MS and day.ended and not day.failed,
                        "statuses": dict(sorted(day.statuses.items())),
                        "memory_mib": day.memory,
                    }
                    for way, day in days.items()
                ]
            }
        )
    if options.json:
        print(json.dumps({"p99_ms": p99, "idle_answering": answering, "good": good}))
        return 0 if good else 1
    print(f"{answering} of {options.idle} idle OAP/1 connections answer in the end")
    for way, day in days.items():
        shown = ", ".join(f"{count} x {status}" for status, count in sorted(day.statuses.items()))
        print(
            f"{way:12} {len(day.searches):5} searches, {statistics.median(day.searches) * 1000:5.1f} ms,"
            f" p99 {p99[way]:5.1f} ms (target {TARGET_MS:g}), failed: {dict(day.failed) or 'none'};"
            f" {day.times} x {options.connections} connections,"
            f" {'all ended' if day.ended else 'NOT ALL ENDED'}: {shown or 'none'}; RSS {day.memory} MiB"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
