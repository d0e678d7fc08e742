"""The schema of the configuration: one table, from which everything else about a key is derived.

The attrs classes below ARE the table: each field carries its kind, doc, unit, default and range as
metadata (:func:`key`). ``KEYS`` is that table laid flat (``"http.listen"`` -> :class:`Key`); files,
variables, flags, errors and documentation are generated from it. Nothing here does IO; where values
come from is :mod:`micronode.config.sources`.

(Longer than most modules because it is a table.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from micronode.config.address import ListenAddress
from micronode.config.kinds import (
    ConfigError,
    Key,
    Kind,
    Problem,
    RefusedError,
    did_you_mean,
    shorten,
)
from micronode.oap.wire import limits as wire

__all__ = [
    "FACET_NAMES",
    "KEYS",
    "OWNER_NAMES",
    "PROFILES",
    "SECTIONS",
    "Admin",
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
    "Owner",
    "Problem",
    "Timeouts",
    "find_key",
    "flatten",
    "key",
]

_META: Final = "micronode"


def key(kind: Kind, doc: str, default: Any, **rest: Any) -> Any:
    """Make one field of a section. *default* may map names to defaults (owners, facets).

    :param rest: further fields of :class:`Key`.
    """
    unit = {Kind.DURATION: "s", Kind.SIZE: "bytes"}.get(kind, "")
    row = {"kind": kind, "doc": doc, "default": default, "unit": unit, **rest}

    def convert(value: Any, section: Any, field: attrs.Attribute[Any]) -> Any:
        # A section built by hand is held to the same rules as one from a file.
        where = f"{type(section).__name__}.{field.name}"
        try:
            return Key(path=where, **row).read(value)
        except RefusedError as refused:
            raise ConfigError([Problem(where, refused.what, refused.fix)]) from None

    converter = attrs.Converter(convert, takes_self=True, takes_field=True)
    plain = attrs.NOTHING if isinstance(default, Mapping) else default
    return attrs.field(default=plain, converter=converter, metadata={_META: row})


def _duration(doc: str, default: float, *, minimum: float = 0.001, maximum: float = 86_400.0) -> Any:
    return key(Kind.DURATION, doc, default, minimum=minimum, maximum=maximum)


def _listen(doc: str, default: str, *, may_be_off: bool = True) -> Any:
    return key(Kind.LISTEN, doc, default, may_be_off=may_be_off)


@attrs.frozen(kw_only=True)
class Node:
    """The node as a whole."""

    profile: str = key(
        Kind.CHOICE, "Named set of defaults that the node starts from.", "none", choices=("none", "dev")
    )


@attrs.frozen(kw_only=True)
class Http:
    """The HTTP application plane."""

    listen: str = _listen("Where HTTP callers connect.", "127.0.0.1:5310")
    idle: float = _duration("How long a connection may wait for its next request.", 75.0)


@attrs.frozen(kw_only=True)
class Admin:
    """The admin plane: health, readiness, version, metrics."""

    listen: str = _listen(
        "Where operators and probes connect; closes last.", "127.0.0.1:5311", may_be_off=False
    )


@attrs.frozen(kw_only=True)
class Oap:
    """The OAP/1 plane."""

    listen: str = _listen("Where OAP/1 callers connect.", "127.0.0.1:5312")


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what one caller can make the node hold."""

    max_frame: int = key(
        Kind.SIZE,
        "Largest OAP frame, header included; may only be lowered.",
        wire.MAX_FRAME_BYTES,
        minimum=wire.MIN_MAX_FRAME_BYTES,
        maximum=wire.MAX_FRAME_BYTES,
    )
    # Below 64 bytes a chunk would be smaller than its own frame header and trailer of bookkeeping.
    max_chunk: int = key(
        Kind.SIZE,
        "Largest payload of an OAP body frame; may only be lowered.",
        wire.MAX_CHUNK_BYTES,
        minimum=64,
        maximum=wire.MAX_CHUNK_BYTES,
    )
    max_inflight: int = key(
        Kind.INTEGER, "Open streams an OAP connection may have.", wire.MAX_INFLIGHT, minimum=1, maximum=4096
    )
    decompress_ratio: int = key(
        Kind.INTEGER,
        "How many times its size what a caller sends compressed may become, above 4096 bytes; may only be"
        " lowered.",
        wire.DECOMPRESS_RATIO,
        minimum=1,
        maximum=wire.DECOMPRESS_RATIO,
    )
    max_object: int = key(Kind.SIZE, "Largest object put over OAP.", 1024**3, minimum=1, maximum=1024**4)


