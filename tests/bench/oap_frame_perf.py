"""How fast OAP/1 frames are decoded and answered, and what connections cost in memory.

    pip install -e '.[bench]'
    python -m tests.bench.oap_frame_perf [--quick] [--save]

Prints a table with targets; ``--save`` writes ``docs/perf/oap_frame_perf.json``, the plot beside it, and the
tables of ``docs/PERFORMANCE.rst``, which explains them. Peers run in the same rounds. Exits with 1 where a
target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from micronode import __version__
from micronode.oap.wire.limits import (
    CONNECTION_WINDOW_BYTES,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
)
from tests.bench import memory
from tests.bench.decode_peers import CONTESTANTS, oap
from tests.bench.load import Pairs, call_frame, pin, ping_frame, raise_open_files, running
from tests.bench.page import write
from tests.bench.plot import SOURCE
from tests.bench.rounds import interleave, ratio

#: Payload bytes -> frames a run, and peer -> the ratio to it that is wanted.
DECODE: Final[dict[int, tuple[int, dict[str, float]]]] = {
    64: (6_000, {"Int32StringReceiver": 1.3, "websockets": 6.0}),
    65_536: (120, {"Int32StringReceiver": 1.2, "memcpy": 0.35}),
}
#: A frame of 1 MiB in pieces of 1 KiB may cost this many times what four of 256 KiB cost; 4: quadratic.
LINEAR: Final = 1.6
CONNECTIONS, INFLIGHT = 64, 16
#: Name -> the kind of node, and what it is asked.
PAIRS: Final = {
    "ping": ("node", ping_frame),
    "echo": ("echo", ping_frame),
    "node": ("node", call_frame),
    "logging": ("logging", call_frame),
    "bare": ("bare", call_frame),
    "json": ("json", call_frame),
}
PAIRS_TARGET: Final = 0.5
IDLE_BYTES: Final = 16 * 1024
OUT_BYTES: Final = 256 * 1024

Row = dict[str, Any]


def row(name: str, value: float, target: float | None = None, *, most: bool = False, unit: str = "x") -> Row:
    """Return a row of the table.

    :param most: the target is what *value* may be at most.
    """
    met = None if target is None else (value <= target if most else value >= target)
    digits = 3 if unit == "x" else 0
    return {
        "name": name,
        "value": round(value, digits) if digits else round(value),
        "unit": unit,
        "target": target,
        "most": most,
        "met": met,
    }


def decode(rounds: int, figures: dict[str, Any]) -> Iterator[Row]:
    """Measure how fast frames are decoded."""
    for size, (count, targets) in DECODE.items():
        payload = b"x" * size
        runs = {name: make(payload, count) for name, make in CONTESTANTS.items()}
        times = interleave(runs, rounds)
        figures[f"decode {size}"] = {
            name: round(count / statistics.median(seconds)) for name, seconds in times.items()
        }
        for peer in list(CONTESTANTS)[1:]:
            yield row(f"decode {size} B, to {peer}", ratio(times, "micronode", peer), targets.get(peer))
    largest = bytes(MAX_FRAME_BYTES - HEADER_BYTES)
    quarter = largest[: len(largest) // 4]
    largest = quarter * 4
    for name, max_chunk in (("taken", MAX_FRAME_BYTES), ("skipped", 65_536)):
        # Four times the payload of one run in the other: each does the same work.
        whole = oap(largest, 2, piece=1_024, max_chunk=max_chunk)
        parts = oap(quarter, 8, piece=1_024, max_chunk=max_chunk)
        times = interleave({"whole": whole, "parts": parts}, rounds)
        yield row(
            f"1 MiB in 1 KiB pieces, {name}, to 4 x 256 KiB",
            ratio(times, "parts", "whole"),
            LINEAR,
            most=True,
        )


def pairs(rounds: int, seconds: float, figures: dict[str, Any]) -> Iterator[Row]:
    """Measure requests with their replies: each kind of node on one processor, the callers on another."""
    pin(1 if (os.cpu_count() or 1) > 1 else None)
    rates: dict[str, list[float]] = {name: [] for name in PAIRS}
    costs: dict[str, list[float]] = {name: [] for name in PAIRS}
    for _ in range(rounds):
        for name, (kind, make) in PAIRS.items():
            with running(kind, "--cpu", "0") as node:
                load = Pairs(
                    node.port,
                    make(),
                    connections=CONNECTIONS,
                    inflight=INFLIGHT,
                    hello=kind in ("node", "logging"),
                )
                load.begin()
                load.run(seconds / 4)
                before = node.ask("memory")["cpu_s"]
                answered, took = load.run(seconds)
                costs[name].append((node.ask("memory")["cpu_s"] - before) / answered)
                rates[name].append(answered / took)
                load.close()
    figures["pairs"] = {name: round(statistics.median(rates[name])) for name in PAIRS}
    figures["pairs per CPU second"] = {name: round(1 / statistics.median(costs[name])) for name in PAIRS}
    for name, one, other, target in (
        ("PING pairs, to bare Twisted", "ping", "echo", PAIRS_TARGET),
        ("null facet pairs, to bare Twisted", "node", "bare", PAIRS_TARGET),
        ("null facet pairs, to bare Twisted with JSON heads", "node", "json", None),
        ("bare Twisted with JSON heads, to bare Twisted", "json", "bare", None),
        ("null facet pairs with an access log, to without", "logging", "node", None),
    ):
        value = statistics.median(
            theirs / ours for ours, theirs in zip(costs[one], costs[other], strict=True)
        )
        yield row(name, value, target)


def shares(figures: dict[str, Any]) -> Iterator[Row]:
    """Find out where the time of a null facet's call goes; these are figures, not rows."""
    with running("node", "--cpu", "0") as node:
        load = Pairs(node.port, call_frame(), connections=CONNECTIONS, inflight=INFLIGHT, hello=True)
        load.begin()
        load.run(0.5)
        node.ask("profile")
        load.run(2.0)
        figures["shares"] = node.ask("profile")
        load.close()
    yield from ()


