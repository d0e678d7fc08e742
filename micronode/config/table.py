"""The table laid flat, and how a path finds its row in it, or what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from micronode.config.fields import names_with, rows
from micronode.config.guards import Amnesia, Auth, Persistence, Pq, Tls
from micronode.config.kinds import Key
from micronode.config.members import FACET_NAMES, OWN, OWNER_NAMES, Facet, Owner, OwnFacet
from micronode.config.problems import RefusedError, closest, did_you_mean, meant, shorten
from micronode.config.sections import Admin, Drain, Http, Limits, Log, Node, Oap, Overload, Timeouts, Uds

#: Sections in the order in which they are shown; those with one member a name are None here.
_ORDER: Final[Mapping[str, Any]] = {
    "node": Node,
    "http": Http,
    "admin": Admin,
    "oap": Oap,
    "limits": Limits,
    "timeouts": Timeouts,
    "tls": Tls,
    "pq": Pq,
    "auth": Auth,
    "amnesia": Amnesia,
    "persistence": Persistence,
    "owners": None,
    "facets": None,
    "overload": Overload,
    "drain": Drain,
    "log": Log,
    "uds": Uds,
}
SECTIONS: Final = tuple(_ORDER)
PLAIN: Final[Mapping[str, Any]] = {name: cls for name, cls in _ORDER.items() if cls is not None}
#: Sections with one member a name.
NAMED: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = {
    "owners": (Owner, OWNER_NAMES),
    "facets": (Facet, FACET_NAMES),
}
#: What stands at the top of a file and nowhere else; see :mod:`micronode.config.documents`.
_INCLUDE: Final = "include"
#: Name of a facet of the user's own: it stands in URLs, metrics and variables.
_OWN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


@cache
def rows_of(section: str, name: str | None) -> tuple[Key, ...]:
    """Return the rows of *section*, or of its member *name*."""
    if name is None:
        return tuple(rows(PLAIN[section], section))
    target, names = NAMED[section]
    if name not in names:
        return own_rows(name)
    return tuple(rows(target, f"{section}.{name}", name))


def own_rows(name: str) -> tuple[Key, ...]:
    """Return the rows of the user's own facet *name*."""
    return tuple(rows(OwnFacet, f"facets.{name}", OWN))


def _flat() -> Iterator[Key]:
    for section in SECTIONS:
        if section in PLAIN:
            yield from rows_of(section, None)
        else:
            for name in NAMED[section][1]:
                yield from rows_of(section, name)


#: The table laid flat, in the order in which it is shown. Facets of the user's own are not in it.
KEYS: Final[Mapping[str, Key]] = MappingProxyType({row.path: row for row in _flat()})
#: The option of ``micronode run`` that sets a key -> its path.
FLAGS: Final[Mapping[str, str]] = MappingProxyType({row.flag: path for path, row in KEYS.items() if row.flag})


def is_section(path: tuple[str, ...], own: Collection[str] = ()) -> bool:
    """Whether a table, not a value, stands at *path*; *own* are the names of the user's facets."""
    group = NAMED.get(path[0])
    if len(path) == 1:
        return path[0] in PLAIN or group is not None
    if len(path) != 2 or group is None:
        return False
    # What has no name that a facet may have is not entered, so that this is said once, not for each key.
    return path[1] in group[1] or (_is_own(path, own) and _OWN_NAME.fullmatch(path[1]) is not None)


def keys_below(path: tuple[str, ...], own: Collection[str] = ()) -> tuple[str, ...]:
    """Return the paths of the keys in the section at *path*; none where no section is."""
    if not is_section(path, own):
        return ()
    prefix = ".".join(path) + "."
    rows = (*KEYS.values(), *(row for name in own for row in own_rows(name)))
    return tuple(row.path for row in rows if row.path.startswith(prefix))


def _is_own(path: tuple[str, ...], own: Collection[str]) -> bool:
    return path[0] == "facets" and path[1] in own


def own_names(mapping: Mapping[Any, Any]) -> set[str]:
    """Return the names of the user's own facets in a nested *mapping*: those with a ``kind``."""
    facets = mapping.get("facets")
    if not isinstance(facets, Mapping):
        return set()
    return {str(name) for name, each in facets.items() if isinstance(each, Mapping) and "kind" in each} - set(
        FACET_NAMES
    )


