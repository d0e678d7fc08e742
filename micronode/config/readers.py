"""The readers of the kinds: from what TOML or a program gives to one canonical value, or a refusal.

Each takes the key that it reads for (its path and form stand in refusals) and a value as TOML or Python
types it. Pure: no IO.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from micronode.config.address import ListenAddress
from micronode.config.measures import is_number
from micronode.config.problems import RefusedError, closest, did_you_mean, shorten
from micronode.config.routes import Route, has_dots, read_route
from micronode.config.url import OwnerUrl

if TYPE_CHECKING:
    from micronode.config.kinds import Key

#: More than this in one list is a mistake, not a cluster.
MAX_URLS: Final = 16
MAX_ITEMS: Final = 64
#: What Linux takes as a path, less its closing NUL.
_MAX_PATH: Final = 4095
#: One root key as a key file has it, or PEM: the content where the name of its file belongs.
_KEY_MATERIAL: Final = re.compile(r"(?:\S{1,32}[ :])?[0-9a-fA-F]{64,}|-----BEGIN", re.ASCII)
_WEB_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+;=:@-]+/)*[A-Za-z0-9._~!$&'()*+;=:@-]*")


def read_integer(key: Key, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        digits = re.fullmatch(r"\s*([0-9]{1,18})\s*", value) if isinstance(value, str) else None
        raise key.mistyped(value, digits and f"{digits[1]} without quotes")
    return value


def read_boolean(key: Key, value: Any) -> bool:
    if not isinstance(value, bool):
        word = closest(value, ("true", "false")) if isinstance(value, str) else None
        word = {0: "false", 1: "true"}.get(value, word) if type(value) is int else word
        raise key.mistyped(value, word)
    return value


def read_choice(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        same = f'"{value}"' if is_number(value) and str(value) in key.choices else None
        raise key.mistyped(value, same)
    if value not in key.choices:
        raise RefusedError(
            f"{key.path} cannot be {shorten(value)}", f"use {key.form}{did_you_mean(value, key.choices)}"
        )
    return value


def read_listen(key: Key, value: Any) -> str:
    if value == "off":
        if not key.may_be_off:
            raise RefusedError(f"{key.path} cannot be off", f"it takes {key.form}")
        return "off"
    try:
        return str(ListenAddress.parse_listener(value))
    except ValueError as error:
        found = re.fullmatch(r"(?:\*|0)?:?([0-9]{1,5})", str(value))
        raise key.mistyped(value, found and f'"127.0.0.1:{found[1]}"', str(error)) from None


def _read_url(key: Key, url: str) -> str:
    try:
        return str(OwnerUrl.parse(url))
    except ValueError as error:
        # What stands before an @ may be a password, and errors end up in journals.
        scheme, slashes, _ = url.partition("://")
        shown = f"{scheme if slashes else ''}{slashes}...@{url.rpartition('@')[2]}" if "@" in url else url
        meant_url = None
        if not slashes and re.fullmatch(r"[A-Za-z0-9_.-]+:[0-9]{1,5}(?:/\S*)?", url):
            meant_url = f'"http://{url}"'
        raise key.mistyped(shown, meant_url, str(error)) from None


def read_upstream(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    if key.optional and not value:
        return ""
    url = _read_url(key, value)
    prefix = OwnerUrl.parse(url).prefix
    if prefix:
        without = f'"{url.removesuffix(prefix)}"'
        raise key.mistyped(value, without, "it has a path; what callers ask for is passed on as it is")
    return url


def read_file(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    if _KEY_MATERIAL.match(value):
        # Never repeated: it may be the key itself.
        raise RefusedError(f"{key.path} holds what looks like a key, not a path", f"it takes {key.form}")
    if not value.isprintable() or len(value.encode("utf-8", "surrogatepass")) > _MAX_PATH:
        raise key.mistyped(value)
    if not value and not key.optional:
        raise key.mistyped(value)
    return value


def read_web_path(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    if value and (not _WEB_PATH.fullmatch(value) or has_dots(value)):
        raise key.mistyped(value)
    return value


def read_instant(key: Key, value: Any) -> str:
    if value == "" and isinstance(value, str):
        return ""
    moment = value
    if isinstance(value, str) and "T" in value:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        raise key.mistyped(value)
    if moment.tzinfo is None:
        raise key.mistyped(str(value), f'"{moment.isoformat()}Z"', "it names no time zone")
    try:
        return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        raise key.mistyped(str(value)) from None


# Lists ------------------------------------------------------------------------------------------------


def _list_of(item: Callable[[Key, Any], Any], most: int, *, lone: bool = False) -> Callable[[Key, Any], Any]:
    """Make a reader of lists; a *lone* value may stand for a list of one."""

    def read(key: Key, value: Any) -> tuple[Any, ...]:
        given = [value] if lone and isinstance(value, str) else value
        if not isinstance(given, (list, tuple)):
            quotable = isinstance(value, str) and value.isprintable() and not set(value) & set("\"'\\ ")
            raise key.mistyped(value, f'["{value}"]' if value and quotable else None)
        if not (1 - key.optional) <= len(given) <= most:
            what = f"{key.path} has {len(given)} items"
            raise RefusedError(what, f"it takes {1 - key.optional} to {most}")
        return tuple(item(key, each) for each in given)

    return read


def _url(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    return _read_url(key, value)


def _host(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    bare = value.strip("[]")
    text = f"[{bare}]:0" if ":" in bare else f"{value}:0"
    try:
        return ListenAddress.parse_tcp(text).host.lower()
    except ValueError as error:
        found = re.fullmatch(r"([A-Za-z0-9_.-]+):[0-9]{1,5}", value)
        raise key.mistyped(value, found and f'"{found[1]}"', str(error)) from None


def _network(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        try:
            whole = f'"{ipaddress.ip_network(value, strict=False)}"'
        except ValueError:
            raise key.mistyped(value) from None
        raise key.mistyped(value, whole, str(error)) from None


def _name(key: Key, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 255:
        raise key.mistyped(value)
    return value


def _word(key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise key.mistyped(value)
    if value not in key.choices:
        raise RefusedError(
            f"{key.path} cannot hold {shorten(value)}",
            f"it takes {key.form}{did_you_mean(value, key.choices)}",
        )
    return value


def _uid(key: Key, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32 - 1:
        raise key.mistyped(value)
    return value


read_urls: Final = _list_of(_url, MAX_URLS, lone=True)
read_hosts: Final = _list_of(_host, MAX_ITEMS)
read_networks: Final = _list_of(_network, MAX_ITEMS)
read_names: Final = _list_of(_name, MAX_ITEMS)
read_words: Final = _list_of(_word, MAX_ITEMS)
read_uids: Final = _list_of(_uid, MAX_ITEMS)
_routes: Final = _list_of(lambda key, value: value, MAX_ITEMS)


def read_routes(key: Key, value: Any) -> tuple[Route, ...]:
    """Read a list of routes; of several it is said which ones are refused."""
    given = _routes(key, value)
    routes, refused = [], []
    for at, each in enumerate(given, 1):
        shown = key if len(given) == 1 else attrs.evolve(key, path=f"{key.path}, no. {at}")
        try:
            routes.append(read_route(shown, each))
        except RefusedError as error:
            refused.append(error)
    if refused:
        raise RefusedError.of(refused)
    return tuple(routes)
