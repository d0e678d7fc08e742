"""Tables as the pages have them."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a simple table of reStructuredText; the first column must not be empty."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    spelled = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *lines)
    ]
    return "\n".join((rule, spelled[0], rule, *spelled[1:], rule)) + "\n"


def verdict(met: bool | None) -> str:
    """Return what a table says of a target; empty where there is none."""
    return {None: "", True: "met", False: "**missed**"}[met]
