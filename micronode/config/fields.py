"""How one field of a section is declared: :func:`key` and its short forms.

A field carries its row of the table as attrs metadata, and a section that is built by hand is held to
the same rules as one from a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from micronode.config.kinds import Key, Kind
from micronode.config.problems import ConfigError, RefusedError

_META: Final = "micronode"
#: In a mapping of defaults by name: all names that are not there.
OTHERS: Final = "*"


def key(kind: Kind, doc: str, default: Any, *, only: tuple[str, ...] = (), **rest: Any) -> Any:
    """Make one field of a section.

    :param default: or a mapping of names to defaults (owners, facets; ``OTHERS`` for the rest).
    :param only: in owners and facets: the names that have this key; all where empty.
    :param rest: further fields of :class:`~micronode.config.kinds.Key`; ``built`` and ``optional`` may be
        the frozenset of names for which they hold.
    """
    unit = {Kind.DURATION: "s", Kind.SIZE: "bytes"}.get(kind, "")
    row: dict[str, Any] = {"kind": kind, "doc": doc, "default": default, "unit": unit, **rest}
    # What differs from name to name is settled in rows(); a section by hand has no name.
    checked: dict[str, Any] = {
        field: bool(value) if isinstance(value, frozenset) else value for field, value in row.items()
    }

    def convert(value: Any, section: Any, field: attrs.Attribute[Any]) -> Any:
        where = f"{type(section).__name__}.{field.name}"
        try:
            return Key(path=where, **checked).read(value)
        except RefusedError as refused:
            raise ConfigError(refused.problems(where)) from None

    converter = attrs.Converter(convert, takes_self=True, takes_field=True)
    by_name = isinstance(default, Mapping) and OTHERS not in default
    usual = default[OTHERS] if isinstance(default, Mapping) and not by_name else default
    return attrs.field(
        default=attrs.NOTHING if by_name else usual,
        converter=converter,
        metadata={_META: {"row": row, "only": only}},
    )


def duration(
    doc: str, default: Any, *, minimum: float = 0.001, maximum: float = 86_400.0, **rest: Any
) -> Any:
    return key(Kind.DURATION, doc, default, minimum=minimum, maximum=maximum, **rest)


def integer(doc: str, default: Any, *, minimum: int = 1, maximum: int = 65_536, **rest: Any) -> Any:
    return key(Kind.INTEGER, doc, default, minimum=minimum, maximum=maximum, **rest)


def size(doc: str, default: Any, *, minimum: int = 1, maximum: int = 1024**4, **rest: Any) -> Any:
    return key(Kind.SIZE, doc, default, minimum=minimum, maximum=maximum, **rest)


def choice(doc: str, *choices: str, default: str, **rest: Any) -> Any:
    return key(Kind.CHOICE, doc, default, choices=choices, **rest)


def file(doc: str, **rest: Any) -> Any:
    return key(Kind.FILE, doc, "", optional=True, **rest)


def listen(doc: str, default: str, *, may_be_off: bool = True, **rest: Any) -> Any:
    return key(Kind.LISTEN, doc, default, may_be_off=may_be_off, reload="restart", **rest)


def not_built(make: Any, *args: Any, **rest: Any) -> Any:
    """Make a field with *make* whose feature does not exist yet.

    Giving it an effect means taking this word away, here and nowhere else.
    """
    return make(*args, built=False, **rest)


def rows(cls: Any, prefix: str, name: str | None = None) -> Iterator[Key]:
    """Yield the rows of the section *cls* at *prefix*.

    :param name: of the member, in owners and facets: which defaults it has, and which keys.
    """
    for field in attrs.fields(cls):
        meta = field.metadata[_META]
        if meta["only"] and name not in meta["only"]:
            continue
        row = dict(meta["row"])
        default = row["default"]
        if isinstance(default, Mapping):
            row["default"] = default[name] if name in default else default[OTHERS]
        for differing in ("built", "optional"):
            if isinstance(row.get(differing), frozenset):
                row[differing] = name in row[differing]
        yield Key(path=f"{prefix}.{field.name}", **row)


def names_with(cls: Any, key_name: str) -> tuple[str, ...]:
    """Return which members of the section *cls* have the key *key_name*; all, or none, where empty."""
    field = attrs.fields_dict(cls).get(key_name)
    return () if field is None else tuple(field.metadata[_META]["only"])
