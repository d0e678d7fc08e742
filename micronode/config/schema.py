"""The schema of the configuration: one table, from which everything else about a key is derived.

The attrs classes of :mod:`~micronode.config.sections`, :mod:`~micronode.config.guards` and
:mod:`~micronode.config.members` ARE the table. ``KEYS`` is that table laid flat (``"http.listen"`` ->
:class:`Key`); files, variables, flags, errors and documentation are generated from it. Nothing here does
IO; where values come from is :mod:`micronode.config.sources`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from micronode.config.address import ListenAddress
from micronode.config.contradictions import contradictions
from micronode.config.fields import key
from micronode.config.guards import Amnesia, Auth, Persistence, Pq, Tls
from micronode.config.kinds import Key, Kind, Route, plain
from micronode.config.members import (
    BUILT_FACETS,
    BUILT_OWNERS,
    FACET_NAMES,
    OWNER_NAMES,
    Facet,
    Owner,
    OwnFacet,
)
from micronode.config.problems import ConfigError, Problem, RefusedError, did_you_mean, shorten
from micronode.config.sections import Admin, Drain, Http, Limits, Log, Node, Oap, Overload, Timeouts, Uds
from micronode.config.table import (
    KEYS,
    NAMED,
    PLAIN,
    SECTIONS,
    find_key,
    flatten,
    own_names,
    own_rows,
    rows_of,
)

__all__ = [
    "BUILT_FACETS",
    "BUILT_OWNERS",
    "FACET_NAMES",
    "KEYS",
    "OWNER_NAMES",
    "PROFILES",
    "SECTIONS",
    "Admin",
    "Amnesia",
    "Auth",
    "Config",
    "ConfigError",
    "Drain",
    "Facet",
    "Http",
    "Key",
    "Kind",
    "Limits",
    "ListenAddress",
    "Log",
    "Node",
    "Oap",
    "Overload",
    "OwnFacet",
    "Owner",
    "Persistence",
    "Pq",
    "Problem",
    "Route",
    "Timeouts",
    "Tls",
    "Uds",
    "find_key",
    "flatten",
    "key",
]

#: How the source of a value from a file ends.
_FILE_LINE: Final = re.compile(r":[0-9]+\Z")
#: Profiles: canonical values by path.
PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    "dev": {
        "auth.mode": "open",
        "facets.media.enabled": True,
        "amnesia.enabled": True,
        "log.file_ok": True,
        "drain.grace": 0.0,
    },
}


def _members(section: str) -> Any:
    """Make the field of a named section: members left out have their defaults."""
    target, names = NAMED[section]

    def convert(given: Mapping[str, Any]) -> Mapping[str, Any]:
        problems = [
            Problem(
                f"Config.{section}",
                f"unknown name {shorten(n)}{did_you_mean(n, names)}",
                f"there are {', '.join(names)}",
            )
            for n, member in given.items()
            if n not in names and not isinstance(member, OwnFacet)
        ]
        if problems:
            raise ConfigError(problems)
        for name, member in given.items():
            if not isinstance(member, target):
                raise TypeError(f"Config.{section}[{name!r}] takes {target.__name__}, not {shorten(member)}")
        whole = {name: given.get(name) or _built(target, section, {}, name) for name in names}
        return MappingProxyType(whole | {name: each for name, each in given.items() if name not in whole})

    return attrs.field(factory=dict, converter=convert)


def _built(target: Any, section: str, values: Mapping[str, Any], name: str | None = None) -> Any:
    """Build one section from canonical *values* by path; what is not there has its default."""
    found = rows_of(section, name)
    fields = {row.name: values.get(row.path, row.default) for row in found}
    return target(**fields)


def _frozen(given: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(given))


@attrs.frozen(kw_only=True)
class Config:
    """A node's whole configuration: immutable, checked, all defaults filled in.

    ``Config()`` is a node on loopback with default ports. A section built by hand
    (``Config(http=Http(listen="127.0.0.1:0"))``) is held to the same rules as a file's. What this release
    cannot do may stand in it (:meth:`unbuilt`); a node is not made of that.

    :raises ConfigError: values that do not fit together.
    """

    node: Node = attrs.field(factory=Node)
    http: Http = attrs.field(factory=Http)
    admin: Admin = attrs.field(factory=Admin)
    oap: Oap = attrs.field(factory=Oap)
    limits: Limits = attrs.field(factory=Limits)
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    tls: Tls = attrs.field(factory=Tls)
    pq: Pq = attrs.field(factory=Pq)
    auth: Auth = attrs.field(factory=Auth)
    amnesia: Amnesia = attrs.field(factory=Amnesia)
    persistence: Persistence = attrs.field(factory=Persistence)
    owners: Mapping[str, Owner] = _members("owners")
    facets: Mapping[str, Facet] = _members("facets")
    overload: Overload = attrs.field(factory=Overload)
    drain: Drain = attrs.field(factory=Drain)
    log: Log = attrs.field(factory=Log)
    uds: Uds = attrs.field(factory=Uds)
    #: Where each value that was set came from, by path: ``profile dev``, ``FILE:LINE``,
    #: ``env MICRONODE_X``, ``flag --x``, ``program``. All others are defaults.
    sources: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False, converter=_frozen)

    def __attrs_post_init__(self) -> None:
        problems = tuple(contradictions(self))
        if problems:
            raise ConfigError(problems)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Config:
        """Build from nested plain values: ``{"http": {"listen": "127.0.0.1:0"}}``.

        Durations may be numbers: seconds.

        :raises ConfigError: naming every unknown key and every value that does not fit.
        """
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        own = own_names(mapping)
        for path, value in flatten(mapping, own):
            try:
                row = find_key(path, own)
                values[row.path] = row.read(value)
            except RefusedError as refused:
                problems += refused.problems(".".join(path))
        if problems:
            raise ConfigError(problems)
        return cls.from_values(values, dict.fromkeys(values, "program"))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], sources: Mapping[str, str]) -> Config:
        """Build from canonical *values* by path, on top of the profile they name.

        :param sources: where each of them came from.
        :raises ConfigError: values that do not fit together.
        """
        profile = values.get("node.profile", KEYS["node.profile"].default)
        merged = {**PROFILES[profile], **values}
        known = {**dict.fromkeys(PROFILES[profile], f"profile {profile}"), **sources}
        sections: dict[str, Any] = {name: _built(target, name, merged) for name, target in PLAIN.items()}
        for section, (target, names) in NAMED.items():
            sections[section] = {name: _built(target, section, merged, name) for name in names}
        own = {path.split(".")[1] for path in values if path.startswith("facets.")} - set(FACET_NAMES)
        # One whose kind was refused has its own problem already.
        for name in sorted(each for each in own if f"facets.{each}.kind" in values):
            sections["facets"][name] = _built(OwnFacet, "facets", merged, name)
        return cls(**sections, sources=known)

    def rows(self) -> Iterator[tuple[Key, Any]]:
        """Yield every key with its canonical value, in the order of ``KEYS``, the user's facets last."""
        own = [row for name in self.facets if name not in FACET_NAMES for row in own_rows(name)]
        for row in (*KEYS.values(), *own):
            group, *names, name = row.path.split(".")
            section = getattr(self, group)
            yield row, getattr(section[names[0]] if names else section, name)

    def values(self) -> dict[str, Any]:
        """Return the canonical values by path, in the order of :meth:`rows`."""
        return {row.path: value for row, value in self.rows()}

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values, fit for JSON and for :meth:`from_mapping`: seconds, bytes, lists."""
        nested: dict[str, Any] = {}
        for row, value in self.rows():
            *groups, name = row.path.split(".")
            inner = nested
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[name] = plain(value)
        return nested

    def sha(self) -> str:
        """Return the SHA-256 (hex) of the values; where they came from does not change it."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def overrides(self) -> dict[str, str]:
        """Return ``flag``, ``env``, ``file`` or ``profile`` by path, for each value that came from there."""
        return {
            # A file may have any name, so its line is looked for first.
            path: "file" if _FILE_LINE.search(source) else source.partition(" ")[0]
            for path, source in self.sources.items()
            if source != "program"
        }

    def source(self, path: str) -> str:
        """Return where the value at *path* came from: one of :attr:`sources`, or ``default``."""
        return self.sources.get(path, "default")

    def place(self, path: str) -> str:
        """Return where a problem of *path* is: its source, or where that is no place, its name."""
        return place(path, self.sources)

    def unbuilt(self) -> Iterator[Problem]:
        """Yield what is asked for that does not exist in this release."""
        return unbuilt(self.rows(), self.place)

    def require_built(self) -> None:
        """Refuse what this release cannot do, rather than run without it.

        :raises ConfigError: see :meth:`unbuilt`.
        """
        if problems := tuple(self.unbuilt()):
            raise ConfigError(problems)


def place(path: str, sources: Mapping[str, str]) -> str:
    """Return where a problem of *path* is: its source, or where that is no place, its name."""
    source = sources.get(path, path)
    return path if source == "program" else source


def unbuilt(pairs: Iterable[tuple[Key, Any]], place: Callable[[str], str]) -> Iterator[Problem]:
    """Yield what *pairs* of keys and canonical values ask for that does not exist in this release.

    :param place: tells where the value of a path comes from.
    """
    for row, value in pairs:
        if row.is_inert(value):
            continue
        inert = " or ".join(row.toml(each) for each in row.inert or (row.default,))
        fix = f"remove it, or set it to {inert}, which asks for nothing"
        text = row.toml(value)
        text = text if len(text) <= 60 else f"{text[:57]}..."
        yield Problem(place(row.path), f"{row.path} = {text} is not available yet in this release", fix)
