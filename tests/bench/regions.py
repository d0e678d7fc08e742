"""Parts of ``docs/PERFORMANCE.rst`` that benches write: ``python -m tests.bench.NAME --save``.

What stands between the two comments of a region is made from ``docs/perf/NAME.json``, which the bench saves,
and from nothing else. ``python -m tests.bench.regions`` makes all of them anew.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import attrs

from micronode import __version__
from tests.bench.page import PAGE
from tests.bench.plot import SOURCE
from tests.bench.tables import table, verdict

Document = Mapping[str, Any]


def about(*distributions: str, nginx: bool = False) -> dict[str, Any]:
    """Return what is saved of a run's circumstances, to be asked before it begins.

    :param distributions: what runs beside micronode, Python and Twisted, and is told of by its version.
    :param nginx: whether nginx does, too.
    """
    theirs = {name: version(name) for name in ("Twisted", *distributions)}
    if nginx:
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        theirs["nginx"] = said.strip().rpartition("/")[2]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"micronode": __version__, "Python": platform.python_version()} | theirs,
    }


@attrs.frozen
class Region:
    """A part of the page.

    :ivar name: of the bench, and of what it saves.
    :ivar figures: makes the part from what was saved.
    """

    name: str
    figures: Callable[[Document], str]

    @property
    def begin(self) -> str:
        """The comment before it."""
        return f".. The figures of {self.name} begin: python -m tests.bench.{self.name} --save\n"

    @property
    def end(self) -> str:
        """The comment behind it."""
        return f".. The figures of {self.name} end.\n"

    @property
    def source(self) -> Path:
        """What was saved."""
        return SOURCE.parent / f"{self.name}.json"

    def load(self) -> dict[str, Any]:
        """Return what was saved."""
        found: dict[str, Any] = json.loads(self.source.read_text("utf-8"))
        return found

    def filled(self, page: str, document: Document) -> str:
        """Return *page* with the figures of *document*."""
        before, rest = page.split(self.begin)
        _, after = rest.split(self.end)
        return (
            f"{before}{self.begin}\n{_circumstances(document)}\n{self.figures(document)}\n{self.end}{after}"
        )

    def save(self, document: Document) -> None:
        """Write *document*, and the part of the page; what is NaN there was not measured."""
        document = json.loads(json.dumps(document), parse_constant=lambda name: None)
        self.source.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        PAGE.write_text(self.filled(PAGE.read_text("utf-8"), document), "utf-8")


def _circumstances(document: Document) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    load = "" if document["load"] is None else f", load average {document['load']} before"
    on = f"Measured on {document['date']}, {document['cpus']} CPUs ({document['machine']})"
    return f"{on}{load}:\n{versions}.\n"


def _number(value: float | None, digits: int = 0) -> str:
    """Spell *value*; nothing where there is none."""
    return "" if value is None else f"{value:,.{digits}f}"


def _step(step: Document, *, of_the_node: bool) -> tuple[str, ...]:
    return (
        step["name"],
        _number(step["offered"]),
        _number(step["good"]),
        f"{step['shed' if of_the_node else 'refused']:.0%}",
        *(_number(step[name], 1) for name in ("admitted_p50", "admitted_p99", "refused_p99")),
        f"{step['cpu']:.0%}",
        _number(step["late"], 1),
    )


def _walk(document: Document) -> str:
    columns = ("calls/s", "good/s", "{0}", "p50 ms", "p99 ms", "{0}'s p99 ms", "node CPU", "late ms")

    def head(first: str, status: int) -> list[str]:
        return [first, *(column.format(status) for column in columns)]

    targets = [
        (
            target["what"],
            _number(target["figure"], 2) or "not told",
            f"at {'most' if target['most'] else 'least'} {target['bound']:g}",
            verdict(target["met"]),
        )
        for target in document["targets"]
    ]
    seconds = f"{document['seconds']:g} s a step; medians of {document['rounds']} rounds"
    return "\n".join(
        (
            f"*A slow owner*, {seconds}:\n",
            table(head("gates", 429), [_step(each, of_the_node=False) for each in document["steps"]]),
            "*A node without time*:\n",
            table(head("what", 503), [_step(each, of_the_node=True) for each in document["crowded"]]),
            "What is to be reached:\n",
            table(("what", "measured", "target", ""), targets),
        )
    )


def _hostile(document: Document) -> str:
    lines = []
    for day in document["days"]:
        ends = ", ".join(f"{count:,} times {status}" for status, count in day["statuses"].items()) or "-"
        lines.append(
            (
                day["what"],
                f"{day['median_ms']:.1f} ms",
                f"{day['p99_ms']:.1f} ms",
                verdict(day["met"]),
                f"{day['memory_mib']} MiB",
                ends,
            )
        )
    head = ("what the others do", "median", "p99", "", "node RSS", "what became of them, by its log")
    idle = f"{document['idle_answering']:,} of {document['idle']:,} idle connections answered in the end."
    most = f"p99 is to be below {document['target_ms']:g} ms."
    return (
        f"{document['connections']:,} connections of slowhttptest; {most}\n\n{table(head, lines)}\n{idle}\n"
    )


def _proxy(document: Document) -> str:
    lines = [
        (
            row["name"],
            _number(row["wall"]),
            _number(row["cpu"]),
            "" if row["p99_ms"] is None else f"{row['p99_ms']:.0f} ms",
            *(_number(row[f"to_{peer}_cpu"], 2) for peer in ("aiohttp", "usual", "nginx")),
            "" if row["target"] is None else f"{row['target']:g}",
            verdict(row["met"]),
        )
        for row in document["rows"]
    ]
    head = (
        *("What", "calls/s", "calls/CPU s", "p99", "to aiohttp", "to usual", "to nginx"),
        *("target", ""),
    )
    return (
        f"Medians of {document['rounds']} rounds; ratios are medians of each round's:\n\n{table(head, lines)}"
    )


def _streaming(document: Document) -> str:
    lines = [
        (
            row["name"],
            _number(row["wall"]),
            _number(row["cpu"]),
            _number(row["to_nginx_wall"], 2),
            _number(row["to_nginx_cpu"], 2),
            "" if row["target"] is None else f"{row['target']:g}",
            verdict(row["met"]),
        )
        for row in document["rows"]
    ]
    head = ("What", "MiB/s", "MiB/CPU s", "to nginx", "by CPU", "target", "")
    return f"{document['megabytes']} MiB, medians of {document['rounds']} rounds:\n\n{table(head, lines)}"


WALK: Final = Region("readiness_walk", _walk)
HOSTILE: Final = Region("hostile", _hostile)
PROXY: Final = Region("bench_proxy", _proxy)
STREAMING: Final = Region("bench_streaming", _streaming)
ALL: Final = (WALK, HOSTILE, PROXY, STREAMING)


if __name__ == "__main__":
    for each in ALL:
        each.save(each.load())
