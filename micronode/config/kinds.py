"""What a configuration key takes: the kinds of values, and :class:`Key`, one row of the table.

Pure text and numbers: no IO, no knowledge of which keys there are (that is
:mod:`micronode.config.schema`). Every value has one canonical form (seconds, bytes, tuples).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import attrs

from micronode.config import measures, readers
from micronode.config.problems import (
    ConfigError,
    Problem,
    RefusedError,
    did_you_mean,
    meant,
    shorten,
)
from micronode.config.routes import Route

__all__ = [
    "ConfigError",
    "Key",
    "Kind",
    "Problem",
    "RefusedError",
    "Route",
    "did_you_mean",
    "plain",
    "shorten",
]


class Kind(Enum):
    """What a key takes; the value is the accepted form as an error message puts it."""

    DURATION = 'a duration such as "5s", "500ms", "2m" or "1h"'
    SIZE = 'a size such as "64KiB", "1.5GiB" or "512B", or a whole number of bytes'
    INTEGER = "a whole number"
    BOOLEAN = "true or false"
    CHOICE = "one of a few words"
    #: Where it may be off, also that.
    LISTEN = '"HOST:PORT", "unix:/path" or "systemd:NAME"'
    #: One string or a list of them; held as a tuple, as all lists are.
    URLS = 'a URL such as "http://127.0.0.1:5321" or "unix:/path", or a list of them'
    #: The only one of its kind; empty where there is none.
    UPSTREAM = 'a URL such as "http://127.0.0.1:8000" or "unix:/path"'
    FILE = "the path of a file or folder"
    WEB_PATH = 'a path such as "/healthz"'
    #: Held as text in UTC.
    INSTANT = 'a time with its zone such as "2026-01-31T12:00:00Z"'
    HOSTS = 'a list of host names or addresses such as ["node.example"]'
    NETWORKS = 'a list of networks such as ["10.0.0.0/8"]'
    NAMES = 'a list of names such as ["edge-1"]'
    #: Of those in ``choices``.
    WORDS = "a list of words"
    UIDS = "a list of user ids such as [1000]"
    ROUTES = 'a list of routes such as [{method = "GET", path = "/{rest}", access = "read"}]'


#: Kinds whose canonical values are tuples.
LISTS: Final = frozenset(
    {Kind.URLS, Kind.HOSTS, Kind.NETWORKS, Kind.NAMES, Kind.WORDS, Kind.UIDS, Kind.ROUTES}
)
#: Kinds of numbers, all of which are bounded.
NUMBERS: Final = frozenset({Kind.DURATION, Kind.SIZE, Kind.INTEGER})
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
#: A list as a file has it: an address in brackets holds neither quotes nor braces.
_BRACKETED: Final = re.compile(r"""\s*\[\s*(?:["'{].*|[0-9, ]*)\]\s*""", re.DOTALL)
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")


@attrs.frozen(kw_only=True)
class Key:
    """One row of the table."""

    #: ``section.key``, for owners and facets ``section.NAME.key``.
    path: str
    kind: Kind
    doc: str
    #: The canonical default; a tuple for lists.
    default: Any
    #: Unit of the canonical value: ``s``, ``bytes`` or nothing.
    unit: str = ""
    #: Inclusive range of numbers, in *unit*.
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    #: For listeners: whether ``off`` is a value.
    may_be_off: bool = False
    #: For files, URLs and lists: whether it may be empty, which is "none".
    optional: bool = False
    #: Whether its section is not there without it; then its default is never in force.
    required: bool = False
    #: The option of ``micronode run`` that sets it, without dashes; "" for ``--set`` alone.
    flag: str = ""
    #: ``live``: a reload puts it in force; ``restart``: it needs a new process.
    reload: str = "live"
    #: Whether what it configures exists in this release. Until then only *inert* values may be run with.
    built: bool = True
    #: Where it is not built: the values that ask for nothing; the default alone where empty.
    inert: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "MICRONODE_" + self.path.upper().replace(".", "_").replace("-", "_")

    @property
    def form(self) -> str:
        """What it takes, in words."""
        if self.kind is Kind.CHOICE:
            return "one of " + ", ".join(f'"{word}"' for word in self.choices)
        if self.kind is Kind.WORDS:
            return "a list of " + ", ".join(f'"{word}"' for word in self.choices)
        if self.may_be_off:
            return f'{self.kind.value}, or "off"'
        return str(self.kind.value)

    @property
    def range(self) -> str:
        """Its range as one would write both ends, or nothing."""
        if self.minimum is None or self.maximum is None:
            return ""
        return f"{self.show(self.minimum)} to {self.show(self.maximum)}"

    def is_inert(self, value: Any) -> bool:
        """Whether *value* asks for nothing that this release has not."""
        return self.built or value in (self.inert or (self.default,))

    def read(self, value: Any) -> Any:
        """Return *value*, typed as TOML or Python types it, in canonical form.

        Durations may also be numbers: seconds.

        :raises RefusedError: it has the wrong type or form, or is out of range.
        """
        canonical = _READERS[self.kind](self, value)
        if self.minimum is not None and not self.minimum <= canonical <= (self.maximum or math.inf):
            # Above a maximum that is the default: one of the caps of the protocol.
            capped = (
                " (it may only be lowered)"
                if canonical > self.minimum and self.maximum == self.default
                else ""
            )
            raise RefusedError(f"{self.path} is {shorten(value)}, out of range", f"use {self.range}{capped}")
        return canonical

    def parse(self, text: str) -> Any:
        """Return the canonical value of *text*, as a variable or flag gives it (lists by comma).

        :raises RefusedError: see :meth:`read`.
        """
        if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
            raise RefusedError(
                f"{self.path} cannot be {shorten(text)} (it is not UTF-8)", f"it takes {self.form}"
            )
        if self.kind is Kind.BOOLEAN:
            word = text.strip().lower()
            return self.read(True if word in _TRUE else False if word in _FALSE else text)
        if self.kind is Kind.INTEGER:
            return self.read(int(text) if _INTEGER.fullmatch(text) else text)
        if self.kind in LISTS:
            if _BRACKETED.fullmatch(text):
                raise RefusedError(
                    f"{self.path} cannot be {shorten(text)}",
                    "write the items by comma, without brackets and quotes",
                )
            parts = [part.strip() for part in text.split(",")]
            return self.read([] if self.optional and parts == [""] else [self._item(part) for part in parts])
        return self.read(text.strip())

    def _item(self, text: str) -> Any:
        """Return one item of a list as TOML would type it."""
        if self.kind is Kind.UIDS and _INTEGER.fullmatch(text):
            return int(text)
        if self.kind is Kind.ROUTES:
            words = text.split()
            if len(words) != 3:
                raise RefusedError(
                    f"{self.path} cannot be {shorten(text)}", 'write routes as "METHOD PATH ACCESS", by comma'
                )
            return dict(zip(("method", "path", "access"), words, strict=True))
        return text

    def show(self, value: Any) -> str:
        """Return a canonical *value* as one would write it in a variable or flag."""
        if self.kind is Kind.DURATION:
            return f"{value * 1000:.12g}ms" if 0 < value < 1 else f"{value:.12g}s"
        if self.kind is Kind.SIZE:
            unit, size = next((u, s) for u, s in reversed(measures.SIZES.items()) if value % s == 0)
            return f"{value // size}{unit}"
        if self.kind is Kind.BOOLEAN:
            return "true" if value else "false"
        if self.kind in LISTS:
            return ",".join(map(str, value))
        return str(value)

    def toml(self, value: Any) -> str:
        """Return a canonical *value* as TOML."""
        if self.kind in (Kind.BOOLEAN, Kind.INTEGER):
            return self.show(value)
        if self.kind in LISTS:
            return "[" + ", ".join(map(_toml_item, value)) + "]"
        return _quoted(self.show(value))

    def mistyped(self, value: Any, instead: str | None = None, why: str = "") -> RefusedError:
        """Return the refusal of a *value* that has not this key's type or form.

        :param instead: what was probably meant, as one would write it in a file.
        """
        because = f" ({why})" if why else ""
        return RefusedError(
            f"{self.path} cannot be {shorten(value)}{because}", f"it takes {self.form}{meant(instead)}"
        )


def plain(value: Any) -> Any:
    """Return a canonical *value* in the types of JSON; :meth:`Key.read` takes it back."""
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return attrs.asdict(value) if isinstance(value, Route) else value


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, but for characters beyond the BMP, which stand as they are.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_item(item: Any) -> str:
    if isinstance(item, Route):
        pairs = ", ".join(f"{name} = {_quoted(text)}" for name, text in attrs.asdict(item).items())
        return "{ " + pairs + " }"
    return str(item) if isinstance(item, int) else _quoted(item)


_READERS: Final[Mapping[Kind, Callable[[Key, Any], Any]]] = {
    Kind.DURATION: measures.read_duration,
    Kind.SIZE: measures.read_size,
    Kind.INTEGER: readers.read_integer,
    Kind.BOOLEAN: readers.read_boolean,
    Kind.CHOICE: readers.read_choice,
    Kind.LISTEN: readers.read_listen,
    Kind.URLS: readers.read_urls,
    Kind.UPSTREAM: readers.read_upstream,
    Kind.FILE: readers.read_file,
    Kind.WEB_PATH: readers.read_web_path,
    Kind.INSTANT: readers.read_instant,
    Kind.HOSTS: readers.read_hosts,
    Kind.NETWORKS: readers.read_networks,
    Kind.NAMES: readers.read_names,
    Kind.WORDS: readers.read_words,
    Kind.UIDS: readers.read_uids,
    Kind.ROUTES: readers.read_routes,
}