@attrs.frozen(kw_only=True)
class Timeouts:
    """How slow a caller may be, and an owner once its answer or an upload has begun."""

    handshake: float = _duration("From connecting to a whole HELLO (OAP).", 10.0)
    read: float = _duration("For a whole HTTP head, or a whole OAP frame once begun.", 5.0)
    body: float = _duration("For an HTTP request body, plus 1 s for each 64 KiB of it.", 10.0)
    idle: float = _duration(
        "Silence after which an OAP connection without streams is closed; and the longest gap in an"
        " owner's answer.",
        60.0,
    )
    stall: float = _duration(
        "How long one stream may keep its OAP connection from being read; and how long an owner may take"
        " nothing of an upload.",
        5.0,
    )
    stream_idle: float = _duration("Longest gap between the frames of an open request body (OAP).", 30.0)
    write_stall: float = _duration(
        "How long a caller may accept no byte of its response. Seen as TCP shows it: one that reads less "
        "than a window step (about 64 KiB on loopback) in that time counts as one that does not.",
        30.0,
    )


@attrs.frozen(kw_only=True)
class Drain:
    """Stopping."""

    grace: float = _duration("From not ready to closed listeners.", 10.0, minimum=0.0, maximum=3600.0)
    deadline: float = _duration("For calls in flight to finish after that.", 5.0, minimum=0.0, maximum=3600.0)


@attrs.frozen(kw_only=True)
class Auth:
    """Who may call."""

    mode: str = key(
        Kind.CHOICE,
        "open: no capability is asked for, so every listener must be loopback or a Unix socket.",
        "open",
        choices=("open",),
        later=("required",),
    )


@attrs.frozen(kw_only=True)
class Log:
    """The log on standard error."""

    level: str = key(
        Kind.CHOICE,
        "Least severe line that is written.",
        "info",
        choices=("debug", "info", "warning", "error"),
    )
    format: str = key(
        Kind.CHOICE,
        "json: one object a line; console: for people; auto: console on a terminal, else json.",
        "auto",
        choices=("auto", "json", "console"),
    )


@attrs.frozen(kw_only=True)
class Owner:
    """One owner service. The defaults are where ``micronode owners`` listens."""

    url: tuple[str, ...] = key(
        Kind.URLS,
        "Where it listens: one URL or a list.",
        {"index": ("http://127.0.0.1:5321",), "storage": ("http://127.0.0.1:5323",)},
    )
    timeout: float = _duration("For one attempt, up to the response head.", 5.0, maximum=3600.0)
    concurrency: int = key(Kind.INTEGER, "Calls it gets at a time.", 64, minimum=1, maximum=65_536)


@attrs.frozen(kw_only=True)
class Facet:
    """One facet."""

    enabled: bool = key(
        Kind.BOOLEAN, "Whether it is served.", {"graph": True, "search": True, "media": False}
    )
    limit: int = key(
        Kind.INTEGER,
        "Calls it serves at a time; one more is refused with 429.",
        {"graph": 128, "search": 96, "media": 32},
        minimum=1,
        maximum=65_536,
    )
    timeout: float = _duration("From dispatch to the response head.", 5.0, maximum=3600.0)


