"""The options of the node, shared by ``micronode run``, ``dev``, ``check``, ``config show`` and ``twistd``.

They only say what the user typed, in the order it was typed; reading files, variables and values is
:mod:`micronode.config.sources`' business. Options that set one key are made from the table of keys.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.python import usage

from micronode.cli.command import CommandOptions, OptParameters
from micronode.cli.exits import CommandError, Exit, print_error
from micronode.config.documents import STANDARD_INPUT
from micronode.config.kinds import Key, Kind
from micronode.config.problems import ConfigError
from micronode.config.schema import KEYS
from micronode.config.sources import CONFIG_VARIABLE, Flag, Loaded, facet_flags, load
from micronode.config.table import FLAGS

__all__ = ["CommandOptions", "NodeOptions", "OptParameters", "TwistdOptions"]

_NOT_YET: Final = " (Not available yet.)"


class NodeOptions(CommandOptions):
    """Options of the node; an ``opt_`` method for each option of the table is added below."""

    command = "micronode run [options]"
    longdesc = (
        "Run the node in the foreground. Every setting is also a variable MICRONODE_<SECTION>_<KEY> and a "
        "key of the TOML file; a flag counts more than a variable, a variable more than the file."
    )

    def __init__(self) -> None:
        super().__init__()
        self.flags: list[Flag] = []
        #: The file that ``--config`` names.
        self.path: str | None = None
        #: The working folder when it was first read.
        self._folder: str | None = None

    def opt_config(self, name: str) -> None:
        """TOML file to read, - for standard input (default: $MICRONODE_CONFIG, else none)."""
        if self.path is not None:
            raise usage.UsageError("--config is given twice; a file may include others")
        self.path = name

    def opt_facets(self, names: str) -> None:
        """Comma list of facets: exactly these are served."""
        self._add(*facet_flags(names))

    def opt_set(self, setting: str) -> None:
        """Set any key: --set section.key=value (lists by comma). May be repeated."""
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not path:
            raise usage.UsageError(f"--set takes section.key=value, not {setting!r}")
        self._add(Flag(path, text, f"flag --set {path}"))

    def _add(self, *flags: Flag) -> None:
        """Take what one option sets; one key set twice is a mistake, whichever was meant."""
        for flag in flags[:1]:
            if any(flag.origin == other.origin for other in self.flags):
                raise usage.UsageError(
                    f"{flag.origin.removeprefix('flag ')} is given twice; keep one of them"
                )
        given = {flag.path: flag.origin for flag in self.flags}
        for flag in flags:
            if flag.path in given:
                both = " and ".join(each.removeprefix("flag ") for each in (given[flag.path], flag.origin))
                raise usage.UsageError(f"{both} both set {flag.path}; keep one of them")
        self.flags.extend(flags)

    def load(self, environ: Mapping[str, str] | None = None, *, to_run: bool = True) -> Loaded:
        """Merge all sources into the configuration.

        :param environ: variables; the process's own where None.
        :param to_run: refuse also what this release cannot run with.
        :raises CommandError: the configuration is refused.
        """
        environ = os.environ if environ is None else environ
        self._folder = _working_folder() if self._folder is None else self._folder
        try:
            return load(flags=self.flags, environ=environ, path=self.path, to_run=to_run)
        except ConfigError as error:
            raise CommandError.refused(error) from None

    def load_again(self) -> Loaded:
        """Merge all sources as they are now, for a node that runs; it may take as long as a disk does.

        :raises ConfigError: the configuration is refused, or cannot be read a second time.
        """
        environ = dict(os.environ)
        path = self.path
        if path is None and CONFIG_VARIABLE in environ:
            environ[CONFIG_VARIABLE] = self._from_here(environ[CONFIG_VARIABLE])
        return load(
            flags=self.flags,
            environ=environ,
            path=None if path is None else self._from_here(path),
            to_run=True,
            again=True,
        )

    def _from_here(self, name: str) -> str:
        """Return *name* as it leads to the same file as at first, though twistd may have changed folders."""
        if name in ("", STANDARD_INPUT) or self._folder in (None, _working_folder()):
            return name
        return os.path.join(str(self._folder), name)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _setter(row: Key, name: str, text: str | None = None) -> Callable[..., None]:
    """Make the method of the option ``--NAME`` that sets *row*, to *text* where it takes no argument."""

    def opt(self: NodeOptions, value: str) -> None:
        self._add(Flag(row.path, value, f"flag --{name}"))

    def opt_fixed(self: NodeOptions) -> None:
        if any(flag.path == row.path and flag.origin.endswith(row.flag) for flag in self.flags):
            raise usage.UsageError(f"--{row.flag} and --no-{row.flag} exclude each other; keep one, once")
        self._add(Flag(row.path, str(text), f"flag --{name}"))

    method: Callable[..., None] = opt if text is None else opt_fixed
    form = f"{row.doc.rstrip('.')}: {row.form.replace(chr(34), '')}." if text is None else row.doc
    if text == "false":
        form = f"The opposite of --{row.flag}."
    method.__doc__ = form + ("" if row.built else _NOT_YET)
    return method


def _add_options() -> None:
    for flag, path in FLAGS.items():
        row = KEYS[path]
        if row.kind is not Kind.BOOLEAN:
            setattr(NodeOptions, f"opt_{flag.replace('-', '_')}", _setter(row, flag))
        else:
            setattr(NodeOptions, f"opt_{flag}", _setter(row, flag, "true"))
            setattr(NodeOptions, f"opt_no_{flag}", _setter(row, f"no-{flag}", "false"))


_add_options()


class TwistdOptions(NodeOptions):
    """The same, below twistd or twist, which would end with 0, or with a page, on a mistake in them."""

    @property
    def command(self) -> str:  # type: ignore[override]
        """The command line, as the program above has it."""
        program = self._program()
        return f"{program} [{program} options] micronode [options]"

    def parseOptions(self, options: Any = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            name = f"{self._program()} micronode"
            print(f"{name}: {self.explain(error)}; see {name} --help", file=sys.stderr)
            raise SystemExit(Exit.USAGE) from None
        except CommandError as error:  # twistd knows only SystemExit
            print_error(error)
            raise SystemExit(error.code) from None

    def _program(self) -> str:
        return "twist" if is_twist(getattr(self, "parent", None) or {}) else "twistd"


def is_twist(parent: Mapping[str, Any]) -> bool:
    """Whether *parent*, the options that ours follow on a command line, are those of ``twist``."""
    return "fileLogObserverFactory" in parent