def held(figures: dict[str, Any]) -> Iterator[Row]:
    """Measure what connections cost in memory."""
    raise_open_files()
    inward = CONNECTION_WINDOW_BYTES + MAX_FRAME_BYTES
    for name, measured, most, resident in (
        ("idle connection", memory.idle(), IDLE_BYTES, IDLE_BYTES),
        ("64 windowed uploads that nobody takes", memory.uploads(windowed=True), inward, inward),
        ("64 uploads that nobody takes", memory.uploads(windowed=False), inward, inward),
        # What is bounded is what waits; pieces of 64 KiB that come and go leave holes beside it.
        ("64 downloads that nobody reads", memory.downloads(), OUT_BYTES, None),
    ):
        figures[name] = {key: round(value) for key, value in measured.items()}
        yield row(f"{name}, resident", measured["rss"], resident, most=True, unit="B")
        yield row(f"{name}, traced", measured["traced"], most, most=True, unit="B")


def show(one: Row) -> str:
    """Return a row as a line of the table."""
    value = f"{one['value']:,}" if one["unit"] == "B" else f"{one['value']:.2f}"
    target = "" if one["target"] is None else f"{'<=' if one['most'] else '>='} {one['target']:,}"
    verdict = {None: "", True: "pass", False: "MISS"}[one["met"]]
    return f"{one['name']:52}{value:>12} {one['unit']:2}{target:>14}  {verdict}"


def versions() -> dict[str, str]:
    """Return what ran."""
    names = ("Twisted", "hyperframe", "wsproto", "websockets", "msgpack")
    return {"micronode": __version__, "Python": platform.python_version()} | {
        name: version(name) for name in names
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: for a look, not to quote")
    parser.add_argument("--save", action="store_true", help="write the figures into docs/")
    options = parser.parse_args(arguments)
    quick = options.quick
    figures: dict[str, Any] = {}
    rows = []
    for section in (
        decode(5 if quick else 31, figures),
        held(figures),
        pairs(1 if quick else 5, 1.0 if quick else 2.0, figures),
        shares(figures),
    ):
        for one in section:
            rows.append(one)
            print(show(one), flush=True)
    if options.save:
        document = {
            "date": datetime.now(UTC).date().isoformat(),
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "versions": versions(),
            "rows": rows,
            "figures": figures,
        }
        SOURCE.parent.mkdir(exist_ok=True)
        SOURCE.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        write(document)
    return int(any(one["met"] is False for one in rows))


if __name__ == "__main__":
    sys.exit(main())