def flatten(
    mapping: Mapping[Any, Any], own: Collection[str] = (), above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (path, value) for each leaf of a nested *mapping*.

    Only known sections are entered, so that an unknown one is one leaf and one error.
    """
    for name, value in mapping.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and is_section(path, own):
            yield from flatten(value, own, path)
        else:
            yield path, value


def find_key(path: tuple[str, ...], own: Collection[str] = ()) -> Key:
    """Return the row at *path* (``("http", "listen")``).

    :param own: the names of the user's own facets.
    :raises RefusedError: there is none; it says which part is unknown and what was probably meant.
    """
    group, rest = path[0], path[1:]
    if path[-1] == _INCLUDE:
        raise _misplaced_include(".".join(path[:-1]))
    if group not in SECTIONS:
        raise _unknown_section(group, rest)
    member: str | None = None
    if group in NAMED and rest:
        member, rest = rest[0], rest[1:]
        if _is_own((group, member), own):
            if not _OWN_NAME.fullmatch(member):
                raise RefusedError(
                    f"{shorten(member)} cannot be the name of a facet",
                    "use a lower-case letter, then letters, digits and _, at most 32",
                )
        elif member not in NAMED[group][1]:
            raise _unknown_member(group, member)
    elif group in NAMED:
        names = NAMED[group][1]
        raise RefusedError(f"{group} is a section, not a value", f"write one of {_headers(group, names)}")
    section = group if member is None else f"{group}.{member}"
    known = {row.name: row for row in rows_of(group, member)}
    if not rest:
        fix = f"write [{section}] and under it {', '.join(known)}"
        raise RefusedError(f"{section} is a section, not a value", fix)
    if len(rest) > 1 or rest[0] not in known:
        raise _unknown_key(section, ".".join(rest), known)
    return known[rest[0]]


def _headers(group: str, names: Iterable[str]) -> str:
    return ", ".join(f"[{group}.{name}]" for name in names)


def _misplaced_include(section: str) -> RefusedError:
    what = f"include is no key of [{section}]" if section else "include is no key"
    return RefusedError(what, "write it at the top of a file, before its first [section]")


def _unknown_section(group: str, rest: tuple[str, ...]) -> RefusedError:
    hint = closest(group, SECTIONS) or (None if rest else _elsewhere(group))
    what = f"unknown section {shorten(group)}"
    return RefusedError(f"{what}{meant(hint)}", f"there are {', '.join(SECTIONS)}")


def _unknown_member(group: str, member: str) -> RefusedError:
    names = NAMED[group][1]
    hint, there = did_you_mean(member, names), ", ".join(names)
    if group == "facets":
        shown = member if _OWN_NAME.fullmatch(member) else shorten(member)
        what = f'[facets.{shown}] needs a kind ("proxy" or "echo")'
        return RefusedError(what, f"set it; built in are {there}{hint}")
    return RefusedError(f"unknown name {shorten(member)} in [{group}]{hint}", f"there are {there}")


def _unknown_key(section: str, word: str, known: Mapping[str, Key]) -> RefusedError:
    group, _, member = section.partition(".")
    if group == "facets" and member in FACET_NAMES and word in (row.name for row in rows_of(group, OWN)):
        what = f"[{section}] has no {word}, since {member} is built in: it asks its owner"
        return RefusedError(what, f"give a service of your own another name, as in [facets.my_{member}]")
    holders = names_with(NAMED[group][0], word) if group in NAMED else ()
    hint = None if holders else closest(word, known) or _elsewhere(word)
    only = f" (only {_headers(group, holders)} has it)" if holders else meant(hint)
    return RefusedError(f"unknown key {shorten(word)} in [{section}]{only}", f"there are {', '.join(known)}")


def _elsewhere(word: str) -> str | None:
    """Return the path of a key of another section that *word* is, or nearly is."""
    by_name: dict[str, str] = {}
    for path, row in KEYS.items():
        by_name.setdefault(row.name, path)
    if (name := closest(word, by_name)) is not None:
        return by_name[name]
    return closest(word, KEYS)
