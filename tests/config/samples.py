"""A value other than the default for every key, in each way of writing it; made from the schema."""

from typing import Any

from micronode.config.documents import Document
from micronode.config.kinds import NUMBERS, ConfigError, Key, Kind, Route
from micronode.config.schema import KEYS
from micronode.config.sources import Loaded, merge

#: Keys that have no other value than their default.
SINGLE = ("tls.min_version",)
#: Keys by path, all of which have another value.
ROWS = {path: row for path, row in KEYS.items() if path not in SINGLE}
#: The same, of those whose feature exists.
BUILT_ROWS = {path: row for path, row in ROWS.items() if row.built}

_OTHERS: dict[Kind, Any] = {
    Kind.URLS: ("http://a:1", "unix:/run/b"),
    Kind.UPSTREAM: "http://a:1",
    Kind.FILE: "/etc/micronode/some file",
    Kind.WEB_PATH: "/healthz",
    Kind.INSTANT: "2026-01-31T12:00:00Z",
    Kind.HOSTS: ("node.example", "::1"),
    Kind.NETWORKS: ("10.0.0.0/8", "2001:db8::/32"),
    Kind.NAMES: ("edge-1", "edge-2"),
    Kind.UIDS: (0, 1000),
    Kind.ROUTES: (Route("GET", "/{rest}", "read"), Route("POST", "/v1/x", "write")),
}


def other(row: Key) -> Any:
    """Return a canonical value of *row* that is not its default."""
    if row.kind in _OTHERS:
        return _OTHERS[row.kind]
    if row.kind is Kind.LISTEN:
        return f"unix:/run/{row.path}"
    if row.kind is Kind.BOOLEAN:
        return not row.default
    if row.kind is Kind.CHOICE:
        return next(word for word in row.choices if word != row.default)
    if row.kind is Kind.DURATION:
        return row.default + 1.5
    return row.default // 2 if row.default // 2 > (row.minimum or 0) else row.default + 1


def companions(row: Key) -> dict[str, Any]:
    """Return the values, by path, without which another value of *row* would be a contradiction."""
    pair = {"tls.certificate": "/c", "tls.private_key": "/k"}
    if row.path.endswith(".tls"):
        return pair
    if row.path in pair:
        return {path: value for path, value in pair.items() if path != row.path}
    section = row.path.rpartition(".")[0]
    if section.startswith("owners.") and row.name in ("certificate", "private_key"):
        partner = "private_key" if row.name == "certificate" else "certificate"
        return {f"{section}.url": ("https://owner",), f"{section}.{partner}": "/other"}
    if row.name == "ca":
        return {row.path.replace(".ca", ".url"): ("https://owner",)}
    return {
        "tls.client_allow": {"tls.client_ca": "/ca"},
        "auth.mode": {"auth.key_file": "/keys"},
        "persistence.dir": {"amnesia.enabled": False},
    }.get(row.path, {})


def companion_toml(row: Key) -> str:
    """Return the companions of *row* as lines of dotted keys."""
    return "".join(f"{path} = {KEYS[path].toml(value)}\n" for path, value in companions(row).items())


def merged(*, file: tuple[str, str] | None = None, beside: Key | None = None, **sources: Any) -> Loaded:
    """Merge *sources* and one *file*, name and text.

    :param beside: a row whose companions are set, too, as weakly as can be.
    """
    documents = [] if beside is None else [Document.parse("beside", companion_toml(beside))]
    return merge(documents=documents + ([] if file is None else [Document.parse(*file)]), **sources)


def document(row: Key, text: str) -> str:
    """Return a TOML document that sets *row* on its third line."""
    section, _, name = row.path.rpartition(".")
    return f"# one key\n[{section}]\n{name} = {text}\n"


def mistyped(row: Key) -> list[Any]:
    """Return values that have not the type of *row*."""
    wrong: list[Any] = [None, {}, b"x", "no such value \0", float("nan")]
    if row.kind is not Kind.UIDS:
        wrong.append([1])
    if not row.optional:
        wrong.append("")
    if row.kind is not Kind.BOOLEAN:
        wrong.append(True)
    if row.kind not in NUMBERS:
        wrong.append(3)
    return wrong


def refusals(**sources: object) -> list[str]:
    """Return the lines of the refusal of *sources*."""
    try:
        merged(**sources)  # type: ignore[arg-type]
    except ConfigError as error:
        return str(error).splitlines()
    raise AssertionError("not refused")
