"""``docs/CONFIG.rst``, made from the table of keys: ``python -m tests.support.config_page`` writes it.

``tests/config/test_page.py`` fails when it is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from micronode.config.documents import MAX_DEPTH, MAX_FILE_BYTES, MAX_FILES
from micronode.config.kinds import Key
from micronode.config.members import OWN
from micronode.config.schema import KEYS, PROFILES
from micronode.config.table import FLAGS, NAMED, PLAIN, SECTIONS, own_rows, rows_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "CONFIG.rst"
_HEAD: Final = f"""\
Configuration
=============

.. Made by ``python -m tests.support.config_page`` from the table of keys; not edited by hand.

Flag > environment > file > profile > default. No file is read unless ``--config`` or
``MICRONODE_CONFIG`` names it, and one that is named must be there.

- **File**: TOML. Durations are ``"500ms"``, ``"5s"``, ``"2m"``, ``"1h"``; sizes ``"64KiB"``,
  ``"1.5GiB"``, ``"512B"`` or whole bytes.
- **Paths** of files that do not begin with ``/`` (``ca = "ca.pem"``) begin at the working directory of the
  process, wherever the configuration file lies.
- **Environment**: ``MICRONODE_<SECTION>_<KEY>``, lists by comma, an empty text for an empty list.
  ``MICRONODE_PORT*`` and ``MICRONODE_SERVICE_*`` are ignored with a warning: Kubernetes sets them for a
  Service called micronode.
- **Flags**: those named below, and ``--set section.key=value`` for every key. The same one twice is
  refused, and so are two that set the same key.

``include = ["base.toml", "conf.d/owners.toml"]`` at the top of a file takes the settings of other
files. They lie below the folder of the file that includes them: no absolute path, no ``..``, no link that
leads out. A file counts more than what it includes, a later include more than an earlier one. A
configuration is at most {MAX_FILES} files of {MAX_FILE_BYTES // 1024**2} MiB each, {MAX_DEPTH} deep.

``micronode check`` tells everything that is wrong at once, each with its place and what to do, and exits
with 78; ``micronode config show`` prints every key with its value and where it comes from;
``micronode config init`` prints a file to begin with. Where a key is marked *not yet*, its feature does not
exist in this release: its value is checked like any other, and a node does not start with one that asks
for something.

*Reload*: live keys take effect when a node that runs reads its configuration again (SIGHUP), the others need
a new process. ``micronode reload --dry-run`` tells beforehand, ``docs/RUNBOOK.rst`` how it is done.
"""


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_HEAD, *_profiles(), *_sections()])


def _profiles() -> Iterator[str]:
    yield "\nProfiles\n--------\n"
    for name, values in PROFILES.items():
        sets = ", ".join(f"``{path} = {KEYS[path].toml(value)}``" for path, value in values.items())
        yield f"- ``{name}``: {sets or 'the defaults'}"
    yield (
        "\nWhere a profile sets ``amnesia.enabled``, as ``dev`` does, ``config show`` says true, which\n"
        "is what is set, and ``/version`` false, which is what this release enforces.\n"
    )


def _sections() -> Iterator[str]:
    for section in SECTIONS:
        if section in PLAIN:
            yield from _table(section, PLAIN[section].__doc__, rows_of(section, None))
            continue
        cls, names = NAMED[section]
        for name in names:
            yield from _table(f"{section}.{name}", cls.__doc__, rows_of(section, name))
        if section == "facets":
            yield from _table(
                "facets.NAME", "A facet of your own: any other name, with a ``kind``.", own_rows(OWN)
            )


def _table(section: str, doc: str, rows: tuple[Key, ...]) -> Iterator[str]:
    title = f"[{section}]"
    yield f"\n{title}\n{'-' * len(title)}\n\n{doc.splitlines()[0]}\n"
    yield ".. list-table::\n   :header-rows: 1\n   :widths: 18 18 64\n"
    yield from ("   * - key", "     - default", "     - what it is")
    for row in rows:
        yield f"   * - ``{row.name}``"
        yield "     - required" if row.required else f"     - ``{row.toml(row.default)}``"
        yield f"     - {_described(row)}"


def _described(row: Key) -> str:
    takes = row.form[0].upper() + row.form[1:]
    within = f", {row.range}" if row.range else ""
    flag = next((f" ``--{name}``." for name, path in FLAGS.items() if path == row.path), "")
    reload = " Live." if row.reload == "live" else " Restart."
    not_yet = "" if row.built else " *Not yet.*"
    return f"{row.doc} {takes}{within}.{flag} ``{row.variable}``.{reload}{not_yet}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
