"""``micronode version [--json]``: what this installation is."""

from __future__ import annotations

import json
from collections.abc import Sequence

from micronode import __version__
from micronode.cli.command import CommandOptions
from micronode.cli.exits import Exit
from micronode.cli.streams import show


class VersionOptions(CommandOptions):
    """Options of ``micronode version``."""

    command = "micronode version [--json]"
    longdesc = (
        "Print the version; with --json what /version of a node says, without what only a running node knows."
    )
    optFlags = (("json", None, "Print JSON."),)


def main(argv: Sequence[str]) -> int:
    """Print the version.

    :raises CommandError: usage.
    """
    options = VersionOptions()
    options.parse(argv)
    if options["json"]:
        from micronode.observability.version import build_version

        show(json.dumps(build_version(), indent=2))
    else:
        show(f"micronode {__version__}")
    return Exit.DONE
