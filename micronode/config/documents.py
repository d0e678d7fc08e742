"""Configuration files: read within bounds, parsed, and what they include.

``include = ["base.toml", "conf.d/owners.toml"]`` at the top of a file names files below that file's own
folder and nothing else: no absolute path, no ``..``, no link that leads out of it. What a file sets
counts more than what it includes, a later include more than an earlier one.

Only :func:`read_documents` touches the disk.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import attrs

from micronode.config.lines import deepest_line, line_index
from micronode.config.problems import Problem, printable, shorten

#: Standard input, as ``--config -`` names it.
STANDARD_INPUT: Final = "-"
#: A configuration of every key with a comment each is 16 KiB.
MAX_FILE_BYTES: Final = 1_048_576
#: What names a descriptor of the process, and no file. One may be another by the second time: a daemon's
#: standard input is closed, and what was a file is read as empty.
_DESCRIPTOR: Final = re.compile(r"/dev/(?:std(?:in|out|err)|fd/.*)|/proc/[^/]+/fd/.*", re.DOTALL)
#: Bounds of inclusion: more of it is a mistake, or somebody's attempt.
MAX_FILES: Final = 32
MAX_DEPTH: Final = 8


@attrs.frozen
class Document:
    """One TOML document: its *tree* without ``include``, which *line* sets what, what it *includes*."""

    name: str
    tree: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]
    includes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @classmethod
    def parse(cls, name: str, text: str) -> Document:
        """Parse *text*; what is wrong with it is in ``problems``."""
        name, text = printable(name), text.replace("\r\n", "\n")
        if (deep := deepest_line(text)) is not None:
            return cls(name, {}, {}, problems=(_too_deep(name, deep),))
        try:
            tree = tomllib.loads(text)
            lines = line_index(text)
        except RecursionError:
            return cls(name, {}, {}, problems=(_too_deep(name, 1),))
        except ValueError as error:
            return cls(name, {}, {}, problems=(_syntax(name, text, error),))
        includes = tree.pop("include", [])
        if isinstance(includes, list) and all(isinstance(each, str) for each in includes):
            return cls(name, tree, lines, tuple(includes))
        what = f"include cannot be {shorten(includes)}"
        problem = Problem(f"{name}:{lines.get(('include',), 1)}", what, 'write include = ["base.toml"]')
        return cls(name, tree, lines, problems=(problem,))

    def place(self, path: tuple[str, ...]) -> str:
        """Return ``FILE:LINE`` of what is set at *path*."""
        while path not in self.lines and len(path) > 1:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"


class FileError(Exception):
    """A file cannot be read: *what*, *fix*, and the *line* at fault, where one is."""

    def __init__(self, what: str, fix: str, line: int = 0) -> None:
        super().__init__(what, fix, line)
        self.what = what
        self.fix = fix
        self.line = line


def read_documents(name: str, origin: str, *, again: bool = False) -> tuple[Document, ...]:
    """Read the file *name* and all that it includes, the weakest first.

    :param name: ``-`` is standard input, which includes nothing.
    :param origin: who named it, for problems.
    :param again: it was read before. What can be read only once is a problem then; to read it would give
        nothing, or wait for ever.
    """
    if again and (what := _read_once(name)) is not None:
        problem = Problem(
            origin,
            f"the configuration came from {what}, which cannot be read again",
            "keep it in a file to reload it, or restart with the new one",
        )
        return (Document(printable(name), {}, {}, problems=(problem,)),)
    return tuple(_Reading().read(name, origin))


def _read_once(name: str) -> str | None:
    """Return what *name* is if nobody can read the same from it twice, else None."""
    if name == STANDARD_INPUT:
        return "standard input"
    try:
        found = os.stat(name)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev != os.stat(os.devnull).st_rdev:
            return "a terminal or device"
    except (OSError, ValueError):
        return None  # gone, or no name at all: to be told as for any file
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        return f"the pipe {shorten(name)}"
    return f"the descriptor {shorten(name)}" if _DESCRIPTOR.fullmatch(os.path.normpath(name)) else None


class _Reading:
    """One configuration being read; bounds how much of it there may be."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._files = 0

    def read(self, name: str, origin: str) -> Iterator[Document]:
        try:
            text = read_text(name)
        except FileError as error:
            shown = printable(name)
            where = f"{shown}:{error.line}" if error.line else origin
            yield Document(shown, {}, {}, problems=(Problem(where, error.what, error.fix),))
            return
        document = Document.parse("<stdin>" if name == STANDARD_INPUT else name, text)
        self._files += 1
        self._open.append(os.path.realpath(name))
        yield from self._included(name, document)
        self._open.pop()
        yield document

    def _included(self, name: str, document: Document) -> Iterator[Document]:
        place = document.place(("include",))
        for inner in document.includes:
            problem = self._refusal(name, inner)
            if problem is not None:
                yield Document(document.name, {}, {}, problems=(Problem(place, *problem),))
            else:
                yield from self.read(str(Path(name).parent / inner), place)

    def _refusal(self, name: str, inner: str) -> tuple[str, str] | None:
        """Return what is wrong with including *inner* from the file *name*, and the fix."""
        what = f"it may not include {shorten(inner)}"
        below = "name a file below the folder of the file that includes it"
        if name == STANDARD_INPUT:
            return f"{what}: standard input has no folder", "use a file, or leave include out"
        path = PurePosixPath(inner)
        if not inner or not inner.isprintable():
            return what, below
        if path.is_absolute() or inner.startswith("~"):
            return f"{what}: it is not relative", below
        if ".." in path.parts:
            return f"{what}: it leads up with ..", below
        folder = os.path.realpath(Path(name).parent)
        real = os.path.realpath(Path(folder, inner))
        if os.path.commonpath([folder, real]) != folder:
            return f"{what}: it is a link that leads out of {shorten(folder)}", below
        if real in self._open:
            return f"{what}: that file is including this one", "break the circle"
        if len(self._open) > MAX_DEPTH:
            return f"{what}: files may include each other {MAX_DEPTH} deep", "include it from another file"
        if self._files >= MAX_FILES:
            return f"{what}: a configuration is at most {MAX_FILES} files", "put several into one"
        if os.path.exists(real) and not os.path.isfile(real):
            return f"{what}: it is no file", below
        return None


