"""``micronode check``: whether a node would run with this configuration; nothing is bound or started.

With ``--deep`` it also asks the owner services, and custom facets' upstreams, whether they are ready.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.python import usage

from micronode.cli.command import OptFlags
from micronode.cli.exits import CommandError, Exit, say
from micronode.cli.options import NodeOptions
from micronode.cli.streams import show
from micronode.config.documents import STANDARD_INPUT
from micronode.config.notes import notes
from micronode.config.problems import ConfigError
from micronode.config.schema import Config
from micronode.config.sources import CONFIG_VARIABLE, Loaded


class FileOptions(NodeOptions):
    """The node's options, with the file as an argument."""

    def parseArgs(self, *names: str) -> None:
        if len(names) > 1:
            raise usage.UsageError(f"unexpected argument {names[1]!r}")
        if names and self.path is not None:
            raise usage.UsageError(f"--config {self.path!r} and {names[0]!r} name two files; name one")
        self.path = names[0] if names else self.path


class CheckOptions(FileOptions):
    """Options of ``micronode check``: the node's, and how to look."""

    command = "micronode check [options] [FILE|-]"
    longdesc = (
        "Check the configuration that micronode run would have with the same options, and bind nothing. FILE "
        "is short for --config FILE; - is standard input. Exit codes: 0 in order, 78 refused, 1 an owner "
        "service is down (--deep)."
    )
    optFlags: OptFlags = (
        (
            "deep",
            None,
            "Ask each owner service whether it is ready, and the upstream of each custom facet that has a "
            "health path.",
        ),
        ("json", None, "Print JSON on standard output."),
    )


def main(argv: Sequence[str]) -> int:
    """Check the configuration.

    :return: 0; 1 when an owner is down; 78 when it is refused.
    :raises CommandError: usage.
    """
    options = CheckOptions()
    options.parse(argv)
    try:
        loaded = options.load()
        identities = _read_files(loaded.config)
    except CommandError as error:
        if not options["json"]:
            raise
        problems = [attrs.asdict(problem) for problem in error.problems]
        show(json.dumps({"ok": False, "problems": problems, "warnings": [], "hidden": []}, indent=2))
        return Exit.CONFIG
    owners = _ask_owners(loaded, identities) if options["deep"] else {}
    down = [text for text in owners.values() if text != "ready"]
    if options["json"]:
        answer: dict[str, Any] = {
            "ok": not down,
            "problems": [],
            "warnings": list(loaded.warnings),
            "hidden": list(loaded.hidden),
            "notes": list(notes(loaded.config)),
            "config_sha": loaded.config.sha(),
        }
        show(json.dumps(answer | ({"owners": owners} if options["deep"] else {}), indent=2))
    else:
        _tell(loaded, owners, options.path or os.environ.get(CONFIG_VARIABLE))
    return Exit.FAILED if down else Exit.DONE


def _tell(loaded: Loaded, owners: dict[str, str], name: str | None) -> None:
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    for hidden in loaded.hidden:
        say(hidden)
    for note in notes(loaded.config):
        say(f"note: {note}")
    for url, state in owners.items():
        show(f"{url}: {state}")
    what = "standard input" if name == STANDARD_INPUT else name or "no file"
    count = sum(1 for source in loaded.config.sources.values() if not source.startswith("profile "))
    show(f"configuration in order ({what}, {count} values set, sha {loaded.config.sha()[:12]})")


def _read_files(config: Config) -> Mapping[str, Any]:
    """Return what the files that *config* names make of its owners' connections.

    :raises CommandError: one is of no use.
    """
    from micronode.security.identity import read_identities

    try:
        return read_identities(config, {})
    except ConfigError as error:
        raise CommandError.refused(error) from None


def _ask_owners(loaded: Loaded, identities: Mapping[str, Any]) -> dict[str, str]:
    from twisted.internet import reactor

    from micronode.cli.asking import ask_owners
    from micronode.cli.runner import run_to_end

    found: dict[str, str] = {}

    async def ask() -> int:
        found.update(await ask_owners(reactor, loaded.config, identities))
        return Exit.DONE

    if run_to_end(reactor, ask) != Exit.DONE:
        raise CommandError(Exit.FAILED, "interrupted before every owner service had answered; run it again")
    return found
