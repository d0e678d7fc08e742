"""Tests for :mod:`micronode.devowners.storage`."""

from pathlib import Path

from blake3 import blake3
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.storage import CHUNK_BYTES, ObjectStore, StoredObject, is_cid, run_at_once

HELLO = "b3:d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24"


class CidTests(SynchronousTestCase):
    def test_only_the_canonical_form(self) -> None:
        self.assertTrue(is_cid(HELLO))
        for text in (
            "",
            "b3:",
            HELLO[3:],
            HELLO.upper(),
            HELLO[:-1],
            HELLO + "0",
            HELLO + "\n",
            "b3:" + "g" * 64,
        ):
            self.assertFalse(is_cid(text), text)


class ObjectStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = ObjectStore()
        self.addCleanup(self.store.close)

    def found(self, cid: str) -> StoredObject:
        stored = self.store.find(cid)
        assert stored is not None
        return stored

    def all_of(self, cid: str, start: int = 0, end: int | None = None) -> bytes:
        stored = self.found(cid)
        end = stored.size if end is None else end
        pieces = []
        while start < end:
            pieces.append(self.store.read(stored, start, end))
            start += len(pieces[-1])
        return b"".join(pieces)

    def rows(self) -> tuple[int, int]:
        database = self.store._database
        return tuple(  # type: ignore[return-value]
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("objects", "chunks")
        )

    def test_the_address_is_the_digest(self) -> None:
        self.assertEqual(self.store.put(b"hello world", "text/plain"), HELLO)
        stored = self.found(HELLO)
        self.assertEqual((stored.size, stored.content_type), (11, "text/plain"))
        self.assertEqual(stored.etag, f'"{HELLO[3:]}"')
        self.assertEqual(self.all_of(HELLO), b"hello world")

    def test_unknown(self) -> None:
        self.assertIsNone(self.store.find(HELLO))

    def test_empty(self) -> None:
        cid = self.store.put(b"")
        self.assertEqual(cid, f"b3:{blake3(b'').hexdigest()}")
        self.assertEqual(self.found(cid).size, 0)

    def test_pieces_of_any_size_make_the_same_object(self) -> None:
        data = bytes(range(256)) * (CHUNK_BYTES * 3 // 256) + b"tail"
        cid = f"b3:{blake3(data).hexdigest()}"
        for step in (7919, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(data)):
            upload = self.store.begin()
            for start in range(0, len(data), step):
                upload.write(data[start : start + step])
                self.assertLess(len(upload._buffer), CHUNK_BYTES)
            self.assertEqual(upload.size, len(data))
            self.assertEqual(upload.commit(), cid)
            self.assertEqual(self.all_of(cid), data)
            self.assertEqual(self.rows(), (1, 4))

    def test_ranges_across_chunks(self) -> None:
        data = bytes(range(251)) * (3 * CHUNK_BYTES // 251)
        cid = self.store.put(data)
        for start, end in (
            (0, 1),
            (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
            (CHUNK_BYTES, 2 * CHUNK_BYTES),
            (len(data) - 5, len(data)),
        ):
            self.assertEqual(self.all_of(cid, start, end), data[start:end])

    def test_one_read_is_one_chunk_at_most(self) -> None:
        cid = self.store.put(bytes(4 * CHUNK_BYTES))
        stored = self.found(cid)
        self.assertEqual(len(self.store.read(stored, 10, stored.size)), CHUNK_BYTES - 10)

    def test_the_first_content_type_stays(self) -> None:
        self.store.put(b"x", "text/plain")
        upload = self.store.begin("text/html")
        upload.write(b"x")
        cid = upload.commit()
        self.assertEqual(self.found(cid).content_type, "text/plain")

    def test_an_aborted_object_leaves_nothing(self) -> None:
        upload = self.store.begin()
        upload.write(bytes(20 * CHUNK_BYTES + 1))
        upload.abort()
        upload.abort()
        self.assertEqual(self.rows(), (0, 0))

    def test_abort_after_commit_is_harmless(self) -> None:
        upload = self.store.begin()
        upload.write(b"hello world")
        upload.commit()
        upload.abort()
        self.assertEqual(self.all_of(HELLO), b"hello world")

    def test_a_large_object_is_thrown_away_in_steps(self) -> None:
        sweeps: list[int] = []

        def count(steps: object) -> None:
            sweeps.append(sum(1 for _ in steps))  # type: ignore[attr-defined]

        store = ObjectStore(in_steps=count)
        self.addCleanup(store.close)
        upload = store.begin()
        upload.write(bytes(40 * CHUNK_BYTES))
        upload.abort()
        self.assertEqual(sweeps, [3])


class KeptObjectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def test_objects_outlive_the_process(self) -> None:
        store = ObjectStore(self.directory)
        store.put(b"hello world", "text/plain")
        store.close()
        again = ObjectStore(self.directory)
        self.addCleanup(again.close)
        stored = again.find(HELLO)
        assert stored is not None
        self.assertEqual(again.read(stored, 0, 11), b"hello world")

    def test_what_was_not_whole_is_swept_at_the_next_start(self) -> None:
        store = ObjectStore(self.directory)
        store.begin().write(bytes(3 * CHUNK_BYTES))
        store.close()
        again = ObjectStore(self.directory, in_steps=run_at_once)
        self.addCleanup(again.close)
        self.assertEqual(again._database.execute("SELECT count(*) FROM chunks").fetchone(), (0,))
        self.assertEqual(again._database.execute("SELECT count(*) FROM objects").fetchone(), (0,))
