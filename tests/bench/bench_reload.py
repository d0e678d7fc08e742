"""Reloads under load: what SIGHUPs, one in ten of them with a file that is refused, cost callers and node.

    python -m tests.bench.bench_reload [--reloads 1000]

Starts reference owners twice and a node with a configuration file, and calls it all the time: over HTTP and
over OAP/1, on connections that are kept and on new ones, small calls and downloads. Meanwhile the file is
written anew and a SIGHUP is sent, over and over, each as soon as the one before is counted in the node's
metrics. The files differ in gates, timeouts, limits, the log's level, in which of the two index owners is
asked, or both, and in whether the graph is served. The node must be ready all the time. Exits with 1 when a
call failed, a descriptor is left over, a reload was not counted as it should be, or the node's resident
memory grew by more than 5 %.

``tests/integration/test_reload_load.py`` runs a few dozen of them without the bound on memory.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.bench.bench_fairness import Caller, owners
from tests.bench.bench_streaming import put, rss_mib

RELOADS = 1000
MAX_GROWTH = 0.05
#: One file in so many is refused.
BAD_EVERY = 10
_OBJECT_MIB = 1
_PATIENCE_S = 30.0
#: Callers of each kind; together fewer than the smallest gate that a file sets.
_CALLERS = 3
#: A caller's pause between two calls, so that node and driver have their turns on two processors.
_PAUSE_S = 0.002


@attrs.define
class Report:
    """What came of a run."""

    reloads: Counter[str] = attrs.field(factory=Counter)
    expected: Counter[str] = attrs.field(factory=Counter)
    calls: Counter[str] = attrs.field(factory=Counter)
    #: What went wrong with how many calls.
    failures: Counter[str] = attrs.field(factory=Counter)
    shas: int = 0
    descriptors: tuple[int, int] = (0, 0)
    rss_mib: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """How much of its memory the node grew by."""
        return self.rss_mib[1] / self.rss_mib[0] - 1

    def __str__(self) -> str:
        calls = ", ".join(f"{count} {kind}" for kind, count in sorted(self.calls.items()))
        return (
            f"{sum(self.reloads.values())} reloads in {self.seconds:.1f} s: {dict(self.reloads)} "
            f"(expected {dict(self.expected)}), {self.shas} configurations\n"
            f"calls: {calls}; failed: {dict(self.failures) or 0}\n"
            f"descriptors {self.descriptors[0]} -> {self.descriptors[1]}, "
            f"RSS {self.rss_mib[0]:.1f} -> {self.rss_mib[1]:.1f} MiB ({self.growth:+.1%})"
        )


class Node:
    """``micronode run`` with a configuration file that is written anew again and again."""

    def __init__(self, folder: Path, urls: list[dict[str, str]]) -> None:
        self._file = folder / "micronode.toml"
        self._urls = urls
        self._random = random.Random(1)
        self._log = folder / "log"
        self._file.write_text(self._valid("info"), "utf-8")
        listen = [f"--{name}=127.0.0.1:0" for name in ("http", "admin", "oap")]
        environ = {name: text for name, text in os.environ.items() if not name.startswith("MICRONODE_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "micronode", "run", f"--config={self._file}", *listen],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
            )
        self.addresses: dict[str, str] = {}
        wait_for(self._is_running, self._explain)

    def _explain(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:]

    def _is_running(self) -> bool:
        text = self._explain()
        found = re.findall(r'"listener":"(\w+)","address":"([^"]+)"', text)
        self.addresses = dict(found)
        return len(self.addresses) == 3 and '"running"' in text

    def next_file(self, number: int) -> str:
        """Write the next configuration; return what is to come of it."""
        bad = number % BAD_EVERY == BAD_EVERY - 1
        text = self._invalid() if bad else self._valid(self._random.choice(("warning", "error")))
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(self._file)
        return "refused" if bad else "applied"

    def _valid(self, level: str) -> str:
        pick = self._random.randint
        index, storage = [each["index"] for each in self._urls], self._urls[0]["storage"]
        index = self._random.choice((index, index[:1], index[1:]))
        # Its callers know that the graph comes and goes.
        switches = {"graph": self._random.choice(("true", "false")), "search": "true", "media": "true"}
        facets = "\n".join(
            f'[facets.{name}]\nenabled = {switch}\nlimit = {pick(32, 96)}\ntimeout = "{pick(20, 30)}s"'
            for name, switch in switches.items()
        )
        return f"""
