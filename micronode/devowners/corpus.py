"""What the owners load at the start: documents with their links, from whichever source.

A source (:mod:`~micronode.devowners.packages`, :mod:`~micronode.devowners.files`) only yields
documents; :func:`load` puts each into the index and its text into storage.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

import attrs

if TYPE_CHECKING:
    from micronode.devowners.index import Index
    from micronode.devowners.storage import ObjectStore

#: A longer text is indexed up to here; its object in storage is whole.
MAX_TEXT_CHARS: Final = 1_048_576


@attrs.frozen
class Edge:
    """A link from a document to a node, which need not have a document of its own."""

    #: ``requires`` or ``links``.
    kind: str
    target: str
    #: Of less weight: a requirement that only an extra brings. Comes last among the neighbours.
    optional: bool = False


@attrs.frozen(kw_only=True)
class Document:
    """One thing to be found: by its text, by its id, or along its edges."""

    id: str
    title: str
    #: What is searched: plain text, markup taken off.
    text: str
    #: What storage keeps: the text as it was found.
    body: bytes
    content_type: str
    edges: tuple[Edge, ...] = ()


class Corpus(Protocol):
    """A source of documents."""

    #: What it is, for the log.
    name: str
    #: What was left out, by reason; complete when the iteration is over.
    skipped: Counter[str]

    def __iter__(self) -> Iterator[Document]:
        """Read the documents one by one, each id once."""


@attrs.define
class Loaded:
    """What :func:`load` did."""

    documents: int = 0
    changed: int = 0
    removed: int = 0


def load(corpus: Corpus, index: Index, store: ObjectStore, result: Loaded) -> Iterator[None]:
    """Bring *index* and *store* up to *corpus*, one document a step; counts go to *result*.

    Loading again what is there already changes nothing. Documents the corpus no longer has leave the
    index; their objects stay, since somebody may hold their address.
    """
    seen: set[str] = set()
    for document in corpus:
        if document.id in seen:
            corpus.skipped["duplicate"] += 1
            continue
        cid = store.put(document.body, document.content_type)
        seen.add(document.id)
        result.documents += 1
        result.changed += index.put(document, cid)
        yield
    result.removed = index.keep_only(seen)


def normalised(name: str) -> str:
    """Return the name of a distribution in its one spelling (:pep:`503`)."""
    return re.sub(r"[-_.]+", "-", name).lower()
