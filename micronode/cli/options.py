"""The options of the node, shared by ``micronode run``, ``micronode dev`` and ``twistd micronode``.

They only say what the user typed, in the order it was typed; reading files, variables and values is
:mod:`micronode.config.sources`' business.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from twisted.python import usage

from micronode import __version__
from micronode.cli.exits import CommandError, Exit, print_error
from micronode.cli.streams import show
from micronode.config.kinds import ConfigError
from micronode.config.schema import Config
from micronode.config.sources import Flag, Loaded, facet_flags, load

#: Long name, short name, default, help.
OptParameters = Sequence[tuple[str, str | None, str | None, str]]


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
            name = " ".join(word for word in self.command.split()[:2] if word.isalpha())
            raise CommandError(Exit.USAGE, f"{str(error).rstrip('.')}; see {name} --help") from None

    def _options_first(self, argv: Sequence[str]) -> list[str]:
        """Return *argv* with the options before the arguments: Twisted stops at the first argument."""
        options, arguments = getopt.gnu_getopt(list(argv), self.shortOpt, self.longOpt)
        words = [
            f"{name}={text}" if f"{name.removeprefix('--')}=" in self.longOpt else f"{name}{text}"
            for name, text in options
        ]
        return [*words, "--", *arguments]


class NodeOptions(CommandOptions):
    """Options of the node."""

    command = "micronode run [options]"
    longdesc = (
        "Run the node in the foreground. Every setting is also a variable MICRONODE_<SECTION>_<KEY> and a "
        "key of the TOML file; a flag counts more than a variable, a variable more than the file."
    )
    optParameters: OptParameters = (
        ("config", None, None, "TOML file to read (default: $MICRONODE_CONFIG, else none)."),
    )

    def __init__(self) -> None:
        super().__init__()
        self.flags: list[Flag] = []

    def opt_profile(self, name: str) -> None:
        """Named set of defaults: none or dev."""
        self.flags.append(Flag("node.profile", name, "flag --profile"))

    def opt_http(self, address: str) -> None:
        """Where HTTP callers connect: HOST:PORT, unix:/path or off."""
        self.flags.append(Flag("http.listen", address, "flag --http"))

    def opt_admin(self, address: str) -> None:
        """Where operators and probes connect: HOST:PORT or unix:/path."""
        self.flags.append(Flag("admin.listen", address, "flag --admin"))

    def opt_oap(self, address: str) -> None:
        """Where OAP/1 callers connect: HOST:PORT, unix:/path or off."""
        self.flags.append(Flag("oap.listen", address, "flag --oap"))

    def opt_facets(self, names: str) -> None:
        """Comma list of facets: exactly these are served."""
        self.flags.extend(facet_flags(names))

    def opt_log_level(self, level: str) -> None:
        """Least severe line to log: debug, info, warning or error."""
        self.flags.append(Flag("log.level", level, "flag --log-level"))

    def opt_set(self, setting: str) -> None:
        """Set any key: --set section.key=value (lists by comma). May be repeated."""
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not path:
            raise usage.UsageError(f"--set takes section.key=value, not {setting!r}")
        self.flags.append(Flag(path, text, f"flag --set {path}"))

    def load(self, environ: Mapping[str, str] | None = None) -> Loaded:
        """Merge all sources into the configuration.

        :param environ: variables; the process's own where None.
        :raises CommandError: the configuration is refused.
        """
        try:
            loaded = load(
                flags=self.flags,
                environ=os.environ if environ is None else environ,
                path=self["config"],
            )
        except ConfigError as error:
            raise CommandError.refused(error) from None
        _require_facet(loaded.config)
        return loaded


def _require_facet(config: Config) -> None:
    """Refuse a node that would come up, say it is ready, and serve nothing.

    Only here: a program that embeds a node may have its reasons.
    """
    if not any(facet.enabled for facet in config.facets.values()):
        paths = [f"facets.{name}.enabled" for name in config.facets]
        origins = dict.fromkeys(config.sources[path] for path in paths if path in config.sources)
        known = ", ".join(config.facets)
        fix = f"enable at least one of {known} (as in --facets {','.join(config.facets)})"
        raise CommandError(Exit.CONFIG, f"{', '.join(origins)}: no facet is enabled to serve anything; {fix}")


class TwistdOptions(NodeOptions):
    """The same, below twistd, which would end with 0 on a mistake in them."""

    command = "twistd [twistd options] micronode [options]"

    def parseOptions(self, options: Any = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            print(f"twistd micronode: {error}; see twistd micronode --help", file=sys.stderr)
            raise SystemExit(Exit.USAGE) from None
        except CommandError as error:  # twistd knows only SystemExit
            print_error(error)
            raise SystemExit(error.code) from None
