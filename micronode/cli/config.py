"""``micronode config show`` and ``micronode config init``: what is configured, and what could be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from twisted.python import usage

from micronode.cli.check import FileOptions
from micronode.cli.command import CommandOptions, OptFlags, OptParameters
from micronode.cli.exits import CommandError, Exit, say
from micronode.cli.streams import show
from micronode.config.problems import did_you_mean, shorten
from micronode.config.shown import initial, shown_as_json, shown_as_toml


class ShowOptions(FileOptions):
    """Options of ``micronode config show``: the node's, and the form."""

    command = "micronode config show [options] [FILE|-]"
    longdesc = (
        "Print the value of every key and where it comes from: default, profile NAME, FILE:LINE, env "
        "VARIABLE or flag. Keys whose feature does not exist yet are marked. Both forms can be read by "
        "scripts; toml is also a configuration file."
    )
    optFlags: OptFlags = (("json", None, "Short for --format json."),)
    optParameters: OptParameters = (("format", None, "toml", "toml or json."),)

    def postOptions(self) -> None:
        if self["format"] not in ("toml", "json"):
            hint = did_you_mean(self["format"], ("toml", "json"))
            raise usage.UsageError(f"--format is toml or json, not {shorten(self['format'])}{hint}")


class InitOptions(CommandOptions):
    """Options of ``micronode config init``."""

    command = "micronode config init"
    longdesc = "Print a configuration file that names every key with its default, to be redirected to a file."


def show_config(argv: Sequence[str]) -> int:
    """Print every key with its value and source.

    :raises CommandError: usage; a configuration that is refused has no values to show.
    """
    options = ShowOptions()
    options.parse(argv)
    loaded = options.load(to_run=False)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    if options["json"] or options["format"] == "json":
        show(json.dumps(shown_as_json(loaded.config), indent=2))
    else:
        show(shown_as_toml(loaded.config))
    return Exit.DONE


def init_config(argv: Sequence[str]) -> int:
    """Print a commented file of every key."""
    InitOptions().parse(argv)
    show(initial())
    return Exit.DONE


_COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {"show": show_config, "init": init_config}
_USAGE: Final = (
    "Usage: micronode config COMMAND [options]\n\n"
    "Commands:\n"
    "  show     print the value of every key and where it comes from\n"
    "  init     print a configuration file that names every key with its default\n\n"
    "micronode config COMMAND --help tells the options of one."
)


def main(argv: Sequence[str]) -> int:
    """Run ``micronode config COMMAND``.

    :raises CommandError: usage, configuration.
    """
    if not argv:
        raise CommandError(Exit.USAGE, "no command given; commands are config show and config init")
    name, *rest = argv
    if name in ("-h", "--help", "help"):
        show(_USAGE)
        return Exit.DONE
    if name not in _COMMANDS:
        hint = did_you_mean(name, _COMMANDS)
        raise CommandError(
            Exit.USAGE, f"unknown command config {shorten(name)}{hint}; commands are {', '.join(_COMMANDS)}"
        )
    return _COMMANDS[name](rest)
