"""A configuration as text: ``micronode config show`` and ``micronode config init``, from the table alone.

Both texts are TOML that the node reads back to the same values.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

from micronode.config.kinds import Key, plain
from micronode.config.schema import KEYS, Config
from micronode.config.table import NAMED, PLAIN

_WIDTH: Final = 100
_NOT_BUILT: Final = "not available yet"
_HEAD: Final = """\
# micronode: every key with its default. Take away the # of a line to change it.
#
# Flag > environment (MICRONODE_<SECTION>_<KEY>) > this file > profile > default. Durations: "500ms",
# "5s", "2m", "1h". Sizes: "64KiB", "1.5GiB", or whole bytes. micronode check CONFIG tells what is wrong,
# micronode config show where each value comes from.

# Files below this one's folder whose settings are taken, too; this file counts more.
# include = ["owners.toml"]
"""


def shown_as_toml(config: Config) -> str:
    """Return every key of *config* as TOML, each with its source in a comment."""
    parts = [f"# config_sha = {config.sha()}"]
    for section, rows in _by_section(config.rows()):
        parts.append(f"\n[{section}]")
        for row, value in rows:
            mark = "" if row.built else f" ({_NOT_BUILT})"
            parts.append(f"{row.name} = {row.toml(value)}  # {config.source(row.path)}{mark}")
    return "\n".join(parts)


def shown_as_json(config: Config) -> dict[str, Any]:
    """Return every key of *config* with value, source, whether it is built and when it takes effect."""
    return {
        "config_sha": config.sha(),
        "keys": {
            row.path: {
                "value": plain(value),
                "source": config.source(row.path),
                "unit": row.unit,
                "built": row.built,
                "reload": row.reload,
            }
            for row, value in config.rows()
        },
    }


def initial() -> str:
    """Return a file that sets nothing and says of every key what it is."""
    parts = [_HEAD]
    for section, rows in _by_section((row, row.default) for row in KEYS.values()):
        group, _, name = section.partition(".")
        cls = NAMED[group][0] if name else PLAIN[section]
        lines = [f"[{section}]"]
        if not name or name == NAMED[group][1][0]:
            lines.insert(0, f"# {cls.__doc__.splitlines()[0]}")
        for row, value in rows:
            lines += textwrap.wrap(
                described(row), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
            )
            lines.append(f"# {row.name} = {row.toml(value)}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts).rstrip()


def described(row: Key) -> str:
    """Return what *row* is, what it takes and when a change takes effect, in a few sentences."""
    takes = row.form[0].upper() + row.form[1:]
    within = f", {row.range}" if row.range else ""
    restart = " Needs a restart." if row.reload == "restart" else ""
    return f"{row.doc} {takes}{within}.{restart}{'' if row.built else ' Not available yet.'}"


def _by_section(
    pairs: Iterable[tuple[Key, Any]],
) -> Iterator[tuple[str, list[tuple[Key, Any]]]]:
    sections: dict[str, list[tuple[Key, Any]]] = {}
    for row, value in pairs:
        sections.setdefault(row.path.rpartition(".")[0], []).append((row, value))
    yield from sections.items()
