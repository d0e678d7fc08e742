"""Draws the figures of ``oap_frame_perf`` as an SVG: bars on logarithmic axes, dark on light everywhere.

The background is part of the picture, so it reads the same in a page with a dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

SOURCE: Final = Path(__file__).resolve().parents[2] / "docs" / "perf" / "oap_frame_perf.json"
_WIDTH, _LABEL, _BAR, _GAP = 760, 190, 16, 7
#: Room at the right for the figure at the end of the longest bar.
_RIGHT: Final = 90
_OURS, _OTHERS, _INK, _FAINT, _PAPER = "#0b5fae", "#9aa5b1", "#1c2733", "#d5dbe1", "#ffffff"
_NAMES: Final = {
    "ping": "micronode, PING",
    "echo": "bare Twisted, PING",
    "node": "micronode, null facet",
    "logging": "micronode, access log",
    "bare": "bare Twisted",
    "json": "bare Twisted, JSON heads",
}
#: Title, axis, and the key of the figures.
_PANELS: Final = (
    ("Decoding, 64-byte payloads", "frames per second of CPU time (log)", "decode 64"),
    ("Decoding, 64 KiB payloads", "frames per second of CPU time (log)", "decode 65536"),
    (
        "Requests with replies over loopback",
        "pairs per second of the node's CPU time (log)",
        "pairs per CPU second",
    ),
)


def _spell(value: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {letter}"
    return f"{value:.3g}"


def _text(x: float, y: float, words: str, anchor: str = "start", rest: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" {rest}>{escape(words)}</text>'


def _panel(top: int, title: str, axis: str, figures: Mapping[str, float]) -> tuple[list[str], int]:
    """Return the elements of one panel, and where it ends."""
    # Lower than the least, so that its bar is to be seen.
    low = 10 ** math.floor(math.log10(min(figures.values()) / 1.5))
    high = max(figures.values())
    span = math.log10(high / low)
    width = _WIDTH - _LABEL - _RIGHT

    def at(value: float) -> float:
        return _LABEL + width * math.log10(value / low) / span

    parts = [_text(12, top + 18, title, rest='font-weight="bold" font-size="15"')]
    first = top + 32
    bottom = first + len(figures) * (_BAR + _GAP)
    for power in range(round(math.log10(low)), math.floor(math.log10(high)) + 1):
        x = at(10.0**power)
        parts.append(f'<path d="M{x:.0f} {first}V{bottom}" stroke="{_FAINT}"/>')
        parts.append(_text(x, bottom + 15, _spell(10.0**power), "middle", 'font-size="11"'))
    for number, (name, value) in enumerate(figures.items()):
        y = first + number * (_BAR + _GAP)
        ours = name in ("micronode", "ping", "node", "logging")
        end = at(value)
        parts.append(_text(_LABEL - 8, y + 13, _NAMES.get(name, name), "end"))
        parts.append(
            f'<rect x="{_LABEL}" y="{y}" width="{max(2.0, end - _LABEL):.0f}" height="{_BAR}"'
            f' fill="{_OURS if ours else _OTHERS}"/>'
        )
        parts.append(_text(end + 6, y + 13, _spell(value)))
    parts.append(_text(_LABEL + width / 2, bottom + 31, axis, "middle", 'font-size="12"'))
    return parts, bottom + 48


def draw(document: Mapping[str, Any]) -> str:
    """Return the plot of a saved run."""
    parts: list[str] = []
    top = 8
    for title, axis, key in _PANELS:
        panel, top = _panel(top, title, axis, document["figures"][key])
        parts += panel
    about = f"{document['date']}, Python {document['versions']['Python']}, {document['cpus']} CPUs"
    parts.append(_text(_WIDTH - 12, top + 8, about, "end", 'font-size="11"'))
    height = top + 20
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
            f' height="{height}" font-family="sans-serif" font-size="13" fill="{_INK}" role="img">',
            "<title>OAP/1 frames: micronode and its peers</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>',
            *parts,
            "</svg>\n",
        )
    )
