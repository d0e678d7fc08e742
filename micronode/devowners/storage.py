"""The storage engine: objects addressed by their BLAKE3 digest, in SQLite rows of 256 KiB.

An object is hashed and written while it arrives, row by row, and read row by row: nothing here holds
more of it than one row. One statement takes about a millisecond, so all of it runs in the reactor's
thread; only throwing away a large object takes longer, and is done in steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs
from blake3 import blake3

from micronode.devowners.database import open_database

#: Bytes a row, and so the unit of reading, writing and backpressure.
CHUNK_BYTES: Final = 262_144
DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"

_CID: Final = re.compile(r"b3:[0-9a-f]{64}")
_VERSION: Final = 1
#: ``cid`` is NULL while the object arrives. The rowid of a chunk is its object's key and its number.
_SCHEMA: Final = """
CREATE TABLE objects (
    key INTEGER PRIMARY KEY AUTOINCREMENT, cid TEXT UNIQUE, size INTEGER, content_type TEXT NOT NULL);
CREATE TABLE chunks (place INTEGER PRIMARY KEY, data BLOB NOT NULL)
"""
#: Chunks one object can have; 2**20 of them are 256 GiB.
_CHUNKS_PER_OBJECT: Final = 2**20
#: Rows deleted in one step: 4 MiB, about 5 ms.
_SWEEP_ROWS: Final = 16


@attrs.frozen
class StoredObject:
    """An object that is there, whole."""

    cid: str
    size: int
    content_type: str
    key: int

    @property
    def etag(self) -> str:
        """Its entity tag: the digest itself."""
        return f'"{self.cid.removeprefix("b3:")}"'


def is_cid(text: str) -> bool:
    """Return whether *text* is ``b3:`` and 64 lower-case hexadecimal digits."""
    return _CID.fullmatch(text) is not None


def run_at_once(steps: Iterator[None]) -> None:
    """Run *steps* to the end now."""
    for _step in steps:
        pass


class ObjectStore:
    """Objects by their content's address.

    :param directory: where ``storage.sqlite`` is; None keeps it in memory.
    :param in_steps: runs an iterator to its end, a step now and then; for work too long for one turn.
    :raises StartError: see :func:`~micronode.devowners.database.open_database`.
    """

    def __init__(
        self, directory: Path | None = None, in_steps: Callable[[Iterator[None]], object] = run_at_once
    ) -> None:
        self._in_steps = in_steps
        self._database = open_database(directory, "storage", _SCHEMA, version=_VERSION)
        # What a process that died had not received whole.
        for (key,) in self._database.execute("SELECT key FROM objects WHERE cid IS NULL").fetchall():
            self._discard(key)

    def close(self) -> None:
        """Close the database; open uploads are lost."""
        self._database.close()

    def begin(self, content_type: str = DEFAULT_CONTENT_TYPE) -> Upload:
        """Begin an object of unknown length."""
        inserted = self._database.execute("INSERT INTO objects (content_type) VALUES (?)", (content_type,))
        assert inserted.lastrowid is not None
        return Upload(self, inserted.lastrowid)

    def put(self, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> str:
        """Store *data* and return its address; storing again what is there changes nothing."""
        cid = f"b3:{blake3(data).hexdigest()}"
        if self.find(cid) is None:
            upload = self.begin(content_type)
            upload.write(data)
            upload.commit()
        return cid

    def find(self, cid: str) -> StoredObject | None:
        """Return the object with address *cid*, or None."""
        row = self._database.execute(
            "SELECT size, content_type, key FROM objects WHERE cid = ?", (cid,)
        ).fetchone()
        return StoredObject(cid, *row) if row is not None else None

    def read(self, stored: StoredObject, start: int, end: int) -> bytes:
        """Return bytes of an object from *start*: up to *end*, but no further than the chunk reaches."""
        number, skipped = divmod(start, CHUNK_BYTES)
        row = self._database.execute(
            "SELECT data FROM chunks WHERE place = ?", (stored.key * _CHUNKS_PER_OBJECT + number,)
        ).fetchone()
        data: bytes = row[0]
        wanted = min(len(data), skipped + end - start)
        return data if not skipped and wanted == len(data) else data[skipped:wanted]

    def _write_chunk(self, key: int, number: int, data: bytes | memoryview) -> None:
        if number >= _CHUNKS_PER_OBJECT:
            raise OverflowError("an object has too many chunks")
        self._database.execute("INSERT INTO chunks VALUES (?, ?)", (key * _CHUNKS_PER_OBJECT + number, data))

    def _name(self, key: int, cid: str, size: int) -> None:
        """Give the object under *key* its address; throw it away if there is one with it already."""
        if self.find(cid) is not None:
            self._discard(key)
        else:
            self._database.execute("UPDATE objects SET cid = ?, size = ? WHERE key = ?", (cid, size, key))

    def _discard(self, key: int) -> None:
        self._in_steps(self._sweep(key))

    def _sweep(self, key: int) -> Iterator[None]:
        """Delete an object without an address: its chunks some at a time, itself at last."""
        place, end = key * _CHUNKS_PER_OBJECT, (key + 1) * _CHUNKS_PER_OBJECT
        while self._database.execute(
            "SELECT 1 FROM chunks WHERE place >= ? AND place < ? LIMIT 1", (place, end)
        ).fetchone():
            self._database.execute(
                "DELETE FROM chunks WHERE place >= ? AND place < ?", (place, place + _SWEEP_ROWS)
            )
            place += _SWEEP_ROWS
            yield
        self._database.execute("DELETE FROM objects WHERE key = ?", (key,))


class Upload:
    """An object that is arriving. :meth:`commit` or :meth:`abort` ends it.

    :ivar size: bytes so far.
    """

    def __init__(self, store: ObjectStore, key: int) -> None:
        self.size = 0
        self._store = store
        self._key = key
        self._hasher = blake3()
        self._number = 0
        self._buffer = bytearray()
        self._ended = False

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        :raises sqlite3.Error: they cannot be stored; abort() is still due.
        """
        self._hasher.update(data)
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) < CHUNK_BYTES:
            return
        # Whole chunks leave in one pass; cutting each off the front would be quadratic in len(data).
        whole = len(self._buffer) - len(self._buffer) % CHUNK_BYTES
        with memoryview(self._buffer) as view:
            for start in range(0, whole, CHUNK_BYTES):
                with view[start : start + CHUNK_BYTES] as chunk:
                    self._put(chunk)
        del self._buffer[:whole]

    def commit(self) -> str:
        """End the object well and return its address.

        :raises sqlite3.Error: it cannot be stored; abort() is still due.
        """
        if self._buffer:
            self._put(bytes(self._buffer))
            self._buffer.clear()
        cid = f"b3:{self._hasher.hexdigest()}"
        self._store._name(self._key, cid, self.size)
        self._ended = True
        return cid

    def abort(self) -> None:
        """Throw away what has arrived. Harmless after commit()."""
        if not self._ended:
            self._ended = True
            self._buffer.clear()
            self._store._discard(self._key)

    def _put(self, chunk: bytes | memoryview) -> None:
        self._store._write_chunk(self._key, self._number, chunk)
        self._number += 1
