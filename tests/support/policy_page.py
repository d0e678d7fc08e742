"""What becomes of a call, by what its policy owner says and by ``owners.policy.fail``: the page's table.

``docs/architecture.rst``, "Policy", has it as :func:`table` writes it; ``tests/security/test_policy.py``
makes every row happen. ``python -m tests.support.policy_page`` prints it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

FAILS: Final = ("closed", "reads-open", "open")
ON: Final = "goes on"
FORBIDDEN: Final = "403"
TOO_LARGE: Final = "413"
UNAVAILABLE: Final = "503"


class Row(NamedTuple):
    """One situation, and what becomes of the call in it, by ``fail``."""

    name: str
    words: str
    answers: tuple[str, str, str]


ROWS: Final = (
    Row("none", "there is no policy owner", (ON, ON, ON)),
    Row("allow", "allow", (ON, ON, ON)),
    Row("deny", "deny", (FORBIDDEN,) * 3),
    Row("larger", "allow, and the body is longer than its ``max_bytes``", (TOO_LARGE,) * 3),
    Row("stale allow", "no answer; it was allow, at most 60 s past its ``ttl_s``", (ON, ON, ON)),
    Row("stale deny", "no answer; it was deny, at most 60 s past its ``ttl_s``", (FORBIDDEN,) * 3),
    Row("unknown read", "no answer, and nothing is known; a read", (UNAVAILABLE, ON, ON)),
    Row("unknown write", "no answer, and nothing is known; a write", (UNAVAILABLE, UNAVAILABLE, ON)),
    Row("too old read", "no answer; what was known is older; a read", (UNAVAILABLE, ON, ON)),
    Row("too old write", "no answer; what was known is older; a write", (UNAVAILABLE, UNAVAILABLE, ON)),
)


def table() -> str:
    """Return the table as reStructuredText."""
    header = ("what the owner says", *(f"``{fail}``" for fail in FAILS))
    cells = [header, *((row.words, *row.answers) for row in ROWS)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    rule = " ".join("=" * width for width in widths)
    lines = [
        " ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join((rule, lines[0], rule, *lines[1:], rule)) + "\n"


if __name__ == "__main__":
    print(table(), end="")
