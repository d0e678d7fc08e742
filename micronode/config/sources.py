"""Where values come from: flag over environment over file over profile over default.

Each source is read into the same layer of canonical values with their origin, so that one check
serves all and every refusal names file and line, variable or flag. Nothing is read from disk unless
``--config`` or ``MICRONODE_CONFIG`` names it, and then only by :func:`load`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from micronode.config.kinds import ConfigError, Key, Kind, Problem, RefusedError, did_you_mean, shorten
from micronode.config.lines import line_index
from micronode.config.schema import FACET_NAMES, KEYS, Config, find_key, flatten

#: Names the file; not a key itself.
CONFIG_VARIABLE: Final = "MICRONODE_CONFIG"
_PREFIX: Final = "MICRONODE_"
#: What Kubernetes puts into the environment of every pod for a Service that is called micronode.
_FOREIGN: Final = re.compile(r"MICRONODE_(?:PORT(?:_.*)?|SERVICE_.*)")
_VARIABLES: Final = {row.variable: row for row in KEYS.values()}
#: A configuration of every key with a comment each is 8 KiB.
_MAX_FILE_BYTES: Final = 1_048_576


@attrs.frozen
class Flag:
    """One setting from the command line: the key's *path*, *text*, and *origin* (``flag --http``)."""

    path: str
    text: str
    origin: str


@attrs.frozen
class Loaded:
    """A configuration and what should be said about how it was found."""

    config: Config
    warnings: tuple[str, ...] = ()


@attrs.define
class _Layer:
    """Canonical values of one source by path, each with its origin; and what was wrong with the rest."""

    values: dict[str, Any] = attrs.field(factory=dict)
    sources: dict[str, str] = attrs.field(factory=dict)
    problems: list[Problem] = attrs.field(factory=list)

    def take(self, origin: str, read: Callable[..., tuple[Key, Any]], *args: Any) -> None:
        """Add what *read* makes of *args*, or the problem it raises."""
        try:
            row, value = read(*args)
        except RefusedError as refused:
            self.problems.append(Problem(origin, refused.what, refused.fix))
        else:
            self.values[row.path] = value
            self.sources[row.path] = origin


def load(
    *,
    flags: Iterable[Flag] = (),
    environ: Mapping[str, str],
    path: str | None = None,
) -> Loaded:
    """Read the file that *path* (``--config``) or the environment names, if any, and merge all sources.

    :raises ConfigError: with every problem of every source.
    """
    named, origin = path, "flag --config"
    if named is None:
        named, origin = environ.get(CONFIG_VARIABLE), f"env {CONFIG_VARIABLE}"
    text = None if named is None else read_file(named, origin)
    return merge(flags=flags, environ=environ, file=None if text is None else (str(named), text))


def read_file(name: str, origin: str) -> str:
    """Return the text of the configuration file *name*.

    :param origin: who named it, for errors.
    :raises ConfigError: it is missing, unreadable, too large or not UTF-8.
    """

    def refused(what: str, fix: str, where: str = origin) -> ConfigError:
        return ConfigError([Problem(where, what, fix)])

    if not name:
        raise refused("it names no file", "give the path of a TOML file, or leave it out")
    try:
        with Path(name).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise refused(f"cannot read {shorten(name)}: {reason}", "name a TOML file that can be read") from None
    if len(data) > _MAX_FILE_BYTES:
        raise refused(f"{shorten(name)} is larger than 1 MiB", "name a configuration file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refused("it is not UTF-8", "save the file as UTF-8", f"{name}:{line}") from None


def merge(
    *,
    flags: Iterable[Flag] = (),
    environ: Mapping[str, str] | None = None,
    file: tuple[str, str] | None = None,
) -> Loaded:
    """Merge the sources; pure.

    :param file: name and text of the TOML file.
    :raises ConfigError: with every problem of every source, also of values that a stronger one hides.
    """
    warnings: list[str] = []
    layers = [
        _from_file(*file) if file is not None else _Layer(),
        _from_environ(environ or {}, warnings),
        _from_flags(flags),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        values |= layer.values
        sources |= layer.sources
    problems = [problem for layer in layers for problem in layer.problems]
    try:
        config = Config.from_values(values, sources)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return Loaded(config, tuple(warnings))


def facet_flags(names: str) -> tuple[Flag, ...]:
    """Return what ``--facets NAMES`` (a comma list) sets: exactly these facets enabled.

    A name that is not a facet's becomes a setting of that name, to be refused with the others.
    """
    wanted = {name: "true" for name in map(str.strip, names.split(",")) if name}
    enabled = dict.fromkeys(FACET_NAMES, "false") | wanted
    return tuple(Flag(f"facets.{name}.enabled", text, "flag --facets") for name, text in enabled.items())


def _from_file(name: str, text: str) -> _Layer:
    layer = _Layer()
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
        lines = line_index(text)
    except RecursionError:
        layer.problems.append(Problem(f"{name}:1", "it is nested too deeply", "no key takes nested lists"))
        return layer
    except ValueError as error:
        # tomllib tells the place of a syntax error in its message only (or "at end of document").
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        last = text.rstrip("\n").count("\n") + 1 if "end of document" in str(error) else 1
        line = int(found[1]) if found else last
        what = str(error)[: found.start()] if found else str(error)
        layer.problems.append(Problem(f"{name}:{line}", f"not TOML: {what}", "correct this line"))
        return layer
    for path, value in flatten(document):
        layer.take(f"{name}:{_line_of(path, lines)}", _typed, path, value)
    return layer


def _line_of(path: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> int:
    while path not in lines and len(path) > 1:
        path = path[:-1]
    return lines.get(path, 1)


def _typed(path: tuple[str, ...], value: Any) -> tuple[Key, Any]:
    row = find_key(path)
    # In a file or flag a bare number has no unit, and tools differ on which it would be.
    if row.kind is Kind.DURATION and isinstance(value, (int, float)) and value != 0:
        raise RefusedError(f"{row.path} = {value} has no unit", f"it takes {row.form}")
    return row, row.read(value)


def _from_environ(environ: Mapping[str, str], warnings: list[str]) -> _Layer:
    layer = _Layer()
    foreign = []
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if _FOREIGN.fullmatch(name):
            foreign.append(name)
            continue
        layer.take(f"env {name}", _variable, name, environ[name])
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        warnings.append(
            f"ignored {foreign[0]}{others}: what Kubernetes sets for a Service called micronode"
            " (enableServiceLinks: false keeps it out of the pod)"
        )
    return layer


def _variable(name: str, text: str) -> tuple[Key, Any]:
    row = _VARIABLES.get(name)
    if row is None:
        raise RefusedError(
            f"unknown variable{did_you_mean(name, _VARIABLES)}",
            "unset it; variables are MICRONODE_<SECTION>_<KEY>",
        )
    return row, row.parse(text)


def _from_flags(flags: Iterable[Flag]) -> _Layer:
    layer = _Layer()
    for flag in flags:
        layer.take(flag.origin, _flag, flag)
    return layer


def _flag(flag: Flag) -> tuple[Key, Any]:
    row = find_key(tuple(flag.path.split(".")))
    return row, row.parse(flag.text)
