"""The corpus of ``--corpus DIR``: a folder's ``.md .rst .txt .html .py`` files and the links between them.

Nothing outside the folder is ever read, whatever symbolic links say, and no file can stop the load:
what cannot be read, decoded or is too long is counted and left out.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import attrs

from micronode.devowners import markup
from micronode.devowners.corpus import Document, Edge
from micronode.devowners.options import StartError

#: Longer files are rarely prose, and one would hold the start up.
MAX_FILE_BYTES: Final = 1_048_576
CONTENT_TYPES: Final = {
    ".md": "text/markdown",
    ".rst": "text/x-rst",
    ".txt": "text/plain",
    ".html": "text/html",
    ".py": "text/x-python",
}
#: What a link may leave out.
_IMPLIED: Final = ("", ".rst", ".md", ".html", ".txt", "/index.html", "/index.rst", "/index.md", "/README.md")


@attrs.frozen
class _Reading:
    title: str
    text: str
    targets: list[str]


class FileCorpus:
    """Documents made of the files below *root*; an id is the path from there, with ``/``.

    :raises StartError: 78: *root* is missing, is not a folder, or has no such file.
    """

    name = "files"

    def __init__(self, root: Path) -> None:
        self.skipped: Counter[str] = Counter()
        self._root = Path(os.path.realpath(root))
        if not self._root.is_dir():
            what = "is not a directory" if self._root.exists() else "does not exist"
            raise StartError(os.EX_CONFIG, f"--corpus {root}: {what}; name a folder with text files")
        self._ids = frozenset(self._walk())
        if not self._ids:
            kinds = " ".join(CONTENT_TYPES)
            raise StartError(os.EX_CONFIG, f"--corpus {root}: no readable file with one of {kinds} below it")
        self._modules = _modules(self._ids)

    def __iter__(self) -> Iterator[Document]:
        """Read the files one by one, in the order of their ids."""
        for file_id in sorted(self._ids):
            document = self._document(file_id)
            if document is not None:
                yield document

    def _walk(self) -> Iterator[str]:
        for folder, subfolders, names in os.walk(self._root, onerror=self._unreadable):
            # os.walk does not follow linked folders; hidden ones hold tools' files, not the user's.
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in names:
                if posixpath.splitext(name)[1].lower() not in CONTENT_TYPES:
                    continue
                path = Path(folder, name)
                if not _is_text_name(path):
                    self.skipped["undecodable"] += 1
                elif not Path(os.path.realpath(path)).is_relative_to(self._root):
                    self.skipped["outside"] += 1
                else:
                    yield path.relative_to(self._root).as_posix()

    def _unreadable(self, _error: OSError) -> None:
        self.skipped["unreadable"] += 1

    def _document(self, file_id: str) -> Document | None:
        try:
            body = _read(self._root / file_id)
        except OSError:
            self.skipped["unreadable"] += 1
            return None
        if body is None:
            self.skipped["too_large"] += 1
            return None
        try:
            source = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.skipped["undecodable"] += 1
            return None
        suffix = posixpath.splitext(file_id)[1].lower()
        reading = self._parse(file_id, suffix, source)
        edges = dict.fromkeys(target for target in reading.targets if target != file_id)
        return Document(
            id=file_id,
            title=reading.title or file_id,
            text=reading.text,
            body=body,
            content_type=f"{CONTENT_TYPES[suffix]}; charset=utf-8",
            edges=tuple(Edge("links", target) for target in edges),
        )

    def _parse(self, file_id: str, suffix: str, source: str) -> _Reading:
        if suffix == ".py":
            docstring, imports = markup.python_outline(source)
            return _Reading(markup.first_heading(docstring), source, self._imported(file_id, imports))
        if suffix == ".html":
            page = markup.HTMLText(source)
            return _Reading(
                page.title or markup.first_heading(page.text()),
                page.text(),
                self._linked(file_id, page.links),
            )
        if suffix == ".md":
            text, links = markup.plain_markdown(source), markup.markdown_links(source)
        elif suffix == ".rst":
            text, links = markup.plain_rst(source), markup.rst_links(source)
        else:
            text, links = source, []
        return _Reading(markup.first_heading(text), text, self._linked(file_id, links))

    def _linked(self, file_id: str, links: Iterable[str]) -> list[str]:
        """Return the ids of the files that *links* in *file_id* lead to."""
        found = []
        for link in links:
            path = unquote(link.partition("#")[0].partition("?")[0])
            if not path or ":" in path.partition("/")[0]:  # a fragment of its own page, or another scheme
                continue
            base = "" if path.startswith("/") else posixpath.dirname(file_id)
            target = posixpath.normpath(posixpath.join(base, path.lstrip("/")))
            found += [target + end for end in _IMPLIED if target + end in self._ids][:1]
        return found

    def _imported(self, file_id: str, imports: Iterable[tuple[int, str]]) -> list[str]:
        """Return the ids of the modules that *file_id* imports."""
        own = _module_name(file_id, self._ids).split(".")
        if posixpath.basename(file_id) == "__init__.py":
            own.append("__init__")
        found = []
        for level, name in imports:
            if level >= len(own):  # beyond the outermost package
                continue
            parts = [*own[: len(own) - level], name] if level else [name]
            target = self._modules.get(".".join(part for part in parts if part))
            if target is not None:
                found.append(target)
        return found


def _modules(ids: Iterable[str]) -> dict[str, str]:
    """Return file ids by the dotted name they are imported under; of two the first in order."""
    known = frozenset(ids)
    modules: dict[str, str] = {}
    for file_id in sorted(known):
        if file_id.endswith(".py"):
            modules.setdefault(_module_name(file_id, known), file_id)
    return modules


def _module_name(file_id: str, ids: frozenset[str]) -> str:
    """Return the dotted name of a module: from the outermost folder in a row that is a package."""
    folder, _, name = file_id.rpartition("/")
    parts = [] if name == "__init__.py" else [name.removesuffix(".py")]
    while folder and f"{folder}/__init__.py" in ids:
        folder, _, package = folder.rpartition("/")
        parts.insert(0, package)
    return ".".join(parts)


def _is_text_name(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read(path: Path) -> bytes | None:
    """Return the file's bytes, or None where it is too long.

    :raises OSError: it cannot be read, or is no plain file (opening a pipe must not wait for a writer).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a plain file")
        body = file.read(MAX_FILE_BYTES + 1)
    return body if len(body) <= MAX_FILE_BYTES else None
