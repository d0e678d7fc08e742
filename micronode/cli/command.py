"""What all commands have in common: their options object, and how a mistake in them is told."""

from __future__ import annotations

import getopt
import re
from collections.abc import Sequence
from typing import NoReturn

from twisted.python import usage

from micronode import __version__
from micronode.cli.exits import CommandError, Exit
from micronode.cli.streams import show

#: Long name, short name, default, help.
OptParameters = Sequence[tuple[str, str | None, str | None, str]]


#: Long name, short name, help.
OptFlags = Sequence[tuple[str, str | None, str]]


class CommandOptions(usage.Options):
    """What all commands have in common: their synopsis, and our own ``--version``."""

    #: The command line after ``Usage: ``.
    command = "micronode"

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def getSynopsis(self) -> str:
        return f"Usage: {self.command}"

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        show(f"micronode {__version__}")
        raise SystemExit(Exit.DONE)

    def opt_help(self) -> NoReturn:
        """Print this help and exit."""
        show(str(self).rstrip())
        raise SystemExit(Exit.DONE)

    opt_h = opt_help

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"unexpected argument {rest[0]!r}")

    def parse(self, argv: Sequence[str]) -> None:
        """Parse *argv*.

        :raises CommandError: usage, with a line that names the command.
        """
        try:
            self.parseOptions(self._options_first(argv))  # type: ignore[no-untyped-call]
        except (usage.UsageError, getopt.GetoptError) as error:
            name = re.split(r" (?![a-z])", self.command)[0]
            raise CommandError(Exit.USAGE, f"{self.explain(error)}; see {name} --help") from None

    def explain(self, error: Exception) -> str:
        """Return what is wrong with the options, and for an unknown one what was probably meant."""
        from micronode.config.problems import did_you_mean

        text = str(error).rstrip(".")
        found = re.fullmatch(r"option --(\S+) not recognized", text)
        known = {name.rstrip("=") for name in self.longOpt}
        return text + (did_you_mean(found[1], known).replace("mean ", "mean --") if found else "")

    def _options_first(self, argv: Sequence[str]) -> list[str]:
        """Return *argv* with the options before the arguments: Twisted stops at the first argument."""
        options, arguments = getopt.gnu_getopt(list(argv), self.shortOpt, self.longOpt)
        words = [
            f"{name}={text}" if f"{name.removeprefix('--')}=" in self.longOpt else f"{name}{text}"
            for name, text in options
        ]
        return [*words, "--", *arguments]
