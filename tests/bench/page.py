"""Puts the figures of a saved run into ``docs/PERFORMANCE.rst``: ``python -m tests.bench.page``.

What stands between the two comments of the page is made from ``docs/perf/oap_frame_perf.json`` and from
nothing else, and so is the plot; the bench calls this when it saves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.bench.plot import SOURCE, draw
from tests.bench.tables import table, verdict

PAGE: Final = SOURCE.parents[1] / "PERFORMANCE.rst"
BEGIN: Final = ".. The figures begin: python -m tests.bench.page\n"
END: Final = ".. The figures end.\n"
_KINDS: Final = {
    "ping": "micronode, PING",
    "echo": "bare Twisted, echoing PING",
    "node": "micronode, null facet",
    "logging": "the same, with its access log",
    "bare": "bare Twisted",
    "json": "bare Twisted, JSON heads",
}


def _value(row: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1024:,.1f} KiB" if row["unit"] == "B" else f"{value:.2f}"


def figures(document: Mapping[str, Any]) -> str:
    """Return what the page says of a saved run."""
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    targets = [
        (
            row["name"],
            _value(row, row["value"]),
            ("at most " if row["most"] else "at least ") + _value(row, row["target"]),
            verdict(row["met"]),
        )
        for row in document["rows"]
        if row["target"] is not None
    ]
    others = [(row["name"], _value(row, row["value"])) for row in document["rows"] if row["target"] is None]
    saved = document["figures"]
    decoded = [
        (name, f"{saved['decode 64'][name]:,}", f"{saved['decode 65536'][name]:,}")
        for name in saved["decode 64"]
    ]
    pairs = [
        (spelled, f"{saved['pairs'][kind]:,}", f"{saved['pairs per CPU second'][kind]:,}")
        for kind, spelled in _KINDS.items()
    ]
    shares = [(part, f"{share:.0%}") for part, share in saved["shares"].items() if share >= 0.01]
    parts = (
        f"Measured on {document['date']}, {document['cpus']} CPUs ({document['machine']}):\n{versions}.\n",
        table(("What", "measured", "target", ""), targets),
        "Without a target:\n",
        table(("What", "measured"), others),
        "Frames a second of CPU time:\n",
        table(("Decoder", "64 B", "64 KiB"), decoded),
        "Requests with replies a second, on the wall and of the node's CPU time:\n",
        table(("Node", "wall", "CPU"), pairs),
        "Where the time of a call of the null facet goes, by cProfile:\n",
        table(("Part", "share"), shares),
    )
    return "\n".join(parts)


def filled(page: str, document: Mapping[str, Any]) -> str:
    """Return *page* with the figures of *document*."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{figures(document)}\n{END}{after}"


def write(document: Mapping[str, Any]) -> None:
    """Draw the plot, and fill the page."""
    SOURCE.with_suffix(".svg").write_text(draw(document), "utf-8")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), document), "utf-8")


if __name__ == "__main__":
    write(json.loads(SOURCE.read_text("utf-8")))
