"""A value other than the default for every key, in each way of writing it; made from the schema."""

from typing import Any

from micronode.config.kinds import Key, Kind
from micronode.config.schema import KEYS

#: Keys whose one value is the default in this release.
SINGLE = ("auth.mode",)
#: Keys by path, all of which have another value.
ROWS = {path: row for path, row in KEYS.items() if path not in SINGLE}


def other(row: Key) -> Any:
    """Return a canonical value of *row* that is not its default."""
    if row.kind is Kind.LISTEN:
        return f"unix:/run/{row.path}"
    if row.kind is Kind.URLS:
        return ("http://a:1", "unix:/run/b")
    if row.kind is Kind.BOOLEAN:
        return not row.default
    if row.kind is Kind.CHOICE:
        return next(word for word in row.choices if word != row.default)
    if row.kind is Kind.DURATION:
        return row.default + 1.5
    return row.default // 2


def as_toml(row: Key, value: Any) -> str:
    """Write a canonical *value* as TOML."""
    if row.kind is Kind.URLS:
        return "[" + ", ".join(f'"{url}"' for url in value) + "]"
    if row.kind in (Kind.BOOLEAN, Kind.INTEGER):
        return row.show(value)
    return f'"{row.show(value)}"'


def document(row: Key, text: str) -> str:
    """Return a TOML document that sets *row* on its third line."""
    section, _, name = row.path.rpartition(".")
    return f"# one key\n[{section}]\n{name} = {text}\n"


def mistyped(row: Key) -> list[Any]:
    """Return values that have not the type of *row*."""
    wrong: list[Any] = [None, {}, [1], b"x", "", "no such value \0", float("nan")]
    if row.kind is not Kind.BOOLEAN:
        wrong.append(True)
    if row.kind not in (Kind.INTEGER, Kind.SIZE, Kind.DURATION):
        wrong.append(3)
    return wrong
