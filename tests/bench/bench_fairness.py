"""Small calls beside a long download on one OAP/1 connection: what they wait, against an idle connection.

    python -m tests.bench.bench_fairness [--megabytes 256] [--calls 100] [--rounds 5]

Starts two processes of reference owners (the index that answers the small calls, the storage that has the
object) and a node, and talks to it over TCP on loopback from this process. Each round measures the
calls, one after the other, on a connection that does nothing else, then beside a download without windows,
then beside one with windows (ACK_REQ), each on a new connection; rounds are interleaved so that what else
the machine does hits all alike. Exits with 1 when the 99th percentile beside a download is 5 times that of
the idle connection or more; the medians over the rounds count.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import ACK_REQ, END, REQ, START, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.bench.bench_streaming import put, running

TARGET_RATIO = 5.0
_OWN = [sys.executable, "-m", "micronode"]
_TEXT = "reactor"
_READY = r'"listener":"oap","address":"(?P<oap>[^"]+)"'


class Caller:
    """One connection, driven by hand: at most one download and one small call at a time.

    :ivar taken: bytes of the download's body.
    :ivar downloading: whether it goes on.
    """

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._peer = socket.create_connection((host, int(port)), timeout=60)
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = FrameDecoder()
        self._last = 1
        self._download = self._call = 0
        self._windowed = False
        self.taken = self._credited = 0
        self._peer.sendall(encode_frame(REQ, 0, 0, 1, b'{"ua":null}'))
        self._buffer = bytearray(1 << 18)

    @property
    def downloading(self) -> bool:
        return self._download != 0

    def close(self) -> None:
        self._peer.close()

    def _start(self, profile: int, op: str, args: dict[str, object], flags: int = 0) -> int:
        self._last += 1
        head = dump_object({"op": op, "args": args})
        self._peer.sendall(encode_frame(REQ | START | END | flags, 0, profile, self._last, head))
        return self._last

    def download(self, cid: str, *, windowed: bool) -> None:
        """Begin to read an object."""
        self._windowed = windowed
        self.taken = self._credited = 0
        self._download = self._start(Profile.MEDIA, "get", {"cid": cid}, ACK_REQ if windowed else 0)

    def call(self, text: str) -> float:
        """Make a small call; return how many seconds it took, reading whatever comes."""
        begun = time.perf_counter()
        self._call = self._start(Profile.SEARCH, "query", {"q": text})
        while self._call:
            self.read()
        return time.perf_counter() - begun

    def read(self) -> None:
        """Take what came, once."""
        size = self._peer.recv_into(self._buffer)
        if not size:
            raise SystemExit("the node closed the connection")
        for flags, code, _app, _tenant, corr_id, _cap, payload in self._decoder.feed(
            bytes(memoryview(self._buffer)[:size])
        ):
            if code >= 400:
                raise SystemExit(f"OAP {code}: {payload!r}")
            if corr_id == self._call and flags & END:
                self._call = 0
            elif corr_id == self._download and not flags & START:
                self.taken += len(payload or b"")
                if flags & END:
                    self._download = 0
        if self._windowed and self.downloading and self.taken - self._credited >= STREAM_WINDOW_BYTES // 2:
            self._credited = self.taken
            self._peer.sendall(credit_frame(self._download, self.taken))


def beside(address: str, cid: str, calls: int, windowed: bool | None) -> tuple[list[float], float]:
    """Make *calls* calls beside a download (None: beside nothing).

    :return: the seconds each took, and the download's MB/s meanwhile.
    """
    caller = Caller(address)
    took: list[float] = []
    caller.call(_TEXT)
    begun, taken = time.perf_counter(), 0
    while len(took) < calls:
        if windowed is not None and not caller.downloading:
            taken += caller.taken
            caller.download(cid, windowed=windowed)
            while caller.downloading and caller.taken < 1 << 20:
                caller.read()
        seconds = caller.call(_TEXT)
        if windowed is None or caller.downloading:
            # Else the download ended meanwhile, and it was no call beside one.
            took.append(seconds)
    taken += caller.taken
    rate = taken / (time.perf_counter() - begun) / 1e6
    caller.close()
    return took, rate


def throughput(address: str, cid: str, windowed: bool) -> float:
    """Return the MB/s of a download that is alone."""
    caller = Caller(address)
    begun = time.perf_counter()
    caller.download(cid, windowed=windowed)
    while caller.downloading:
        caller.read()
    rate = caller.taken / (time.perf_counter() - begun) / 1e6
    caller.close()
    return rate


@contextmanager
def owners() -> Iterator[dict[str, str]]:
    """Run reference owners; yield their URLs."""
    report, write = os.pipe()
    process = subprocess.Popen(
        [*_OWN, "owners", "--index", "127.0.0.1:0", "--storage", "127.0.0.1:0", "--report-fd", str(write)],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(report) as lines:
            yield json.loads(lines.readline())
    finally:
        process.terminate()
        process.wait(20)


def p99_ms(seconds: list[float]) -> float:
    """Return the 99th percentile, in milliseconds."""
    return sorted(seconds)[max(0, -(-len(seconds) * 99 // 100) - 1)] * 1000


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    kinds = {"idle": None, "download": False, "windowed": True}
    took: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    alone: dict[str, list[float]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        index, storage = stack.enter_context(owners())["index"], stack.enter_context(owners())["storage"]
        cid = put(storage, options.megabytes)
        settings = {"owners.index.url": index, "owners.storage.url": storage, "facets.media.enabled": "true"}
        settings |= {f"{section}.listen": "127.0.0.1:0" for section in ("http", "oap", "admin")}
        settings |= {"drain.grace": "0s", "log.format": "json"}
        flags = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
        _, found = stack.enter_context(running([*_OWN, "run", *flags], _READY))
        for _ in range(options.rounds):
            for kind, windowed in kinds.items():
                seconds, rate = beside(found["oap"], cid, options.calls, windowed)
                took[kind].append(seconds)
                rates[kind].append(rate)
                if windowed is not None:
                    alone[kind].append(throughput(found["oap"], cid, windowed))
    print(f"{options.calls} small calls, {options.megabytes} MiB, {options.rounds} rounds; medians over them")
    print(f"{'beside':10} {'p50 ms':>8} {'p99 ms':>8} {'ratio':>6} {'MB/s':>8} {'MB/s alone':>11}")
    idle = statistics.median(map(p99_ms, took["idle"]))
    worst = 0.0
    for kind in kinds:
        p50 = statistics.median(statistics.median(each) * 1000 for each in took[kind])
        p99 = statistics.median(map(p99_ms, took[kind]))
        ratio = statistics.median(
            p99_ms(each) / p99_ms(base) for each, base in zip(took[kind], took["idle"], strict=True)
        )
        line = f"{kind:10} {p50:8.2f} {p99:8.2f} {ratio:6.2f}"
        if kind != "idle":
            worst = max(worst, ratio)
            line += f" {statistics.median(rates[kind]):8.0f} {statistics.median(alone[kind]):11.0f}"
        print(line)
    print(f"idle p99 {idle:.2f} ms; worst ratio {worst:.2f} (target < {TARGET_RATIO:.0f})")
    return 0 if worst < TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