[limits]
max_inflight = {pick(32, 64)}
decompress_ratio = {pick(2, 10)}
max_chunk = "{pick(16, 64)}KiB"
[timeouts]
idle = "{pick(60, 90)}s"
stall = "{pick(20, 30)}s"
[http]
idle = "{pick(60, 90)}s"
[owners.index]
url = {index}
concurrency = {pick(32, 64)}
timeout = "{pick(20, 30)}s"
[owners.storage]
url = "{storage}"
concurrency = {pick(32, 64)}
{facets}
[drain]
grace = "0s"
[log]
level = "{level}"
"""

    def _invalid(self) -> str:
        return self._random.choice(
            (
                self._valid("info").replace("max_inflight", "max_inflite"),
                self._valid("info").replace("KiB", "KiX"),
                self._valid("info") + "[limits]\n",
                "\x00\x01 not TOML",
                self._valid("info") + '[tls]\ncertificate = "/nowhere"\n',
            )
        )

    def outcomes(self) -> Counter[str]:
        """Return how many reloads ended how, by the node's metrics."""
        body = self.ask("/metrics").decode("ascii")
        found = re.findall(r'^config_reloads_total\{outcome="(\w+)"\} (\S+)$', body, re.M)
        return Counter({name: int(float(count)) for name, count in found if float(count)})

    def until_reloaded(self, count: int) -> None:
        """Return when so many reloads are over."""
        wait_for(lambda: self.outcomes().total() >= count, lambda: f"{count}: {self.outcomes()}")

    def config_sha(self) -> str:
        """Return the digest of what is in force."""
        return str(json.loads(self.ask("/version"))["runtime"]["config_sha"])

    def ask(self, path: str) -> bytes:
        """Ask the admin plane, which must answer 200."""
        connection = connect(self.addresses["admin"])
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (path, answer.status, body)
            return body
        finally:
            connection.close()

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> int:
        """End it; return its exit code."""
        self.process.terminate()
        return self.process.wait(_PATIENCE_S)


def wait_for(look: Callable[[], bool], explain: Callable[[], str]) -> None:
    """Return when *look* says so."""
    until = time.monotonic() + _PATIENCE_S
    while not look():
        if time.monotonic() > until:
            raise AssertionError(f"not in time: {explain()}")
        time.sleep(0.002)


def connect(address: str) -> http.client.HTTPConnection:
    host, port = address.split(":")
    return http.client.HTTPConnection(host, int(port), timeout=_PATIENCE_S)


