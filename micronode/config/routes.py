"""The routes of a facet of the user's own, as a configuration writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from micronode.config.problems import RefusedError, closest, meant, shorten

if TYPE_CHECKING:
    from micronode.config.kinds import Key

_KEYS: Final = ("method", "path", "access")
#: Keys of one route that are told as unknown.
_MAX_UNKNOWN: Final = 8
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ACCESS: Final = ("read", "write")
#: A segment that may be anything.
_ARGUMENT: Final = re.compile(r"\{([a-z_]{1,32})\}")
_PATH: Final = re.compile(
    r"/(?:(?:[A-Za-z0-9._~-]+|\{[a-z_]{1,32}\})/)*(?:[A-Za-z0-9._~-]+|\{[a-z_]{1,32}\})?"
)
#: All that follows, slashes included.
_REST: Final = "{rest}"


@attrs.frozen
class Route:
    """One route of a facet of the user's own; *access* is ``read`` or ``write``.

    In its *path* ``{name}`` is one segment, which is not empty, and a last ``{rest}`` is all that follows.
    """

    method: str
    path: str
    access: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.access}"

    def covers(self, other: Route) -> bool:
        """Whether every request that *other* takes is one that this takes."""
        if self.method != other.method:
            return False
        ours, theirs = self.path.split("/"), other.path.split("/")
        for number, segment in enumerate(ours):
            if number == len(theirs):
                return False
            if segment == _REST:
                return True
            there = theirs[number]
            if segment != there and (there in ("", _REST) or not _ARGUMENT.fullmatch(segment)):
                return False
        return len(ours) == len(theirs)


def read_route(key: Key, value: Any) -> Route:
    """Return *value*, a table as TOML has it, as a route.

    :raises RefusedError: it is none; of all that is wrong with it.
    """
    if isinstance(value, Route):
        return value
    if not isinstance(value, Mapping):
        raise key.mistyped(value)
    if refused := list(_mistakes(key, value)):
        raise RefusedError.of(refused)
    return Route(str(value["method"]), value.get("path") or f"/{_REST}", str(value["access"]))


def _mistakes(key: Key, value: Mapping[Any, Any]) -> Iterator[RefusedError]:
    """Yield what is wrong with *value* as a route."""
    if "capability" in value:
        yield RefusedError(
            f"{key.path}: capability is not available yet in this release",
            "leave it out; access says whether the route reads or writes",
        )
    unknown = [name for name in value if name not in _KEYS and name != "capability"]
    meant_keys = set()
    for name in unknown[:_MAX_UNKNOWN]:
        close = closest(str(name), _KEYS)
        meant_keys.add(close)
        what = f"{key.path} has an unknown key {shorten(name)}{meant(close)}"
        yield RefusedError(what, f"there are {', '.join(_KEYS)}")
    for name, known in (("method", _METHODS), ("access", _ACCESS)):
        word = value.get(name)
        # One that stands under a misspelt key is not missing.
        if word not in known and not (word is None and name in meant_keys):
            what = f"{key.path}: {name} is missing" if word is None else f"{key.path}: {name} {shorten(word)}"
            hint = meant(closest(word, known)) if isinstance(word, str) else ""
            yield RefusedError(what, f"use one of {', '.join(known)}{hint}")
    if value.get("path") is not None:
        yield from _mistakes_of_path(key, value["path"])


def _mistakes_of_path(key: Key, path: Any) -> Iterator[RefusedError]:
    if not isinstance(path, str) or not _PATH.fullmatch(path) or has_dots(path):
        yield RefusedError(f"{key.path}: path {shorten(path)}", 'use a path such as "/{rest}" or "/v1/{id}"')
        return
    names = _ARGUMENT.findall(path)
    if "rest" in names[:-1] or ("rest" in names and not path.endswith(f"/{_REST}")):
        yield RefusedError(
            f"{key.path}: path {shorten(path)} goes on behind {{rest}}, which is everything",
            "let {rest} be its last segment, or give the segment another name",
        )
    elif len(set(names)) < len(names):
        what = f"{key.path}: path {shorten(path)} has two segments of one name"
        yield RefusedError(what, "give each its own")


def has_dots(path: str) -> bool:
    """Whether a segment of *path* is ``.`` or ``..``."""
    return any(segment in (".", "..") for segment in path.split("/"))
