"""Durations and sizes: how they are read, and what was probably meant by what is none."""

from __future__ import annotations

import contextlib
import math
import re
from typing import TYPE_CHECKING, Any, Final

from micronode.config.problems import RefusedError, shorten

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


def is_number(value: Any) -> bool:
    """Whether *value* is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_duration(key: Key, value: Any) -> float:
    if is_number(value) and math.isfinite(value):
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
    if not isinstance(value, str) and not is_number(value):
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
