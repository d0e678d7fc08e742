"""What a configuration key takes: the kinds of values, their readers, and how one is refused.

Pure text and numbers: no IO, no knowledge of which keys there are (that is
:mod:`micronode.config.schema`). Every reader returns a canonical value (seconds, bytes, tuples) or
says what is wrong and what would be right.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

import attrs

from micronode.config.address import ListenAddress
from micronode.config.url import OwnerUrl


@attrs.frozen
class Problem:
    """One thing wrong: *where* (file and line, variable, flag or key), *what*, and how to *fix* it."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        where = "" if self.what.startswith(self.where) else f"{self.where}: "
        return f"{where}{self.what}; {self.fix}"


class ConfigError(Exception):
    """The configuration is refused. It names every problem found, not just the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class Kind(Enum):
    """What a key takes; the value is the accepted form as an error message puts it."""

    DURATION = 'a duration such as "5s", "500ms", "2m" or "1h"'
    SIZE = 'a size such as "64KiB", "1.5GiB" or "512B", or a whole number of bytes'
    INTEGER = "a whole number"
    BOOLEAN = "true or false"
    CHOICE = "one of a few words"
    #: HOST:PORT, unix:/path, or off.
    LISTEN = '"HOST:PORT" or "unix:/path"'
    #: One string or a list of them; held as a tuple.
    URLS = 'a URL such as "http://127.0.0.1:5321" or "unix:/path", or a list of them'


class RefusedError(ValueError):
    """A value does not fit its key: *what* is wrong with it, and the *fix*."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}; {fix}")
        self.what = what
        self.fix = fix


@attrs.frozen(kw_only=True)
class Key:
    """One row of the table."""

    #: ``section.key``, for owners and facets ``section.NAME.key``.
    path: str
    kind: Kind
    doc: str
    #: The canonical default; a tuple for ``Kind.URLS``.
    default: Any
    #: Unit of the canonical value: ``s``, ``bytes`` or nothing.
    unit: str = ""
    #: Inclusive range of numbers, in *unit*.
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    #: Words that are reserved and will be choices in a later release.
    later: tuple[str, ...] = ()
    #: For listeners: whether ``off`` is a value.
    may_be_off: bool = False

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "MICRONODE_" + self.path.upper().replace(".", "_")

    @property
    def form(self) -> str:
        """What it takes, in words."""
        if self.kind is Kind.CHOICE:
            return "one of " + ", ".join(f'"{word}"' for word in self.choices)
        if self.may_be_off:
            return f'{self.kind.value}, or "off"'
        return str(self.kind.value)

    def read(self, value: Any) -> Any:
        """Return *value*, typed as TOML or Python types it, in canonical form.

        Durations may also be numbers: seconds.

        :raises RefusedError: it has the wrong type or form, or is out of range.
        """
        canonical = _READERS[self.kind](self, value)
        if self.minimum is not None and not self.minimum <= canonical <= (self.maximum or math.inf):
            low, high = self.show(self.minimum), self.show(self.maximum)
            raise RefusedError(f"{self.path} is {shorten(value)}, out of range", f"use {low} to {high}")
        return canonical

    def parse(self, text: str) -> Any:
        """Return the canonical value of *text*, as a variable or flag gives it (lists by comma).

        :raises RefusedError: see :meth:`read`.
        """
        if self.kind is Kind.BOOLEAN:
            word = text.strip().lower()
            return self.read(True if word in _TRUE else False if word in _FALSE else text)
        if self.kind is Kind.INTEGER:
            return self.read(int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) else text)
        if self.kind is Kind.URLS:
            return self.read([part.strip() for part in text.split(",")])
        return self.read(text.strip())

    def show(self, value: Any) -> str:
        """Return a canonical *value* as one would write it in a variable or flag."""
        if self.kind is Kind.DURATION:
            return f"{value * 1000:g}ms" if 0 < value < 1 else f"{value:g}s"
        if self.kind is Kind.SIZE:
            unit, size = next((u, s) for u, s in reversed(_SIZES.items()) if value % s == 0)
            return f"{value // size}{unit}"
        if self.kind is Kind.BOOLEAN:
            return "true" if value else "false"
        if self.kind is Kind.URLS:
            return ",".join(value)
        return str(value)

    def mistyped(self, value: Any) -> RefusedError:
        """Return the refusal of a *value* that has not this key's type or form."""
        return RefusedError(f"{self.path} cannot be {shorten(value)}", f"it takes {self.form}")


# The readers of the kinds -----------------------------------------------------------------------------

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)")
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(B|KiB|MiB|GiB)?", re.IGNORECASE)
#: More URLs than this for one owner is a mistake, not a cluster.
_MAX_URLS: Final = 16


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _read_duration(key: Key, value: Any) -> float:
    if _number(value) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        if value == "0":
            return 0.0
        if found := _DURATION.fullmatch(value):
            return round(float(found[1]) * _SECONDS[found[2]], 9)
    raise key.mistyped(value)


def _read_size(key: Key, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        unit = next(size for name, size in _SIZES.items() if name.lower() == (found[2] or "B").lower())
        size = float(found[1]) * unit
        if size.is_integer():
            return int(size)
    raise key.mistyped(value)


def _read_integer(key: Key, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise key.mistyped(value)
    return value


def _read_boolean(key: Key, value: Any) -> bool:
    if not isinstance(value, bool):
        raise key.mistyped(value)
    return value


def _read_choice(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    if value in key.later:
        raise RefusedError(f'{key.path} = "{value}" is not available yet in this release', f"use {key.form}")
    if value not in key.choices:
        raise RefusedError(
            f"{key.path} cannot be {shorten(value)}", f"use {key.form}{did_you_mean(value, key.choices)}"
        )
    return value


def _read_listen(key: Key, value: Any) -> str:
    if value == "off":
        if not key.may_be_off:
            raise RefusedError(f"{key.path} cannot be off", f"it takes {key.form}")
        return "off"
    try:
        return str(ListenAddress.parse(value))
    except ValueError as error:
        raise RefusedError(
            f"{key.path} cannot be {shorten(value)} ({error})", f"it takes {key.form}"
        ) from None


def _read_urls(key: Key, value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(url, str) for url in given):
        raise key.mistyped(value)
    if not 1 <= len(given) <= _MAX_URLS:
        raise RefusedError(f"{key.path} has {len(given)} URLs", f"it takes 1 to {_MAX_URLS}")
    return tuple(_read_url(key, url) for url in given)


def _read_url(key: Key, url: str) -> str:
    try:
        return str(OwnerUrl.parse(url))
    except ValueError as error:
        # What stands before an @ may be a password, and errors end up in journals.
        scheme, slashes, rest = url.partition("://")
        shown = f"{scheme}{slashes}...@{rest.rpartition('@')[2]}" if "@" in rest else url
        what = f"{key.path} cannot be {shorten(shown)} ({error})"
        raise RefusedError(what, f"it takes {key.form}") from None


_READERS: Final[Mapping[Kind, Callable[[Key, Any], Any]]] = {
    Kind.DURATION: _read_duration,
    Kind.SIZE: _read_size,
    Kind.INTEGER: _read_integer,
    Kind.BOOLEAN: _read_boolean,
    Kind.CHOICE: _read_choice,
    Kind.LISTEN: _read_listen,
    Kind.URLS: _read_urls,
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean X?)"`` when *word* resembles something *known*, else nothing."""
    close = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
