"""Tests for :mod:`micronode.devowners.overlay_web`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.url import OwnerUrl
from micronode.devowners import overlay_web
from micronode.devowners.log import JSONLog
from micronode.devowners.overlay_web import OverlayOwner
from micronode.devowners.peers import PeerError
from micronode.devowners.storage import ObjectStore
from micronode.devowners.storage_web import StorageOwner
from tests.contracts.owner_overlay import OverlayOwnerContract
from tests.contracts.owner_storage import NOBODYS, address
from tests.devowners.support import InMemory, MemoryCaller

PIECE = 100_000
BIG = os.urandom(5 * PIECE)


class StubAnswer:
    """An answer of a peer, in pieces."""

    def __init__(self, status: int = 200, body: bytes = b"", **fields: str) -> None:
        self.status = status
        self.length: int | None = len(body)
        self.body = body
        self.breaks_off = False
        self.dropped = 0
        self.reads = 0
        self._fields = {name.replace("_", "-"): value.encode() for name, value in fields.items()}

    @property
    def length_field(self) -> bytes | None:
        return None if self.length is None else b"%d" % self.length

    def field(self, name: bytes) -> bytes | None:
        return self._fields.get(name.decode())

    def read(self) -> Deferred[bytes]:
        self.reads += 1
        data, self.body = self.body[:PIECE], self.body[PIECE:]
        return fail(PeerError("broke off")) if self.breaks_off and not data else succeed(data)

    def drop(self) -> None:
        self.dropped += 1


class StubPeer:
    """A peer that answers as told: with a StubAnswer, an error, or when it likes to."""

    def __init__(self, answer: StubAnswer | Exception | Deferred[Any]) -> None:
        self.url = OwnerUrl.parse("http://127.0.0.1:1")
        self.answer = answer
        self.asked: list[tuple[bytes, str, Mapping[bytes, bytes]]] = []

    async def ask(self, method: bytes, cid: str, fields: Mapping[bytes, bytes]) -> Any:
        self.asked.append((method, cid, fields))
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer if isinstance(self.answer, Deferred) else self.answer


class StoragePeer(StubPeer):
    """A peer that is a storage owner."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        super().__init__(PeerError())
        self._ask = ask

    async def ask(self, method: bytes, cid: str, fields: Mapping[bytes, bytes]) -> Any:
        found = self._ask(
            method.decode(), f"/o/{cid}", **{name.decode(): value.decode() for name, value in fields.items()}
        )
        return StubAnswer(
            found.status,
            found.body,
            **{name.replace("-", "_"): value for name, value in found.headers.items()},
        )


class InStorage(InMemory):
    def __init__(self, owner: StorageOwner, clock: Clock) -> None:
        self.owner, self.clock = owner, clock