OWNER_NAMES: Final = ("index", "storage")
FACET_NAMES: Final = ("graph", "search", "media")
#: Sections with one member a name.
_NAMED: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = {
    "owners": (Owner, OWNER_NAMES),
    "facets": (Facet, FACET_NAMES),
}
_PLAIN: Final[Mapping[str, Any]] = {
    "node": Node,
    "http": Http,
    "admin": Admin,
    "oap": Oap,
    "limits": Limits,
    "timeouts": Timeouts,
    "drain": Drain,
    "auth": Auth,
    "log": Log,
}
SECTIONS: Final = (*_PLAIN, *_NAMED)


def _rows(cls: Any, prefix: str, name: str | None = None) -> Iterator[Key]:
    for field in attrs.fields(cls):
        row = dict(field.metadata[_META])
        if isinstance(row["default"], Mapping):
            row["default"] = row["default"][name]
        yield Key(path=f"{prefix}.{field.name}", **row)


#: The table laid flat, in the order of the classes above.
KEYS: Final[Mapping[str, Key]] = MappingProxyType(
    {
        row.path: row
        for row in (
            *(row for section, cls in _PLAIN.items() for row in _rows(cls, section)),
            *(
                row
                for section, (cls, names) in _NAMED.items()
                for name in names
                for row in _rows(cls, f"{section}.{name}", name)
            ),
        )
    }
)

#: Profiles: canonical values by path.
PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    "dev": {"auth.mode": "open", "facets.media.enabled": True, "drain.grace": 0.0},
}


def _is_section(path: tuple[str, ...]) -> bool:
    """Whether a table, not a value, stands at *path*."""
    group = _NAMED.get(path[0])
    if len(path) == 1:
        return path[0] in _PLAIN or group is not None
    return len(path) == 2 and group is not None and path[1] in group[1]


def find_key(path: tuple[str, ...]) -> Key:
    """Return the row at *path* (``("http", "listen")``).

    :raises RefusedError: there is none; it says which part is unknown and what was probably meant.
    """

    def unknown(what: str, place: str, word: str, known: Iterable[str]) -> RefusedError:
        hint = did_you_mean(word, known)
        return RefusedError(f"unknown {what} {shorten(word)}{place}{hint}", f"there are {', '.join(known)}")

    group, rest = path[0], path[1:]
    if group in _NAMED:
        target, names = _NAMED[group]
        if rest and rest[0] not in names:
            raise unknown("name", f" in [{group}]", rest[0], names)
        group, rest = ".".join(path[:2]), path[2:]
    elif group in _PLAIN:
        target = _PLAIN[group]
    else:
        raise unknown("section", "", group, SECTIONS)
    known = [field.name for field in attrs.fields(target)]
    if not rest:
        raise RefusedError(
            f"{group} is a section, not a value", f"write [{group}] and under it {', '.join(known)}"
        )
    if len(rest) > 1 or rest[0] not in known:
        raise unknown("key", f" in [{group}]", ".".join(rest), known)
    return KEYS[f"{group}.{rest[0]}"]