class Load:
    """Calls a node from threads until it is told to stop."""

    def __init__(self, node: Node, cid: str) -> None:
        self.calls: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._node = node
        self._cid = cid
        self._over = threading.Event()
        self._lock = threading.Lock()
        kinds = (self._kept, self._fresh, self._download, self._oap, self._graph, self._ready)
        self._threads = [
            threading.Thread(target=self._loop, args=(kind,)) for kind in kinds for _ in range(_CALLERS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the calls, and return when the last one has its answer."""
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE_S)
            assert not thread.is_alive(), "a call has no answer"

    def _loop(self, kind: Callable[[], Iterator[None]]) -> None:
        name = kind.__name__.strip("_")
        while not self._over.is_set():
            count = 0
            try:
                for _ in kind():
                    count += 1
                    if self._over.wait(_PAUSE_S):
                        break
            except (Exception, SystemExit) as error:
                with self._lock:
                    self.failures[f"{name}: {type(error).__name__} {error}"[:200]] += 1
            with self._lock:
                self.calls[name] += count

    def _get(
        self, connection: http.client.HTTPConnection, path: str, size: int | None = None, *, also: int = 200
    ) -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status not in (200, also) or (size is not None and len(body) != size):
            raise RuntimeError(f"{path.partition('?')[0]} {answer.status} {body[:120]!r}")

    def _kept(self) -> Iterator[None]:
        return self._on_one("http", "/app/search?q=reactor")

    def _graph(self) -> Iterator[None]:
        return self._on_one("http", "/app/graph/neighbors/klein?hops=1", also=404)

    def _ready(self) -> Iterator[None]:
        return self._on_one("admin", "/readyz")

    def _download(self) -> Iterator[None]:
        return self._on_one("http", f"/app/media/{self._cid}", _OBJECT_MIB << 20)

    def _on_one(self, plane: str, path: str, size: int | None = None, *, also: int = 200) -> Iterator[None]:
        """Ask the same on one connection, again and again."""
        connection = connect(self._node.addresses[plane])
        try:
            while True:
                self._get(connection, path, size, also=also)
                yield
        finally:
            connection.close()

    def _fresh(self) -> Iterator[None]:
        while True:
            connection = connect(self._node.addresses["http"])
            try:
                self._get(connection, "/app/search?q=reactor")
            finally:
                connection.close()
            yield

    def _oap(self) -> Iterator[None]:
        # A connection lasts for some calls: those of before a reload and those of after it are both there.
        caller = Caller(self._node.addresses["oap"])
        try:
            for _ in range(200):
                caller.call("reactor")
                yield
        finally:
            caller.close()


def soak(reloads: int, *, warm_up_s: float) -> Report:
    """Reload a node under load so many times; return what came of it.

    :param warm_up_s: of load alone, before memory and descriptors are counted.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as folder, owners() as one, owners() as other:
        cid = put(one["storage"], _OBJECT_MIB)
        node = Node(Path(folder), [one, other])
        try:
            with loaded(node, cid):
                time.sleep(warm_up_s)
            idle = _settled(node)
            with loaded(node, cid) as load:
                time.sleep(warm_up_s)
                before = rss_mib(node.process.pid)
                _reload(node, reloads, report)
                report.rss_mib = (before, rss_mib(node.process.pid))
            report.calls, report.failures = load.calls, load.failures
            report.reloads = node.outcomes()
            report.descriptors = (idle, _settled(node))
            code = node.stop()
            if code:
                report.failures[f"the node ended with {code}"] += 1
        finally:
            node.process.kill()
            node.process.wait(_PATIENCE_S)
    return report


@contextmanager
def loaded(node: Node, cid: str) -> Iterator[Load]:
    """Call the node until the block ends."""
    load = Load(node, cid)
    try:
        yield load
    finally:
        load.stop()


def _settled(node: Node) -> int:
    """Return how many descriptors the node has open once idle connections to owners are closed."""
    least = node.descriptors()
    until = time.monotonic() + 6.0  # POOL_IDLE_S and a moment
    while time.monotonic() < until:
        time.sleep(0.1)
        least = min(least, node.descriptors())
    return least


def _reload(node: Node, reloads: int, report: Report) -> None:
    seen = {node.config_sha()}
    begun = time.perf_counter()
    for number in range(reloads):
        report.expected[node.next_file(number)] += 1
        node.process.send_signal(signal.SIGHUP)
        node.until_reloaded(number + 1)
        if number % 50 == 0:
            seen.add(node.config_sha())
    report.seconds = time.perf_counter() - begun
    report.shas = len(seen)


def main() -> int:
    """Run the bench and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--reloads", type=int, default=RELOADS)
    report = soak(parser.parse_args().reloads, warm_up_s=10.0)
    print(report)
    fine = (
        not report.failures
        and report.reloads == report.expected
        and report.descriptors[1] <= report.descriptors[0]
        and report.growth <= MAX_GROWTH
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