class ContractTests(InMemory, OverlayOwnerContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = ObjectStore()
        self.addCleanup(self.store.close)
        storage = StorageOwner(self.store, 10**6)
        storage.is_ready = True
        peer: Any = StoragePeer(InStorage(storage, self.clock).ask)
        self.owner = OverlayOwner([peer], JSONLog(io.StringIO()))
        self.owner.is_ready = True

    def put(self, data: bytes, content_type: str) -> str:
        return self.store.put(data, content_type)


class PeersTests(InMemory, SynchronousTestCase):
    """What becomes of answers that are none, or wrong."""

    def use(self, *peers: StubPeer) -> None:
        self.clock = Clock()
        self.log = io.StringIO()
        asked: Any = peers
        self.owner = OverlayOwner(asked, JSONLog(self.log))
        self.owner.is_ready = True

    def reasons(self) -> list[str]:
        return [json.loads(line)["reason"] for line in self.log.getvalue().splitlines()]

    def get(self, data: bytes, **fields: str) -> Any:
        return self.ask("GET", f"/o/{address(data)}", **fields)

    def test_nobody_to_ask(self) -> None:
        self.use()
        self.assertEqual(self.get(b"x").status, 404)

    def test_the_next_peer_is_asked(self) -> None:
        last = StubPeer(StubAnswer(body=b"hello"))
        before = [
            StubPeer(each)
            for each in (PeerError("down"), StubAnswer(404), StubAnswer(500), StubAnswer(body=b"hellO"))
        ]
        self.use(*before, last)
        answer = self.get(b"hello")
        self.assertEqual((answer.status, answer.body), (200, b"hello"))
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")
        self.assertEqual([len(peer.asked) for peer in before], [1] * 4)
        self.assertEqual(self.reasons(), ["down", "status 500", "its bytes do not match the address"])
        for peer in before[1:]:
            assert isinstance(peer.answer, StubAnswer)
            self.assertGreaterEqual(peer.answer.dropped, 1)

    def test_one_that_breaks_off_early(self) -> None:
        broken = StubAnswer(body=b"hel")
        broken.length, broken.breaks_off = 5, True
        self.use(StubPeer(broken), StubPeer(StubAnswer(body=b"hello")))
        self.assertEqual(self.get(b"hello").body, b"hello")

    def test_everybody_is_down(self) -> None:
        self.use(StubPeer(PeerError("down")))
        self.assertEqual(self.get(b"hello").status, 404)

    def test_fields_that_are_passed_on(self) -> None:
        peer = StubPeer(StubAnswer(206, b"he", content_range="bytes 0-1/5"))
        self.use(peer)
        answer = self.get(b"hello", Range="bytes=0-1", If_None_Match='"x"', X_Micronode_Tenant="0" * 32)
        self.assertEqual((answer.status, answer.body), (206, b"he"))
        self.assertEqual(peer.asked[0][2], {b"range": b"bytes=0-1", b"if-none-match": b'"x"'})

    def begin(self, answer: StubAnswer, cid: str) -> MemoryCaller:
        self.use(StubPeer(answer))
        caller = MemoryCaller(self.owner, self.clock)
        caller.send(f"GET /o/{cid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return caller

    def test_a_long_one_that_is_wrong_is_never_whole(self) -> None:
        caller = self.begin(StubAnswer(body=BIG), NOBODYS)
        self.assertTrue(caller.transport.disconnected)
        _head, _, body = caller.transport.value().partition(b"\r\n\r\n")
        self.assertEqual(body, BIG[:-PIECE])

    def test_a_long_one_that_breaks_off(self) -> None:
        answer = StubAnswer(body=BIG[:-PIECE])
        answer.length, answer.breaks_off = len(BIG), True
        caller = self.begin(answer, address(BIG))
        self.assertTrue(caller.transport.disconnected)

    def test_one_of_unknown_length(self) -> None:
        answer = StubAnswer(body=b"hello")
        answer.length = None
        caller = self.begin(answer, address(b"hello"))
        self.assertIn(b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", caller.transport.value())

    def test_a_caller_that_does_not_read_pauses_the_peer(self) -> None:
        answer = StubAnswer(body=BIG)
        self.use(StubPeer(answer))
        caller = MemoryCaller(self.owner, self.clock)
        write = caller.transport.write

        def write_and_pause(data: bytes) -> None:
            write(data)
            if len(data) == PIECE:
                self.assertIsNotNone(caller.transport.producer)
                caller.transport.producer.pauseProducing()  # type: ignore[union-attr]

        caller.transport.write = write_and_pause  # type: ignore[method-assign]
        caller.send(f"GET /o/{address(BIG)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        # One piece has gone, one is held back, one waits for room.
        self.assertEqual(answer.reads, 3)
        caller.hang_up()
        self.assertEqual((answer.dropped, self.owner.fetches), (1, 0))

    def test_who_left_is_not_fetched_for(self) -> None:
        asked: Deferred[Any] = Deferred()
        second = StubPeer(StubAnswer(body=b"hello"))
        self.use(StubPeer(asked), second)
        caller = MemoryCaller(self.owner, self.clock)
        caller.send(f"GET /o/{address(b'hello')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertEqual(self.owner.fetches, 1)
        caller.hang_up()
        self.assertEqual((self.owner.fetches, second.asked), (0, []))
        self.assertEqual(caller.log_lines(), [])

    def test_a_peer_that_fails_because_the_caller_left(self) -> None:
        """As Twisted's client does: it says that the answer failed, not that it was cancelled."""
        asked: Deferred[Any] = Deferred(lambda each: each.errback(PeerError("cancelled")))
        second = StubPeer(StubAnswer(body=b"hello"))
        self.use(StubPeer(asked), second)
        caller = MemoryCaller(self.owner, self.clock)
        caller.send(f"GET /o/{address(b'hello')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        caller.hang_up()
        self.assertEqual((self.owner.fetches, second.asked, self.reasons()), (0, [], []))

    def test_only_so_many_at_a_time(self) -> None:
        self.patch(overlay_web, "MAX_FETCHES", 1)
        asked: Deferred[Any] = Deferred()
        self.use(StubPeer(asked))
        caller = MemoryCaller(self.owner, self.clock)
        caller.send(f"GET /o/{NOBODYS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = self.get(b"hello")
        self.assertEqual((answer.status, answer.json["code"]), (429, "busy"))
        asked.callback(StubAnswer(404))
        self.assertEqual(self.owner.fetches, 0)
