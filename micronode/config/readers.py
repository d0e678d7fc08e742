"""The readers of the kinds: from what TOML or a program gives to one canonical value, or a refusal.

Each takes the key that it reads for (its path and form stand in refusals) and a value as TOML or Python
types it. Pure: no IO.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from micronode.config.address import ListenAddress
from micronode.config.problems import RefusedError, closest, did_you_mean, shorten
from micronode.config.routes import Route, has_dots, read_route
from micronode.config.url import OwnerUrl

if TYPE_CHECKING:
    from micronode.config.kinds import Key

SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SIZES: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)")
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(B|KiB|MiB|GiB)?", re.IGNORECASE)
#: A number and whatever unit, to tell what was probably meant.
_MEASURE: Final = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{0,12})\s*")
#: One or several of them in a row, perhaps below nothing.
_PART: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{0,12})")
_MEASURES: Final = re.compile(r"\s*-?(?:\s*[0-9]{1,12}(?:\.[0-9]{1,9})?\s*[A-Za-z]{1,12})++\s*")
_MAX_MEASURE: Final = 40
#: What people write, and nothing that is configured lasts.
_DAYS: Final = {"d": 86_400.0}
#: More than this in one list is a mistake, not a cluster.
MAX_URLS: Final = 16
MAX_ITEMS: Final = 64
#: What Linux takes as a path, less its closing NUL.
_MAX_PATH: Final = 4095
#: One root key as a key file has it, or PEM: the content where the name of its file belongs.
_KEY_MATERIAL: Final = re.compile(r"(?:\S{1,32}[ :])?[0-9a-fA-F]{64,}|-----BEGIN", re.ASCII)
_WEB_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+;=:@-]+/)*[A-Za-z0-9._~!$&'()*+;=:@-]*")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_duration(key: Key, value: Any) -> float:
    if _is_number(value) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        if value == "0":
            return 0.0
        if found := _DURATION.fullmatch(value):
            return round(float(found[1]) * SECONDS[found[2]], 9)
        seconds = _seconds(value)
        if seconds is not None and key.range and not (key.minimum or 0) <= seconds <= (key.maximum or 0):
            raise RefusedError(f"{key.path} is {shorten(value)}, out of range", f"use {key.range}")
    raise key.mistyped(value, allowed_duration(key, value))


def allowed_duration(key: Key, value: Any) -> str | None:
    """Return the duration that *value* was probably meant to be: of those that *key* takes."""
    # A bare number is mostly of seconds, else of milliseconds.
    for text in (meant_duration(value), meant_duration(f"{value}ms")):
        if text is not None:
            with contextlib.suppress(RefusedError):
                key.read(text.strip('"'))
                return text
    return None


def meant_duration(value: Any) -> str | None:
    """Return the duration that was probably meant: a number, or one with other words for its units."""
    if not isinstance(value, str) and not _is_number(value):
        return None
    text = str(value)
    if (found := _MEASURE.fullmatch(text)) and (unit := _unit(found[2])) in SECONDS:
        return f'"{found[1]}{unit}"'
    seconds = _seconds(text)
    if seconds is None or seconds < 0:
        return None
    if not seconds:
        return '"0s"'
    unit = next(name for name in ("h", "m", "s", "ms") if name == "ms" or seconds % SECONDS[name] == 0)
    return f'"{seconds / SECONDS[unit]:.12g}{unit}"'


def _unit(word: str) -> str | None:
    """Return the unit that a *word* is for; nothing is for seconds."""
    plain = word.lower()
    known = {"ms": ("ms", "mil"), "m": ("m",), "h": ("h",), "s": ("s",), "d": ("d",)}
    return next((name for name, starts in known.items() if plain.startswith(starts)), None if word else "s")


def _seconds(text: str) -> float | None:
    """Return how long *text* would be if units had many names and could follow each other."""
    if len(text) > _MAX_MEASURE or not _MEASURES.fullmatch(text):
        return None
    total = 0.0
    for number, word in _PART.findall(text):
        unit = _unit(word)
        if unit is None:
            return None
        total += float(number) * (SECONDS | _DAYS)[unit]
    return round(-total if text.lstrip().startswith("-") else total, 9)


def read_size(key: Key, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        unit = next(size for name, size in SIZES.items() if name.lower() == (found[2] or "B").lower())
        size = float(found[1]) * unit
        if size.is_integer():
            return int(size)
    raise key.mistyped(value, _meant_size(value))


def _meant_size(value: Any) -> str | None:
    found = _MEASURE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not found[2]:
        return None
    unit = next((name for name in SIZES if name[0] == found[2][0].upper()), None)
    return unit and f'"{found[1]}{unit}"'


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
        same = f'"{value}"' if _is_number(value) and str(value) in key.choices else None
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