def flatten(mapping: Mapping[Any, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (path, value) for each leaf of a nested *mapping*.

    Only known sections are entered, so that an unknown one is one leaf and one error.
    """
    for name, value in mapping.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and _is_section(path):
            yield from flatten(value, path)
        else:
            yield path, value


def _members(section: str) -> Any:
    """Make the field of a named section: members left out have their defaults."""
    target, names = _NAMED[section]

    def convert(given: Mapping[str, Any]) -> Mapping[str, Any]:
        problems = [
            Problem(
                f"Config.{section}",
                f"unknown name {shorten(n)}{did_you_mean(n, names)}",
                f"there are {', '.join(names)}",
            )
            for n in given
            if n not in names
        ]
        if problems:
            raise ConfigError(problems)
        for name, member in given.items():
            if not isinstance(member, target):
                raise TypeError(f"Config.{section}[{name!r}] takes {target.__name__}, not {shorten(member)}")
        return MappingProxyType(
            {name: given.get(name) or _built(target, section, {}, name) for name in names}
        )

    return attrs.field(factory=dict, converter=convert)


def _built(target: Any, section: str, values: Mapping[str, Any], name: str | None = None) -> Any:
    """Build one section from canonical *values* by path; what is not there has its default."""
    prefix = section if name is None else f"{section}.{name}"
    return target(**{row.name: values.get(row.path, row.default) for row in _rows(target, prefix, name)})


def _frozen(given: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(given))


@attrs.frozen(kw_only=True)
class Config:
    """A node's whole configuration: immutable, checked, all defaults filled in.

    ``Config()`` is a node on loopback with default ports. A section built by hand
    (``Config(http=Http(listen="127.0.0.1:0"))``) is held to the same rules as a file's.

    :raises ConfigError: values that do not fit together.
    """

    node: Node = attrs.field(factory=Node)
    http: Http = attrs.field(factory=Http)
    admin: Admin = attrs.field(factory=Admin)
    oap: Oap = attrs.field(factory=Oap)
    limits: Limits = attrs.field(factory=Limits)
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    drain: Drain = attrs.field(factory=Drain)
    auth: Auth = attrs.field(factory=Auth)
    log: Log = attrs.field(factory=Log)
    owners: Mapping[str, Owner] = _members("owners")
    facets: Mapping[str, Facet] = _members("facets")
    #: Where each value that was set came from, by path: ``profile dev``, ``FILE:LINE``,
    #: ``env MICRONODE_X``, ``flag --x``, ``program``. All others are defaults.
    sources: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False, converter=_frozen)

    def __attrs_post_init__(self) -> None:
        problems = tuple(self._contradictions())
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
        for path, value in flatten(mapping):
            try:
                row = find_key(path)
                values[row.path] = row.read(value)
            except RefusedError as refused:
                problems.append(Problem(".".join(path), refused.what, refused.fix))
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
        sections: dict[str, Any] = {name: _built(target, name, merged) for name, target in _PLAIN.items()}
        for section, (target, names) in _NAMED.items():
            sections[section] = {name: _built(target, section, merged, name) for name in names}
        return cls(**sections, sources=known)

    def values(self) -> dict[str, Any]:
        """Return the canonical values by path, in the order of ``KEYS``."""
        found: dict[str, Any] = {}
        for path in KEYS:
            group, *names, name = path.split(".")
            section = getattr(self, group)
            found[path] = getattr(section[names[0]] if names else section, name)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values, fit for JSON and for :meth:`from_mapping`: seconds, bytes, lists."""
        nested: dict[str, Any] = {}
        for path, value in self.values().items():
            *groups, name = path.split(".")
            inner = nested
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[name] = list(value) if isinstance(value, tuple) else value
        return nested

    def sha(self) -> str:
        """Return the SHA-256 (hex) of the values; where they came from does not change it."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def overrides(self) -> dict[str, str]:
        """Return ``flag``, ``env``, ``file`` or ``profile`` by path, for each value that came from there."""
        words = {source: source.partition(" ")[0] for source in self.sources.values()}
        return {
            path: words[source] if words[source] in ("flag", "env", "profile") else "file"
            for path, source in self.sources.items()
            if source != "program"
        }

    def _contradictions(self) -> Iterator[Problem]:
        taken: dict[str, str] = {}
        listeners = {"http": self.http.listen, "admin": self.admin.listen, "oap": self.oap.listen}
        for section, listen in listeners.items():
            if listen == "off":
                continue
            path = f"{section}.listen"
            where = self.sources.get(path, path)
            address = ListenAddress.parse(listen)
            if self.auth.mode == "open" and not address.is_local:
                yield Problem(
                    path if where == "program" else where,
                    f'{path} = "{listen}" is not loopback, and with auth.mode = "open" anyone could call',
                    f'use "127.0.0.1:{address.port}", "[::1]:{address.port}" or "unix:/path"',
                )
            if (address.path or address.port) and taken.setdefault(listen, path) != path:
                yield Problem(
                    path if where == "program" else where,
                    f'{path} = "{listen}" is the address of {taken[listen]} too',
                    "give each listener its own",
                )
