"""Taking markup off text, lightly, and finding the links in it.

Lightly: what is left is to be searched and quoted, not rendered. Every pattern is linear in its
input, so that a strange file costs no more than a long one.
"""

from __future__ import annotations

import ast
import re
import warnings
from html.parser import HTMLParser
from typing import Final

_MD_LINK: Final = re.compile(r"!?\[([^\[\]]{0,512})\]\(\s*<?([^()\s<>]{1,512})>?[^()\n]{0,512}\)")
_MD_DEFINITION: Final = re.compile(r"^ {0,3}\[[^\]\n]{1,512}\]:\s*<?(\S{1,512}?)>?(?:\s.*)?$", re.MULTILINE)
_MD_FENCE: Final = re.compile(r"^ {0,3}(?:```|~~~).*$", re.MULTILINE)
_MD_RULE: Final = re.compile(r"^[ \t]*[-=*_][-=*_ \t]{2,}$", re.MULTILINE)
_MD_MARK: Final = re.compile(r"^ {0,3}(?:#{1,6}|>)[ \t]+|[*`]+|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)", re.MULTILINE)
_TAG: Final = re.compile(r"<!--|-->|</?[A-Za-z][^<>]{0,1024}>")

_RST_ROLE: Final = re.compile(r":[a-zA-Z][\w+.-]{0,63}(?::[\w+.-]{1,64})?:(?=`)")
_RST_TARGET: Final = re.compile(r"`([^`<>\n]{0,512}?)\s?<([^`<>\s]{1,512})>`(_{0,2})")
_RST_RULE: Final = re.compile(r"^[ \t]*([=\-~^\"'`:.#*+_])\1{2,}[ \t]*$", re.MULTILINE)
_RST_EXPLICIT: Final = re.compile(r"^[ \t]*\.\.[ \t]+(?:_[^\n]*|\|[^|\n]*\|[^\n]*)$", re.MULTILINE)
_RST_DIRECTIVE: Final = re.compile(r"^[ \t]*\.\.[ \t]+[\w:+.-]{1,64}::[ \t]*", re.MULTILINE)
_RST_OPTION: Final = re.compile(r"^[ \t]+:[\w-]{1,64}:[^\n]*$", re.MULTILINE)
_RST_DEFINITION: Final = re.compile(r"^[ \t]*\.\. _[^\n]{1,512}?: +(\S{1,512})[ \t]*$", re.MULTILINE)
_RST_INCLUDE: Final = re.compile(r"^[ \t]*\.\. (?:literal)?include:: +(\S{1,512})[ \t]*$", re.MULTILINE)
_RST_DOC: Final = re.compile(r":doc:`(?:[^`<>\n]{0,512}<)?([^`<>\s]{1,512})>?`")
_RST_TOCTREE: Final = re.compile(r"^([ \t]*)\.\. toctree::")
_TITLED: Final = re.compile(r"[^<>]{0,512}<([^<>\s]{1,512})>")
_BLANKS: Final = re.compile(r"[ \t]+")


def plain_markdown(text: str) -> str:
    """Return Markdown (with HTML in it) as plain text."""
    text = _MD_DEFINITION.sub("", text)
    # An image within a link needs two rounds.
    text = _MD_LINK.sub(r"\1", _MD_LINK.sub(r"\1", text))
    text = _MD_RULE.sub("", _MD_FENCE.sub("", text))
    return _tidy(_MD_MARK.sub("", _TAG.sub(" ", text)))


def plain_rst(text: str) -> str:
    """Return reStructuredText as plain text."""
    text = _RST_EXPLICIT.sub("", text)
    text = _RST_OPTION.sub("", _RST_DIRECTIVE.sub("", text))
    text = _RST_TARGET.sub(r"\1", _RST_ROLE.sub("", text))
    text = _RST_RULE.sub("", text)
    return _tidy(text.replace("``", "").replace("`_", "").replace("`", "").replace("**", ""))


def first_heading(text: str) -> str:
    """Return the first line of *text* with a letter or digit in it: a document's title, as a rule."""
    for line in text.splitlines():
        if any(character.isalnum() for character in line):
            return line.strip()[:200]
    return ""


def markdown_links(text: str) -> list[str]:
    """Return where a Markdown text links to, relative links as they stand."""
    return [match[2] for match in _MD_LINK.finditer(text)] + _MD_DEFINITION.findall(text)


def rst_links(text: str) -> list[str]:
    """Return where a reStructuredText links to: targets, ``:doc:``, includes, and tables of contents."""
    found = [match[2] for match in _RST_TARGET.finditer(text) if match[3]]
    for pattern in (_RST_DEFINITION, _RST_INCLUDE, _RST_DOC):
        found += pattern.findall(text)
    indent: int | None = None
    for line in text.splitlines():
        bare = line.strip()
        start = _RST_TOCTREE.match(line)
        if start is not None:
            indent = len(start[1])
        elif indent is not None and bare:
            if len(line) - len(line.lstrip()) <= indent:
                indent = None
            elif not bare.startswith(":"):
                titled = _TITLED.fullmatch(bare)
                found.append(titled[1] if titled else bare)
    return found


class HTMLText(HTMLParser):
    """Reads an HTML text: :attr:`title`, :attr:`links`, and :meth:`text` without tags and scripts."""

    _SILENT: Final = frozenset({"script", "style", "template"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.links: list[str] = []
        self._parts: list[str] = []
        self._silent = ""
        self._in_title = False
        try:
            self.feed(html)
            self.close()
        except (AssertionError, ValueError):
            # The standard parser gives up on some malformed declarations; what came before them counts.
            pass

    def text(self) -> str:
        """Return the text, one line for each piece."""
        return _tidy("\n".join(self._parts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect links; begin a title or a silent element."""
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        if tag in self._SILENT:
            self._silent = tag
        self._in_title = tag == "title"

    def handle_endtag(self, tag: str) -> None:
        """End a title or a silent element."""
        if tag == self._silent:
            self._silent = ""
        self._in_title = False

    def handle_data(self, data: str) -> None:
        """Collect text."""
        if self._in_title and not self.title:
            self.title = _BLANKS.sub(" ", " ".join(data.split()))[:200]
        elif not self._silent and data.strip():
            self._parts.append(data)


def python_outline(source: str) -> tuple[str, list[tuple[int, str]]]:
    """Return a module's docstring and its imports as (level, dotted name); nothing of what is no Python.

    ``from a import b`` gives ``a`` and ``a.b``: b may be a module.
    """
    try:
        with warnings.catch_warnings():
            # Old code in a corpus would print warnings about itself.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", []
    imports: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            imports.append((node.level, base))
            imports += [(node.level, f"{base}.{alias.name}".lstrip(".")) for alias in node.names]
    return ast.get_docstring(tree) or "", imports


def _tidy(text: str) -> str:
    lines = (_BLANKS.sub(" ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)
