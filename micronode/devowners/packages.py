"""The default corpus: the packages installed in this Python environment.

A fresh machine so has real text to search, a real graph to walk and real objects to fetch, without
a download.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution, distributions
from typing import Final

from micronode.devowners.corpus import Document, Edge, normalised
from micronode.devowners.markup import plain_markdown, plain_rst

_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)([^;]*)(.*)", re.DOTALL)
_EXTRA: Final = re.compile(r"\bextra\s*==")
_PLAIN: Final[dict[str, Callable[[str], str]]] = {"text/markdown": plain_markdown, "text/x-rst": plain_rst}


class PackageCorpus:
    """Documents made of distributions' metadata.

    :param found: the distributions, those that win first; by default all on ``sys.path``.
    """

    name = "packages"

    def __init__(self, found: Callable[[], Iterable[Distribution]] = distributions) -> None:
        self._found = found
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Document]:
        """Read the metadata one by one. A distribution found twice counts where it is imported from."""
        seen: set[str] = set()
        for distribution in self._found():
            document = self._document(distribution)
            if document is None:
                self.skipped["unreadable"] += 1
            elif document.id not in seen:
                seen.add(document.id)
                yield document

    def _document(self, distribution: Distribution) -> Document | None:
        try:
            # Metadata half removed or damaged comes as None, as missing fields, or as an exception.
            metadata = distribution.metadata
            name = _field(metadata, "Name")
            summary = _field(metadata, "Summary")
            description = _field(metadata, "Description")
            declared = _field(metadata, "Description-Content-Type")
            required = distribution.requires or []
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        if not name:
            return None
        media_type = declared.partition(";")[0].strip().lower()
        if media_type not in _PLAIN:
            media_type = "text/plain"
        title = f"{name}: {summary}" if summary else name
        # Without a declared type it is reStructuredText more often than not, and harmless to plain text.
        plain = _PLAIN.get(media_type, plain_rst)
        own_id = normalised(name)
        return Document(
            id=own_id,
            title=title,
            text=plain(description),
            body=(description or title).encode("utf-8", "replace"),
            content_type=f"{media_type}; charset=utf-8",
            edges=tuple(edge for edge in requirements(required) if edge.target != own_id),
        )


def requirements(lines: Iterable[str]) -> list[Edge]:
    """Return the edges that ``Requires-Dist`` lines mean, one for each name.

    What only an extra requires is marked optional; other markers are not evaluated, since the graph
    tells what a package may need, not what this machine does.
    """
    optional: dict[str, bool] = {}
    for line in lines:
        match = _REQUIREMENT.fullmatch(line)
        if match is None:
            continue
        target = normalised(match[1])
        optional[target] = optional.get(target, True) and _EXTRA.search(match[3]) is not None
    return [Edge("requires", target, is_optional) for target, is_optional in optional.items()]


def _field(metadata: object, name: str) -> str:
    get = getattr(metadata, "get")  # noqa: B009 - PackageMetadata has it, its older protocol class does not
    value = str(get(name) or "").strip()
    # Old build tools wrote this for what they were not told.
    return "" if value == "UNKNOWN" else value
