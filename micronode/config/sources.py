"""Where values come from: flag over environment over file over profile over default.

Each source is read into the same layer of canonical values with their origin, so that one check
serves all and every refusal names file and line, variable or flag. Nothing is read from disk unless
``--config`` or ``MICRONODE_CONFIG`` names it, and then only by :func:`load`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from micronode.config.complaints import certain, in_order, nothing_served
from micronode.config.documents import Document, read_documents
from micronode.config.kinds import Key, Kind
from micronode.config.measures import allowed_duration
from micronode.config.problems import (
    ConfigError,
    Problem,
    RefusedError,
    closest,
    meant,
    printable,
    shorten,
)
from micronode.config.schema import FACET_NAMES, KEYS, Config, place, unbuilt
from micronode.config.table import find_key, flatten, keys_below, own_names, own_rows

#: Names the file; not a key itself.
CONFIG_VARIABLE: Final = "MICRONODE_CONFIG"
_PREFIX: Final = "MICRONODE_"
#: Of one file, the environment or the flags; what comes behind so many is not looked at. A file of nothing
#: but unknown keys would take a node that reloads many seconds, and its problems as much memory as the rest.
MAX_PROBLEMS: Final = 1_000
_UNREAD: Final = Problem("", "the rest was not looked at, after so many problems", "correct those first")
#: What Kubernetes puts into the environment of every pod for a Service that is called micronode.
_FOREIGN: Final = re.compile(r"MICRONODE_(?:PORT(?:_.*)?|SERVICE_.*)", re.DOTALL)
_VARIABLES: Final = {row.variable: row for row in KEYS.values()}
_OWN_VARIABLE: Final = re.compile(r"MICRONODE_FACETS_([A-Z][A-Z0-9_]{0,31})_KIND")
_OWN_PATH: Final = re.compile(r"facets\.([^.]+)\.kind")


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
    #: A sentence for each value of a file in whose place another is in force, of a variable or flag.
    hidden: tuple[str, ...] = ()


@attrs.define
class _Layer:
    """Canonical values of one source by path, each with row and origin; and what was wrong with the rest."""

    rows: dict[str, Key] = attrs.field(factory=dict)
    values: dict[str, Any] = attrs.field(factory=dict)
    sources: dict[str, str] = attrs.field(factory=dict)
    problems: list[Problem] = attrs.field(factory=list)

    @classmethod
    def merged(cls, layers: Iterable[_Layer]) -> _Layer:
        """Return one layer of *layers*, the weakest first."""
        whole = cls()
        for layer in layers:
            whole.rows |= layer.rows
            whole.values |= layer.values
            whole.sources |= layer.sources
            whole.problems += layer.problems
        return whole

    def take(self, origin: str, read: Callable[..., tuple[Key, Any]], *args: Any) -> None:
        """Add what *read* makes of *args*, or the problem it raises."""
        if len(self.problems) >= MAX_PROBLEMS:
            if len(self.problems) == MAX_PROBLEMS:
                self.problems.append(_UNREAD)
            return
        try:
            row, value = read(*args)
        except RefusedError as refused:
            self.problems += list(refused.problems(origin))[: MAX_PROBLEMS - len(self.problems)]
        else:
            self.rows[row.path] = row
            self.values[row.path] = value
            self.sources[row.path] = origin


def load(
    *,
    flags: Iterable[Flag] = (),
    environ: Mapping[str, str],
    path: str | None = None,
    to_run: bool = False,
    again: bool = False,
) -> Loaded:
    """Read the files that *path* (``--config``) or the environment names, if any, and merge all sources.

    :param path: ``-`` is standard input.
    :param to_run: see :func:`merge`.
    :param again: see :func:`~micronode.config.documents.read_documents`.
    :raises ConfigError: with every problem of every source.
    """
    named, origin = path, "flag --config"
    if named is None:
        named, origin = environ.get(CONFIG_VARIABLE), f"env {CONFIG_VARIABLE}"
    documents = () if named is None else read_documents(named, origin, again=again)
    return merge(flags=flags, environ=environ, documents=documents, to_run=to_run)


def merge(
    *,
    flags: Iterable[Flag] = (),
    environ: Mapping[str, str] | None = None,
    documents: Iterable[Document] = (),
    to_run: bool = False,
) -> Loaded:
    """Merge the sources; pure.

    :param documents: the weakest first.
    :param to_run: refuse also what this release cannot run with.
    :raises ConfigError: with every problem of every source, also of values that a stronger one hides.
    """
    flags, environ, documents = list(flags), environ or {}, list(documents)
    warnings: list[str] = []
    own = _own_names(flags, environ, documents)
    files = _Layer.merged(_from_document(document, own) for document in documents)
    whole = _Layer.merged([files, _from_environ(environ, own, warnings), _from_flags(flags, own)])
    problems = list(whole.problems)
    missing = dict(_not_built(whole)) if to_run else {}
    problems += missing.values()
    try:
        config = Config.from_values(whole.values, whole.sources)
    except ConfigError as error:
        left = _left(error.problems, whole, missing) if missing else error.problems
        problems += certain(left, whole.problems)
        raise ConfigError(in_order(problems, documents)) from None
    if to_run and not problems:
        problems += nothing_served(config)
    if problems:
        raise ConfigError(in_order(problems, documents))
    return Loaded(config, tuple(warnings), tuple(_hidden(files, whole)))


def facet_flags(names: str) -> tuple[Flag, ...]:
    """Return what ``--facets NAMES`` (a comma list) sets: exactly these facets enabled.

    A name that is not a facet's becomes a setting of that name, to be refused with the others.
    """
    wanted = {name: "true" for name in map(str.strip, names.split(",")) if name}
    enabled = dict.fromkeys(FACET_NAMES, "false") | wanted
    return tuple(Flag(f"facets.{name}.enabled", text, "flag --facets") for name, text in enabled.items())


def _not_built(layer: _Layer) -> Iterator[tuple[str, Problem]]:
    """Yield the path and the problem of each value that asks for what this release has not."""
    for path, value in layer.values.items():
        for problem in unbuilt([(layer.rows[path], value)], lambda path: place(path, layer.sources)):
            yield path, problem


def _left(problems: Iterable[Problem], layer: _Layer, missing: Collection[str]) -> Iterable[Problem]:
    """Return which contradictions are there still when the values at the *missing* paths have gone.

    They have to go, so advice about what else would make them fit could not be followed.
    """
    values = {path: value for path, value in layer.values.items() if path not in missing}
    try:
        Config.from_values(values, layer.sources)
    except ConfigError as error:
        return [problem for problem in problems if problem in error.problems]
    return ()


def _hidden(files: _Layer, whole: _Layer) -> Iterator[str]:
    """Yield what the files say in vain; what says the same as is in force is not in vain."""
    for path, value in files.values.items():
        if whole.values[path] != value:
            yield f"{path} of {files.sources[path]} is hidden by {whole.sources[path]}"


def _own_names(
    flags: Iterable[Flag], environ: Mapping[str, str], documents: Iterable[Document]
) -> frozenset[str]:
    """Return the names of the facets of the user's own: those to which any source gives a ``kind``."""
    names = {name for document in documents for name in own_names(document.tree)}
    names |= {found[1] for flag in flags if (found := _OWN_PATH.fullmatch(flag.path))}
    variables = [name for name in environ if name not in _VARIABLES]
    names |= {found[1].lower() for name in variables if (found := _OWN_VARIABLE.fullmatch(name))}
    return frozenset(names - set(FACET_NAMES))


