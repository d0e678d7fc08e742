"""Tests for :mod:`micronode.devowners.storage_web`."""

import sqlite3

from blake3 import blake3
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass

from micronode.devowners.storage import CHUNK_BYTES, ObjectStore
from micronode.devowners.storage_web import ObjectSender, StorageOwner
from tests.contracts.owner import Answer
from tests.contracts.owner_storage import StorageOwnerContract
from tests.devowners.support import InMemory, MemoryCaller

HELLO = "b3:d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24"
LIMIT = 10 * CHUNK_BYTES


class StorageOwnerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = ObjectStore()
        self.addCleanup(self.store.close)
        self.owner = owner = StorageOwner(self.store, LIMIT)
        owner.is_ready = True
        self.caller = MemoryCaller(owner)
        self.addCleanup(self.caller.hang_up)

    def count(self, table: str) -> int:
        (number,) = self.store._database.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert isinstance(number, int)
        return number


class ContractTests(InMemory, StorageOwnerContract, StorageOwnerCase):
    """Storage keeps the contract of all storages."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()


class PutTests(StorageOwnerCase):
    def test_with_a_length(self) -> None:
        answer = self.caller.ask("POST", "/o", "Content-Type: text/plain; charset=utf-8", body=b"hello world")
        self.assertEqual((answer.status, answer.json), (201, {"cid": HELLO}))
        self.assertEqual(
            self.caller.ask("GET", f"/o/{HELLO}").headers["content-type"], "text/plain; charset=utf-8"
        )

    def test_chunked_and_byte_by_byte(self) -> None:
        data = b"POST /o HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        data += b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        for position in range(len(data)):
            self.caller.send(data[position : position + 1])
        self.assertEqual(self.caller.answer().json, {"cid": HELLO})

    def test_nothing(self) -> None:
        answer = self.caller.ask("POST", "/o", "Content-Length: 0")
        self.assertEqual(answer.json, {"cid": f"b3:{blake3(b'').hexdigest()}"})

    def test_again(self) -> None:
        for _ in range(2):
            self.assertEqual(self.caller.ask("POST", "/o", body=b"hello world").json, {"cid": HELLO})
        self.assertEqual((self.count("objects"), self.count("chunks")), (1, 1))

    def test_without_a_content_type(self) -> None:
        for field in ("Content-Type:", "Content-Type: " + "x" * 300):
            cid = self.caller.ask("POST", "/o", field, body=field.encode()).json["cid"]
            answer = self.caller.ask("GET", f"/o/{cid}")
            self.assertEqual(answer.headers["content-type"], "application/octet-stream")

    def test_a_form_is_not_parsed(self) -> None:
        form = "Content-Type: application/x-www-form-urlencoded"
        self.assertEqual(self.caller.ask("POST", "/o", form, body=b"hello world").json, {"cid": HELLO})

    def test_an_object_too_long_leaves_nothing(self) -> None:
        head = b"POST /o HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.caller.send(head + b"%x\r\n" % (LIMIT + 1) + bytes(LIMIT))
        self.assertEqual(self.count("objects"), 1)
        self.caller.send(b"x\r\n")
        self.assertEqual(self.caller.answer().status, 413)
        self.assertEqual((self.count("objects"), self.count("chunks")), (0, 0))

    def test_a_caller_who_leaves_early_leaves_nothing(self) -> None:
        self.caller.send(b"POST /o HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + bytes(900_000))
        self.assertGreater(self.count("chunks"), 1)
        self.caller.hang_up()
        self.assertEqual((self.count("objects"), self.count("chunks")), (0, 0))

    def test_what_is_not_a_put(self) -> None:
        self.assertEqual(self.caller.ask("GET", "/o").headers["allow"], "post")
        self.assertEqual(self.caller.ask("GET", "/p").status, 404)
        self.assertEqual(self.caller.ask("GET", f"/o/{HELLO}/x").status, 404)


class GetTests(StorageOwnerCase):
    def setUp(self) -> None:
        super().setUp()
        self.store.put(b"hello world", "text/plain")

    def ask(self, *fields: str, method: str = "GET") -> Answer:
        return self.caller.ask(method, f"/o/{HELLO}", *fields)

    def test_whole(self) -> None:
        answer = self.ask()
        self.assertEqual((answer.status, answer.body), (200, b"hello world"))
        self.assertEqual(
            answer.headers,
            {
                "x-content-type-options": "nosniff",
                "etag": f'"{HELLO[3:]}"',
                "accept-ranges": "bytes",
                "content-type": "text/plain",
                "content-length": "11",
            },
        )

    def test_head(self) -> None:
        answer = self.ask("Range: bytes=0-1", method="HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual((answer.headers["content-length"], answer.headers["etag"]), ("11", f'"{HELLO[3:]}"'))

    def test_one_range(self) -> None:
        answer = self.ask("Range: bytes=6-")
        self.assertEqual((answer.status, answer.body), (206, b"world"))
        self.assertEqual(answer.headers["content-range"], "bytes 6-10/11")
        self.assertEqual(answer.headers["content-length"], "5")

    def test_an_unsatisfiable_range(self) -> None:
        answer = self.ask("Range: bytes=11-")
        self.assertEqual((answer.status, answer.json["code"]), (416, "range_not_satisfiable"))
        self.assertEqual(answer.headers["content-range"], "bytes */11")

    def test_a_range_of_another_object(self) -> None:
        self.assertEqual(self.ask("Range: bytes=0-1", 'If-Range: "other"').status, 200)
        self.assertEqual(self.ask("Range: bytes=0-1", f'If-Range: "{HELLO[3:]}"').status, 206)

    def test_not_modified(self) -> None:
        for method in ("GET", "HEAD"):
            answer = self.ask(f'If-None-Match: W/"{HELLO[3:]}"', "Range: bytes=99-", method=method)
            self.assertEqual((answer.status, answer.body), (304, b""))
            self.assertEqual(answer.headers["etag"], f'"{HELLO[3:]}"')
            self.assertNotIn("content-length", answer.headers)
        self.assertEqual(self.ask('If-None-Match: "other"').status, 200)

    def test_empty(self) -> None:
        cid = self.store.put(b"")
        answer = self.caller.ask("GET", f"/o/{cid}")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, "0", b""))
        self.assertEqual(self.caller.ask("GET", f"/o/{cid}", "Range: bytes=0-").status, 416)

    def test_refusals(self) -> None:
        for path, status in (
            ("/o/b3:" + "0" * 64, 404),
            ("/o/", 400),
            ("/o/x", 400),
            ("/o/" + HELLO.upper(), 400),
            ("/o/" + HELLO + "%00", 400),
        ):
            self.assertEqual(self.caller.ask("GET", path).status, status, path)


class BackpressureTests(StorageOwnerCase):
    def setUp(self) -> None:
        super().setUp()
        verifyClass(IPushProducer, ObjectSender)
        self.data = bytes(range(256)) * (8 * CHUNK_BYTES // 256)
        self.cid = self.store.put(self.data)
        # A transport whose buffer is full after every write, as a real one's is with 256 KiB.
        self.transport = self.caller.transport
        self.write = self.transport.write
        self.transport.write = self.write_and_pause  # type: ignore[method-assign]

    def write_and_pause(self, data: bytes) -> None:
        self.write(data)
        if len(data) > 65536:
            self.channel_producer().pauseProducing()

    def channel_producer(self) -> IPushProducer:
        producer = self.transport.producer
        assert producer is not None
        return producer

    def begin(self) -> None:
        self.caller.send(f"GET /o/{self.cid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def test_a_caller_who_does_not_read_costs_one_chunk(self) -> None:
        self.begin()
        head = self.transport.value().index(b"\r\n\r\n") + 4
        for chunks in range(1, 9):
            self.assertEqual(len(self.transport.value()) - head, chunks * CHUNK_BYTES)
            self.channel_producer().resumeProducing()
        self.assertEqual(self.transport.value()[head:], self.data)
        self.transport.clear()
        self.assertEqual(self.caller.ask("GET", "/healthz").status, 200)

    def test_a_caller_who_leaves_ends_it(self) -> None:
        self.begin()
        producer = self.channel_producer()
        producer.stopProducing()
        self.caller.hang_up()
        before = len(self.transport.value())
        producer.resumeProducing()
        self.assertEqual(len(self.transport.value()), before)

    def test_an_object_that_cannot_be_read_on_cuts_the_connection(self) -> None:
        self.begin()
        self.store._database.execute("ALTER TABLE chunks RENAME TO gone")
        self.channel_producer().resumeProducing()
        self.assertTrue(self.transport.disconnected)
        (line,) = self.caller.log_lines()
        self.assertEqual((line["event"], line["error"]), ("defect", sqlite3.OperationalError.__name__))