def read_text(name: str) -> str:
    """Return the text of the configuration file *name*.

    :raises FileError: it is missing, unreadable, too large or no text.
    """
    if not name:
        raise FileError("it names no file", "give the path of a TOML file, or leave it out")
    shown = "standard input" if name == STANDARD_INPUT else shorten(name)
    try:
        data = _read(name)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise FileError(f"cannot read {shown}: {reason}", "name a TOML file that can be read") from None
    if len(data) > MAX_FILE_BYTES:
        raise FileError(f"{shown} is larger than 1 MiB", "name a configuration file")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileError("it is UTF-16", "save the file as UTF-8", 1)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise FileError("it is not text but a binary file", "name a TOML file", line)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError("it is not UTF-8", "save the file as UTF-8", line) from None


def _read(name: str) -> bytes:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    with Path(name).open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(None, "it is a directory")
        return file.read(MAX_FILE_BYTES + 1)


def _too_deep(name: str, line: int) -> Problem:
    return Problem(f"{name}:{line}", "it is nested too deeply", "no key or list is nested so deeply")


def _syntax(name: str, text: str, error: ValueError) -> Problem:
    """Return the problem that a syntax *error* of tomllib is, in words that name the line's text."""
    # tomllib tells the place of a syntax error in its message only (or "at end of document").
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
    what = str(error)[: found.start()] if found else str(error)
    lines = text.split("\n")
    line = int(found[1]) if found and found[1] else text.rstrip("\n").count("\n") + 1
    here = lines[line - 1].strip() if line <= len(lines) else ""
    fix = "correct this line"
    if what.startswith("Cannot declare"):
        what, fix = "this table stands twice", "put all of its keys under one header"
    elif what.startswith("Cannot overwrite"):
        what, fix = "this key is set twice", "keep one of them"
        if found is None or not found[1]:
            here = ""
    elif what.startswith("Illegal character '\\n'"):
        what, fix = "a text is not closed", "close it with the quote that opens it"
    elif re.match(r"[A-Za-z0-9_.\"'-]+\s*=\s*[^\s\"'\[{]", here):
        fix = "correct this line: text stands in quotes, numbers, true and false do not"
    elif re.match(r"[A-Za-z0-9_.-]+\s*:", here):
        fix = "correct this line: a key is set with =, not with a colon"
    at = f" at {shorten(here)}" if here else ""
    return Problem(f"{name}:{line}", f"not TOML: {what}{at}", fix)
