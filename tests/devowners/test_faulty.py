"""Tests for :mod:`micronode.devowners.faulty` and ``faultanswer``: each fault, byte for byte."""

from __future__ import annotations

import json
import re

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.exchange import Owner
from micronode.devowners.faultspec import Faults, parse_faults
from micronode.devowners.faulty import FaultyFactory
from micronode.devowners.log import JSONLog
from micronode.devowners.storage import CHUNK_BYTES, ObjectStore
from micronode.devowners.storage_web import StorageOwner
from tests.contracts.owner_storage import address
from tests.devowners.support import MemoryCaller

HELLO = b"hello world"
HELLO_CID = address(HELLO)


class FaultyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = ObjectStore()
        self.addCleanup(self.store.close)
        self.store.put(HELLO, "text/plain")
        self.owner = StorageOwner(self.store, 10 * CHUNK_BYTES)
        self.owner.is_ready = True

    def use(self, fault: str, *, health: bool = False) -> None:
        """Call an owner that has the faults named."""
        faults = Faults(
            [fault for each in parse_faults([fault], ("storage",)).values() for fault in each], "seed"
        )

        def make_factory(owner: Owner, log: JSONLog, clock: object) -> FaultyFactory:
            return FaultyFactory(owner, log, clock, faults, befalls_health=health)  # type: ignore[arg-type]

        self.caller = MemoryCaller(self.owner, None, make_factory)
        self.addCleanup(self.caller.hang_up)

    @property
    def wire(self) -> bytes:
        """All that was sent so far."""
        return self.caller.transport.value()

    @property
    def is_closed(self) -> bool:
        return self.caller.transport.disconnecting

    def get(self, path: str = f"/o/{HELLO_CID}", method: str = "GET", *fields: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: owner", *fields, "", ""]
        self.caller.send("\r\n".join(lines).encode())
        self.caller.clock.advance(0)

    def split(self) -> tuple[bytes, bytes]:
        head, _, body = self.wire.partition(b"\r\n\r\n")
        return head.lower(), body


class AnswersTests(FaultyCase):
    def test_reset(self) -> None:
        self.use("storage=reset")
        self.get()
        self.assertEqual((self.wire, self.caller.transport.disconnected), (b"", True))

    def test_reset_amid_the_body(self) -> None:
        self.use("storage=reset:body")
        self.get()
        self.assertEqual(self.split()[1], b"hello")
        self.assertFalse(self.caller.transport.disconnected)
        self.caller.clock.advance(0.05)
        self.assertTrue(self.caller.transport.disconnected)
        self.assertEqual(self.split()[1], b"hello")

    def test_stall(self) -> None:
        self.use("storage=stall:2s")
        self.get()
        self.caller.clock.advance(1.9)
        self.assertEqual(self.wire, b"")
        self.caller.clock.advance(0.1)
        self.assertEqual(self.split()[1], HELLO)

    def test_stall_for_ever(self) -> None:
        self.use("storage=stall")
        self.get()
        self.caller.clock.advance(10_000)
        self.assertEqual((self.wire, self.is_closed), (b"", False))
        self.caller.hang_up()
        self.assertEqual(self.caller.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_who_leaves_ends_it(self) -> None:
        for fault in ("stall:2s", "stall-body:2s", "drip:1s", "reset:body"):
            self.use(f"storage={fault}")
            self.get()
            self.caller.hang_up()
            self.assertEqual(self.caller.clock.getDelayedCalls(), [], fault)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stall_amid_the_body(self) -> None:
        self.use("storage=stall-body:2s")
        self.get()
        self.assertIn(b"content-length: 11", self.split()[0])
        self.caller.clock.advance(1.9)
        self.assertEqual(self.split()[1], HELLO[:6])
        self.caller.clock.advance(0.1)
        self.assertEqual(self.split()[1], HELLO)

    def test_drip(self) -> None:
        self.use("storage=drip:1s")
        self.get()
        for size in range(1, 12):
            self.assertEqual(self.split()[1], HELLO[:size])
            self.caller.clock.advance(1)
        self.caller.transport.clear()
        self.get("/healthz")
        self.assertEqual(self.split()[1], b'{"ok": true}')

    def test_oversize(self) -> None:
        self.use("storage=oversize:200000")
        self.get()
        head, body = self.split()
        self.assertIn(b"content-length: 200011", head)
        self.assertEqual(body, HELLO + b" " * 200_000)

    def test_less_than_is_said(self) -> None:
        self.use("storage=wrong-length")
        self.get()
        head, body = self.split()
        self.assertIn(b"content-length: 21", head)
        self.assertEqual((body, self.is_closed), (HELLO, True))

    def test_more_than_is_said(self) -> None:
        self.use("storage=wrong-length:long")
        self.get()
        head, body = self.split()
        self.assertIn(b"content-length: 1", re.findall(rb"content-length: \d+", head))
        self.assertEqual((body, self.is_closed), (HELLO, True))

    def test_bad_chunk(self) -> None:
        self.use("storage=bad-chunk")
        self.get()
        head, body = self.split()
        self.assertIn(b"transfer-encoding: chunked", head)
        self.assertNotIn(b"content-length", head)
        self.assertEqual(body, b"6\r\nhello \r\nnonsense\r\n")
        self.assertTrue(self.is_closed)

    def test_wrong_digest(self) -> None:
        self.use("storage=wrong-digest")
        self.get()
        head, body = self.split()
        self.assertIn(b"content-length: 11", head)
        self.assertIn(HELLO_CID[3:].encode(), head)
        self.assertEqual((body[:-1], len(body)), (HELLO[:-1], 11))
        self.assertNotEqual(body, HELLO)

    def test_wrong_digest_of_many_pieces(self) -> None:
        data = bytes(range(256)) * (3 * CHUNK_BYTES // 256)
        cid = self.store.put(data)
        self.use("storage=wrong-digest")
        self.get(f"/o/{cid}")
        body = self.split()[1]
        self.assertEqual((body[:-1], body[-1] ^ data[-1]), (data[:-1], 1))

    def test_wrong_address(self) -> None:
        self.use("storage=wrong-digest")
        self.caller.send(b"POST /o HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        self.caller.clock.advance(0)
        cid, wrong = address(b"abc"), json.loads(self.split()[1])["cid"]
        self.assertEqual((wrong[:-1], len(wrong)), (cid[:-1], len(cid)))
        self.assertNotEqual(wrong, cid)
        self.assertIsNotNone(self.store.find(cid))

    def test_bad_json(self) -> None:
        self.use("storage=bad-json")
        self.get("/o/x")
        head, body = self.split()
        self.assertIn(b"content-length: %d" % len(body), head)
        self.assertTrue(body.startswith(b'{"code"'))
        self.assertRaises(ValueError, json.loads, body)
        # What is no JSON is as ever.
        self.caller.transport.clear()
        self.get()
        self.assertEqual(self.split()[1], HELLO)

    def test_failures_do_nothing(self) -> None:
        for fault, status, code, retry_after in (
            ("500", b"500 ", "internal", None),
            ("503", b"503 ", "not_ready", b"1"),
            ("503:2500ms", b"503 ", "not_ready", b"3"),
        ):
            self.use(f"storage={fault}")
            self.caller.send(b"POST /o HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nnew")
            head, body = self.split()
            self.assertTrue(head.startswith(b"http/1.1 " + status))
            self.assertEqual(json.loads(body)["code"], code)
            found = re.findall(rb"retry-after: (\d+)", head)
            self.assertEqual(found, [] if retry_after is None else [retry_after])
            self.assertIsNone(self.store.find(address(b"new")))

    def test_large_ones_are_not_collected(self) -> None:
        cid = self.store.put(bytes(8 * CHUNK_BYTES))
        self.use("storage=oversize")
        write = self.caller.transport.write

        def write_and_pause(data: bytes) -> None:
            write(data)
            if len(data) > 60_000:
                self.caller.transport.producer.pauseProducing()  # type: ignore[union-attr]

        self.caller.transport.write = write_and_pause  # type: ignore[method-assign]
        self.get(f"/o/{cid}")
        for pieces in range(1, 9):
            self.assertEqual(len(self.split()[1]), pieces * CHUNK_BYTES)
            self.caller.transport.producer.resumeProducing()  # type: ignore[union-attr]
        for pieces in range(1, 4):
            self.assertEqual(len(self.split()[1]), 8 * CHUNK_BYTES + pieces * 65_536)
            self.caller.transport.producer.resumeProducing()  # type: ignore[union-attr]

    def test_answers_without_a_body_pass(self) -> None:
        for fault in (
            "stall-body",
            "drip",
            "oversize",
            "wrong-length",
            "bad-chunk",
            "wrong-digest",
            "reset:body",
        ):
            self.use(f"storage={fault}")
            self.get(method="HEAD")
            head, body = self.split()
            if fault == "reset:body":
                self.caller.clock.advance(1)
                self.assertTrue(self.caller.transport.disconnected)
                continue
            self.assertIn(b"content-length: 11", head, fault)
            self.assertEqual((body, self.is_closed), (b"", False), fault)

    def test_the_next_request_gets_its_own(self) -> None:
        self.use("storage=stall:1s@0.5,storage=500@0.5")
        seen = set()
        for _ in range(20):
            self.get()
            self.caller.clock.advance(1)
            seen.add(self.wire[:12])
            self.caller.transport.clear()
        self.assertEqual(seen, {b"HTTP/1.1 200", b"HTTP/1.1 500"})

    def test_a_body_too_long_is_refused_as_ever(self) -> None:
        self.use("storage=drip:1ms")
        self.caller.send(b"POST /o HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        self.caller.clock.pump([0.001] * 200)
        head, body = self.split()
        self.assertIn(b" 413 ", head)
        self.assertEqual(json.loads(body)["code"], "body_too_large")


class HealthTests(FaultyCase):
    def test_exempt(self) -> None:
        self.use("storage=500")
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.caller.ask("GET", path).status, 200)
        self.assertEqual(self.caller.ask("GET", f"/o/{HELLO_CID}").status, 500)

    def test_unless_asked(self) -> None:
        self.use("storage=500", health=True)
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.caller.ask("GET", path).status, 500)

    def test_they_do_not_count(self) -> None:
        """However often health is asked for, the same requests get the same faults."""
        found = []
        for looks in (0, 3):
            self.use("storage=500@0.5")
            statuses = []
            for _ in range(30):
                statuses.append(self.caller.ask("GET", f"/o/{HELLO_CID}").status)
                for _look in range(looks):
                    self.caller.ask("GET", "/readyz")
            found.append(statuses)
        self.assertEqual(found[0], found[1])
        self.assertEqual(set(found[0]), {200, 500})


class RefusalTests(FaultyCase):
    def test_a_connection(self) -> None:
        self.use("storage=refuse@0.999999999")
        refusal = self.caller.channel
        transport = StringTransport()
        refusal.makeConnection(transport)
        self.assertTrue(transport.disconnected)