def _from_document(document: Document, own: Collection[str]) -> _Layer:
    layer = _Layer(problems=list(document.problems))
    for path, value in flatten(document.tree, own):
        layer.take(document.place(path), _typed, path, value, own)
    return layer


def _typed(path: tuple[str, ...], value: Any, own: Collection[str]) -> tuple[Key, Any]:
    row = find_key(path, own)
    # In a file or flag a bare number has no unit, and tools differ on which it would be.
    if row.kind is Kind.DURATION and isinstance(value, (int, float)) and value != 0:
        hint = meant(allowed_duration(row, value))
        raise RefusedError(f"{row.path} = {shorten(value)} has no unit", f"it takes {row.form}{hint}")
    return row, row.read(value)


def _from_environ(environ: Mapping[str, str], own: Collection[str], warnings: list[str]) -> _Layer:
    layer = _Layer()
    foreign = []
    rows = _VARIABLES | {row.variable: row for name in sorted(own) for row in own_rows(name)}
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if _FOREIGN.fullmatch(name):
            foreign.append(name)
            continue
        layer.take(f"env {printable(name)}", _variable, name, environ[name], rows)
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        warnings.append(
            f"ignored {printable(foreign[0])}{others}: what Kubernetes sets for a Service called micronode"
            " (enableServiceLinks: false keeps it out of the pod)"
        )
    return layer


def _variable(name: str, text: str, rows: Mapping[str, Key]) -> tuple[Key, Any]:
    row = rows.get(name)
    if row is None:
        # Without what all of them begin with, which would make any two of them alike.
        found = closest(
            name.removeprefix(_PREFIX), (each.removeprefix(_PREFIX) for each in (*rows, CONFIG_VARIABLE))
        )
        hint = meant(found and _PREFIX + found)
        raise RefusedError(f"unknown variable{hint}", "unset it; variables are MICRONODE_<SECTION>_<KEY>")
    return row, row.parse(text)


def _from_flags(flags: Iterable[Flag], own: Collection[str]) -> _Layer:
    layer = _Layer()
    for flag in flags:
        layer.take(printable(flag.origin), _flag, flag, own)
    return layer


def _flag(flag: Flag, own: Collection[str]) -> tuple[Key, Any]:
    path = tuple(flag.path.split("."))
    if keys := keys_below(path, own):
        what = f"{flag.path} is a section, not a value"
        raise RefusedError(what, f"name a key of it, as in --set {keys[0]}=VALUE")
    row = find_key(path, own)
    return row, row.parse(flag.text)
