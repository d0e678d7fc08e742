"""A facet call through a node, against the same request through aiohttp with uvloop and through nginx.

    pip install -e '.[bench]'                  # and nginx, wrk and taskset
    python -m tests.bench.bench_proxy [--before CHECKOUT] [--json FILE] [--profile] [--save]

The owner is an nginx that answers 1 KiB of JSON. Before it stands, one at a time and each pinned to one
processor: a node (``graph.resolve`` over HTTP, and over OAP/1), aiohttp with uvloop, nginx's ``proxy_pass``;
on the other processor the owner and the callers: wrk with 64 kept connections over HTTP, over OAP/1 16
connections with 16 calls in flight on each. The node admits, measures and writes its access log to a file.
aiohttp and nginx log nothing, and aiohttp has no timeouts and collects small answers; ``aiohttp, usual``, to
which the targets are held, is as one would run it, with its timeouts and access log, and passes answers on as
they come (``aiohttp_proxy.py``). ``naive`` is Klein and treq in ten lines, and ``bare Twisted, OAP`` what is
left of the node without anything that it is for (``twisted_proxy.py``). With ``--before``, a node of another
checkout takes its turn, too.

The targets were set where naive Klein and treq have a quarter of aiohttp's calls: that is the usual one. To
the bare one the same ratios are printed beside it.

By turns within each round; a ratio is the median of the rounds' ratios. ``CPU`` is by the processor's time
that a server takes for a request, which other work on the machine disturbs least, and what the targets are
held to; ``wall`` is by the requests of a second, which says the same on a quiet machine, but for nginx, whose
callers and owner may be what is slow. Exits with 1 where a target is missed. A run takes two minutes;
``--profile`` says where a call's time goes, too, and needs py-spy.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from micronode.oap.wire.profiles import Profile
from tests.bench import regions
from tests.bench.load import pin
from tests.bench.oap_calls import Calls
from tests.bench.proxy_peers import (
    CALLERS_CPU,
    Server,
    aiohttp_proxy,
    nginx_proxy,
    node,
    owner,
    twisted_proxy,
)
from tests.bench.shares import watched

CONNECTIONS: Final = 64
OAP_CONNECTIONS: Final = 16
OAP_INFLIGHT: Final = 16
#: Contestant -> how many times as fast as aiohttp it has to be, which does no more than a proxy must.
TARGETS: Final = {"node, HTTP": 0.6, "node, OAP": 2.0}
_PATH: Final = "/app/graph/resolve/name:bench"
_ANSWERED: Final = re.compile(r"^\s*(\d+) requests in ", re.M)
_P99: Final = re.compile(r"^\s*99%\s+([\d.]+)(us|ms|s)$", re.M)
_MS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Sample(NamedTuple):
    """What one turn came to."""

    #: Requests a second, of the wall and of the server's CPU time.
    wall: float
    cpu: float
    #: Milliseconds; None: not known.
    p99_ms: float | None


def over_http(server: Server, seconds: float) -> Sample:
    """Ask *server* with wrk.

    :raises SystemExit: it answered badly, or not at all.
    """
    url = f"http://127.0.0.1:{server.ports['http']}{_PATH}"
    before = server.cpu_s()
    said = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    cpu_s = server.cpu_s() - before
    answered, p99 = _ANSWERED.search(said), _P99.search(said)
    if answered is None or p99 is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{url} is not answered as it should be:\n{said}")
    count = int(answered[1])
    return Sample(count / seconds, count / cpu_s, float(p99[1]) * _MS[p99[2]])


def over_oap(server: Server, seconds: float) -> Sample:
    """Ask *server* over OAP/1."""
    args = {"key": "name:bench"}
    calls = Calls(
        server.ports["oap"],
        Profile.GRAPH,
        "resolve",
        args,
        connections=OAP_CONNECTIONS,
        inflight=OAP_INFLIGHT,
    )
    before = server.cpu_s()
    count, took = calls.run(seconds)
    cpu_s = server.cpu_s() - before
    calls.close()
    return Sample(count / took, count / cpu_s, None)


class Contestants:
    """Whoever takes part, by name.

    :param before: another checkout, whose node takes part, too.
    """

    def __init__(self, stack: ExitStack, before: Path | None) -> None:
        url = stack.enter_context(owner())
        ours = stack.enter_context(node(url))
        usual = stack.enter_context(aiohttp_proxy(url, "usual"))
        aiohttp, nginx = stack.enter_context(aiohttp_proxy(url)), stack.enter_context(nginx_proxy(url))
        self.turns: dict[str, tuple[Callable[[Server, float], Sample], Server]] = {
            "node, HTTP": (over_http, ours),
            "node, OAP": (over_oap, ours),
        }
        if before is not None:
            theirs = stack.enter_context(node(url, before.resolve()))
            self.turns |= {
                "before, HTTP": (over_http, theirs),
                "before, OAP": (over_oap, theirs),
            }
        self.turns |= {
            "aiohttp": (over_http, aiohttp),
            "aiohttp, usual": (over_http, usual),
            "nginx": (over_http, nginx),
            "naive": (over_http, stack.enter_context(twisted_proxy(url, "naive"))),
            "bare Twisted, OAP": (over_oap, stack.enter_context(twisted_proxy(url, "bare"))),
        }

    def run(self, rounds: int, seconds: float) -> dict[str, list[Sample]]:
        """Let all of them take their turns."""
        samples: dict[str, list[Sample]] = {name: [] for name in self.turns}
        for ask, server in self.turns.values():
            ask(server, 1)
        for _ in range(rounds):
            for name, (ask, server) in self.turns.items():
                samples[name].append(ask(server, seconds))
        return samples

    def shares(self) -> dict[str, dict[str, float]]:
        """Return where a call's time goes, by contestant and part, for the node's."""
        found = {}
        for name in TARGETS:
            ask, server = self.turns[name]
            found[name] = watched(server.pid, 5, lambda ask=ask, server=server: ask(server, 7))  # type: ignore[misc]
        return found


def ratio(samples: dict[str, list[Sample]], one: str, other: str, by: str) -> float:
    """Return how many times as fast *one* is as *other*: the median over the rounds.

    :param by: ``cpu`` or ``wall``.
    """
    pairs = zip(samples[one], samples[other], strict=True)
    return statistics.median(getattr(ours, by) / getattr(theirs, by) for ours, theirs in pairs)


def rows(samples: dict[str, list[Sample]]) -> list[dict[str, object]]:
    """Return the table, a row for each contestant."""
    table: list[dict[str, object]] = []
    for name, each in samples.items():
        p99s = [sample.p99_ms for sample in each if sample.p99_ms is not None]
        to_usual, target = ratio(samples, name, "aiohttp, usual", "cpu"), TARGETS.get(name)
        row: dict[str, object] = {
            "name": name,
            "wall": round(statistics.median(sample.wall for sample in each)),
            "cpu": round(statistics.median(sample.cpu for sample in each)),
            "p99_ms": round(statistics.median(p99s), 1) if p99s else None,
            "to_aiohttp_cpu": round(ratio(samples, name, "aiohttp", "cpu"), 3),
            "to_aiohttp_wall": round(ratio(samples, name, "aiohttp", "wall"), 3),
            "to_usual_cpu": round(to_usual, 3),
            "to_nginx_cpu": round(ratio(samples, name, "nginx", "cpu"), 3),
            "target": target,
            "met": None if target is None else to_usual >= target,
        }
        was = name.replace("node", "before")
        if name in TARGETS and was in samples:
            row["to_before_cpu"] = round(ratio(samples, name, was, "cpu"), 3)
        table.append(row)
    return table


def show(table: list[dict[str, object]]) -> None:
    """Print *table*."""
    head = (
        "",
        "req/s",
        "req/CPU s",
        "p99 ms",
        "to aiohttp",
        "by wall",
        "to usual",
        "to nginx",
        "to before",
        "target",
        "",
    )
    print("{:18}{:>9}{:>11}{:>8}{:>12}{:>9}{:>9}{:>10}{:>11}{:>8}  {}".format(*head))
    for row in table:
        verdict = {None: "", True: "met", False: "MISSED"}[row["met"]]  # type: ignore[index]
        cells = [row[key] for key in ("name", "wall", "cpu", "p99_ms", "to_aiohttp_cpu", "to_aiohttp_wall")]
        cells += [row["to_usual_cpu"], row["to_nginx_cpu"], row.get("to_before_cpu"), row["target"], verdict]
        spelled = ["" if cell is None else str(cell) for cell in cells]
        print("{:18}{:>9}{:>11}{:>8}{:>12}{:>9}{:>9}{:>10}{:>11}{:>8}  {}".format(*spelled))


def main() -> int:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2, help="of a turn")
    parser.add_argument("--profile", action="store_true", help="say where the time goes, too")
    parser.add_argument("--json", type=Path, help="where to write the figures, each turn's too")
    parser.add_argument("--save", action="store_true", help="write the figures into docs/")
    options = parser.parse_args()
    about = regions.about("aiohttp", "uvloop", nginx=True)
    pin(CALLERS_CPU if (os.cpu_count() or 1) > 1 else None)
    with ExitStack() as stack:
        contestants = Contestants(stack, options.before)
        samples = contestants.run(options.rounds, options.seconds)
        table = rows(samples)
        show(table)
        shares = contestants.shares() if options.profile else {}
    for name, parts in shares.items():
        print(name)
        for part, share in parts.items():
            print(f"  {share:6.1%}  {part}")
    if options.save:
        regions.PROXY.save(about | {"rounds": options.rounds, "rows": table})
    if options.json is not None:
        document = {
            "rows": table,
            "shares": shares,
            "turns": {name: [sample._asdict() for sample in each] for name, each in samples.items()},
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return int(any(row["met"] is False for row in table))


if __name__ == "__main__":
    sys.exit(main())
