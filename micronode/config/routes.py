"""The routes of a facet of the user's own, as a configuration writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from micronode.config.problems import RefusedError, closest, did_you_mean, meant, shorten

if TYPE_CHECKING:
    from micronode.config.kinds import Key

_KEYS: Final = ("method", "path", "access")
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

    :raises RefusedError: it is none.
    """
    if isinstance(value, Route):
        return value
    if not isinstance(value, Mapping):
        raise key.mistyped(value)
    if "capability" in value:
        raise RefusedError(
            f"{key.path}: capability is not available yet in this release",
            "leave it out; access says whether the route reads or writes",
        )
    if unknown := [name for name in value if name not in _KEYS]:
        hint = did_you_mean(str(unknown[0]), _KEYS)
        what = f"{key.path} has an unknown key {shorten(unknown[0])}{hint}"
        raise RefusedError(what, f"there are {', '.join(_KEYS)}")
    method, path, access = (value.get(name) for name in _KEYS)
    for name, word, known in (("method", method, _METHODS), ("access", access, _ACCESS)):
        if word not in known:
            what = f"{key.path}: {name} is missing" if word is None else f"{key.path}: {name} {shorten(word)}"
            hint = meant(closest(word, known)) if isinstance(word, str) else ""
            raise RefusedError(what, f"use one of {', '.join(known)}{hint}")
    return Route(str(method), _read_path(key, path), str(access))


def _read_path(key: Key, path: Any) -> str:
    if path is None:
        return f"/{_REST}"
    if not isinstance(path, str) or not _PATH.fullmatch(path) or has_dots(path):
        raise RefusedError(f"{key.path}: path {shorten(path)}", 'use a path such as "/{rest}" or "/v1/{id}"')
    names = _ARGUMENT.findall(path)
    if "rest" in names[:-1] or ("rest" in names and not path.endswith(f"/{_REST}")):
        raise RefusedError(
            f"{key.path}: path {shorten(path)} goes on behind {{rest}}, which is everything",
            "let {rest} be its last segment, or give the segment another name",
        )
    if len(set(names)) < len(names):
        what = f"{key.path}: path {shorten(path)} has two segments of one name"
        raise RefusedError(what, "give each its own")
    return path


def has_dots(path: str) -> bool:
    """Whether a segment of *path* is ``.`` or ``..``."""
    return any(segment in (".", "..") for segment in path.split("/"))
