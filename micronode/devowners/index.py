"""The index engine: full-text search on SQLite FTS5, names, and a graph in an edge table.

One thread at a time. Searching may take longer than a reactor can wait (a snippet reads its whole
document again: about 5 ms for 1 MiB of text, so 100 ms for a page of 20 such hits), which is why
:mod:`~micronode.devowners.index_web` asks in a thread of the index's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from micronode.devowners.corpus import MAX_TEXT_CHARS, Document, normalised
from micronode.devowners.database import open_database
from micronode.devowners.query import fts_queries

_VERSION: Final = 1
#: Stemming finds "reactors" for "reactor"; prefix tables make the last word's prefix search quick.
_SCHEMA: Final = """
CREATE TABLE documents (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, cid TEXT NOT NULL, fingerprint BLOB NOT NULL);
CREATE INDEX documents_by_cid ON documents (cid);
CREATE TABLE edges (source TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, optional INTEGER NOT NULL,
    PRIMARY KEY (source, kind, target)) WITHOUT ROWID;
CREATE INDEX edges_by_target ON edges (target);
CREATE VIRTUAL TABLE texts USING fts5 (
    id, title, text, tokenize = 'porter unicode61 remove_diacritics 2', prefix = '2 3')
"""
#: A word in the id weighs more than one in the title, and that more than one in the text.
_SEARCH: Final = """
SELECT id, title, snippet(texts, 2, '', '', '…', 24), -rank FROM texts
WHERE texts MATCH ? AND rank MATCH 'bm25(10.0, 5.0, 1.0)' ORDER BY rank LIMIT ? OFFSET ?
"""
#: Hard requirements before optional ones, what a node points to before what points to it.
_NEIGHBORS: Final = """
SELECT target, kind, optional, 0 AS inward FROM edges WHERE source = :node
UNION ALL SELECT source, kind, optional, 1 FROM edges WHERE target = :node
ORDER BY 3, 4, 1 LIMIT :limit
"""
_INWARD: Final = {"requires": "required_by", "links": "linked_by"}


class Index:
    """Documents by their words, names and edges.

    :param directory: where ``index.sqlite`` is; None keeps it in memory.
    :raises StartError: see :func:`~micronode.devowners.database.open_database`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._database = open_database(directory, "index", _SCHEMA, version=_VERSION)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def put(self, document: Document, cid: str) -> bool:
        """Add *document*, whose text is object *cid*, or bring it up to date.

        :return: whether that changed anything.
        """
        fingerprint = _fingerprint(document, cid)
        known = self._database.execute(
            "SELECT key, fingerprint FROM documents WHERE id = ?", (document.id,)
        ).fetchone()
        if known is not None and known[1] == fingerprint:
            return False
        self._database.execute("BEGIN")
        try:
            if known is not None:
                self._remove(known[0], document.id)
            key = self._database.execute(
                "INSERT INTO documents (id, cid, fingerprint) VALUES (?, ?, ?)",
                (document.id, cid, fingerprint),
            ).lastrowid
            self._database.execute(
                "INSERT INTO texts (rowid, id, title, text) VALUES (?, ?, ?, ?)",
                (key, document.id, _storable(document.title), _storable(document.text[:MAX_TEXT_CHARS])),
            )
            self._database.executemany(
                "INSERT OR IGNORE INTO edges VALUES (?, ?, ?, ?)",
                [(document.id, edge.kind, edge.target, edge.optional) for edge in document.edges],
            )
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        return True

    def keep_only(self, ids: set[str]) -> int:
        """Remove every document whose id is not in *ids*; return how many those were."""
        found = self._database.execute("SELECT key, id FROM documents").fetchall()
        gone = [(key, document_id) for key, document_id in found if document_id not in ids]
        self._database.execute("BEGIN")
        for key, document_id in gone:
            self._remove(key, document_id)
        self._database.execute("COMMIT")
        return len(gone)

    def search(self, text: str, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Return the hits for what a person typed, best first, and how many there are in all.

        All words must be there; only if no document has them all, any of them will do.
        """
        for query in fts_queries(text):
            (total,) = self._database.execute(
                "SELECT count(*) FROM texts WHERE texts MATCH ?", (query,)
            ).fetchone()
            if total:
                rows = self._database.execute(_SEARCH, (query, limit, offset)).fetchall()
                return [
                    {"id": row[0], "title": row[1], "snippet": " ".join(row[2].split()), "score": row[3]}
                    for row in rows
                ], total
        return [], 0

    def manifest(self, name: str) -> str | None:
        """Return the address of the text of the document called *name*, or None."""
        row = self._first("SELECT cid FROM documents WHERE id = ?", name)
        return row[0] if row is not None else None

    def mentions(self, cid: str) -> bool:
        """Return whether *cid* is the text of a document."""
        return self._database.execute("SELECT 1 FROM documents WHERE cid = ?", (cid,)).fetchone() is not None

    def neighbors(self, node: str, *, hops: int, max_neighbors: int) -> list[dict[str, Any]] | None:
        """Return the nodes around *node*, nearest first; None if there is no such node.

        Breadth first, along edges and against them; a node is named once, with the edge that led there first.
        """
        row = self._first(
            "SELECT id FROM documents WHERE id = :node UNION SELECT target FROM edges WHERE target = :node",
            node,
        )
        if row is None:
            return None
        seen = {row[0]}
        frontier = [row[0]]
        found: list[dict[str, Any]] = []
        for hop in range(1, hops + 1):
            reached = []
            for current in frontier:
                for neighbor, kind in self._adjacent(current, max_neighbors + len(seen)):
                    if neighbor in seen:
                        continue
                    if len(found) == max_neighbors:
                        return found
                    seen.add(neighbor)
                    reached.append(neighbor)
                    found.append({"id": neighbor, "kind": kind, "hops": hop})
            frontier = reached
        return found

    def _adjacent(self, node: str, limit: int) -> Iterator[tuple[str, str]]:
        rows = self._database.execute(_NEIGHBORS, {"node": node, "limit": limit}).fetchall()
        for neighbor, kind, _optional, inward in rows:
            yield neighbor, _INWARD[kind] if inward else kind

    def _first(self, statement: str, name: str) -> Any:
        """Return the first row for *name* as it is, else for its normalised spelling (``Zope.Interface``)."""
        for spelling in dict.fromkeys((name, normalised(name))):
            row = self._database.execute(
                statement, {"node": spelling} if ":node" in statement else (spelling,)
            ).fetchone()
            if row is not None:
                return row
        return None

    def _remove(self, key: int, document_id: str) -> None:
        self._database.execute("DELETE FROM texts WHERE rowid = ?", (key,))
        self._database.execute("DELETE FROM edges WHERE source = ?", (document_id,))
        self._database.execute("DELETE FROM documents WHERE key = ?", (key,))


def _storable(text: str) -> str:
    """Return *text* without lone surrogates, which a Python literal may spell and SQLite refuses."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _fingerprint(document: Document, cid: str) -> bytes:
    """Return a digest of all that the index keeps of *document*."""
    kept = (document.title, document.text, cid, [(e.kind, e.target, e.optional) for e in document.edges])
    return bytes(blake3(repr(kept).encode("utf-8", "surrogatepass")).digest())
