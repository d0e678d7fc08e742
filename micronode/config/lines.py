"""On which line a TOML document sets what: what tomllib does not tell.

A scanner of keys, not a parser: it is only fed text that tomllib has accepted, skips values, and
remembers where each table header and key stands.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

#: One part of a dotted key: bare, "basic" or 'literal'.
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_STRINGS: Final = (
    re.compile(r'"""(?:[^\\]|\\.)*?"""+', re.DOTALL),
    re.compile(r"'''.*?'''+", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]+")

#: Dotted keys up to their last dot, and all that may hold dots and is none. What is not closed goes to the
#: end of its line, or of all: nothing behind it will be read, and nothing here is looked at twice.
_DOTTED: Final = re.compile(
    r"""(?P<key>(?:(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)++)"""
    r"""|[A-Za-z0-9_-]+|#[^\n]*|"{3}(?:[^\\]|\\.)*?(?:"{3,}|\Z)|'{3}.*?(?:'{3,}|\Z)"""
    r"""|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?""",
    re.DOTALL,
)
#: Dots of a key; no key of ours has more than two.
_MAX_DOTS: Final = 32

Path = tuple[str, ...]


def line_index(text: str) -> dict[Path, int]:
    """Return the line (from 1) of each key and table in *text*, a valid TOML document.

    A table named by several keys (``a.b = 1``, ``a.c = 2``) has the line of the first. Inside arrays
    nothing is indexed: ask for the array.
    """
    return _Scanner(text).scan()


def deepest_line(text: str) -> int | None:
    """Return the line of a key in *text*, TOML or not, that is nested beyond any reason; None where none is.

    tomllib keeps every beginning of a dotted key: one of a few hundred KiB would take all memory there is.
    """
    for found in _DOTTED.finditer(text):
        if found["key"] is not None and found["key"].count(".") > _MAX_DOTS:
            return text.count("\n", 0, found.start()) + 1
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        # Lines are counted forward only, so that the whole scan is linear.
        self._counted_at = 0
        self._line = 1

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return self._lines
            if self._text[self._at] == "[":
                self._at += 2 if self._text.startswith("[[", self._at) else 1
                table = self._key(())
                self._at = self._text.index("]", self._at)
                while self._text.startswith("]", self._at):
                    self._at += 1
            else:
                self._pair(table, indexed=True)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _key(self, above: Path) -> Path:
        """Read a dotted key and note its line, and that of tables it is the first to name."""
        self._line += self._text.count("\n", self._counted_at, self._at)
        self._counted_at = self._at
        path = above
        while True:
            self._skip(_SPACE)
            found = _KEY.match(self._text, self._at)
            if found is None:
                raise ValueError(f"no key at offset {self._at}: the text is not valid TOML")
            self._at = found.end()
            path = (*path, _unquoted(found[0]))
            self._lines.setdefault(path, self._line)
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return path
            self._at += 1

    def _pair(self, table: Path, *, indexed: bool) -> None:
        if indexed:
            path = self._key(table)
        else:
            # Keys inside arrays are read for their length only.
            kept, self._lines = self._lines, {}
            path = self._key(())
            self._lines = kept
        self._skip(_SPACE)
        self._at += 1  # the equals sign
        self._value(path, indexed=indexed)

    def _value(self, path: Path, *, indexed: bool) -> None:
        self._skip(_BLANK)
        opening = self._text[self._at : self._at + 1]
        if opening == "[":
            self._group("]", path, indexed=False)
        elif opening == "{":
            self._group("}", path, indexed=indexed)
        else:
            for pattern in (*_STRINGS, _SCALAR):
                if found := pattern.match(self._text, self._at):
                    self._at = found.end()
                    return

    def _group(self, closing: str, path: Path, *, indexed: bool) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text.startswith((closing, ","), self._at):
                self._at += 1
                if self._text[self._at - 1] == closing:
                    return
            elif closing == "}":
                self._pair(path, indexed=indexed)
            else:
                self._value(path, indexed=False)


def _unquoted(part: str) -> str:
    if part[0] not in "\"'":
        return part
    (name,) = tomllib.loads(f"{part} = 0")
    return name
