"""Compression on real sockets: a whole node before an owner, with bombs in the way of honest calls."""

from __future__ import annotations

import gc
import gzip
import json
import os
import tracemalloc
from typing import Any

import zstandard
from blake3 import blake3
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.task import deferLater
from twisted.internet.testing import AccumulatingProtocol
from twisted.trial.unittest import TestCase

from micronode import Config, make_node
from micronode.devowners.channel import OwnerFactory
from micronode.devowners.storage import ObjectStore
from micronode.devowners.storage_web import StorageOwner
from micronode.oap.client import OAPClient, OAPResponse, connect
from micronode.oap.wire.frames import COMP, END, REQ, encode_frame
from micronode.oap.wire.profiles import Profile
from tests.http.support import read_answers
from tests.support.oap import SeenFrame, hello, put, read_frames
from tests.support.vector_compression import REFUSED

reactor: Any = installed_reactor

#: It is compressed to about a fifth.
TEXT = b"".join(b'{"title":"result %d","at":"%s"}' % (n, os.urandom(3).hex().encode()) for n in range(9_000))
BOMB = zstandard.ZstdCompressor().compress(bytes(1 << 30))


class Quiet:
    """Takes an owner's log."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **fields: None


class CompressionTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        loopback = {"listen": "127.0.0.1:0"}
        self.store = ObjectStore()
        self.addCleanup(self.store.close)
        owner = StorageOwner(self.store, 16 << 20)
        owner.is_ready = True
        port = reactor.listenTCP(0, OwnerFactory(owner, Quiet(), reactor), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        config = {
            "http": loopback,
            "admin": loopback,
            "oap": loopback,
            "owners": {"storage": {"url": f"http://127.0.0.1:{port.getHost().port}"}},
            "facets": {"media": {"enabled": True}},
            "drain": {"grace": "0s", "deadline": "0s"},
        }
        self.node = make_node(Config.from_mapping(config), reactor)
        self.node.privilegedStartService()
        self.node.startService()
        self.addCleanup(self.node.stopService)

    async def caller(self, door: str) -> tuple[AccumulatingProtocol, Any]:
        """Connect to *door*; return who reads, and what to write to."""
        endpoint = clientFromString(reactor, f"tcp:{self.node.addresses[door]}")
        caller = await connectProtocol(endpoint, AccumulatingProtocol())
        transport: Any = caller.transport
        self.addCleanup(transport.abortConnection)
        return caller, transport

    async def client(self) -> OAPClient:
        client = await connect(reactor, f"oap://{self.node.addresses['oap']}")
        self.addCleanup(client.close)
        return client

    async def frames(self, caller: AccumulatingProtocol, ends: int) -> list[SeenFrame]:
        """Wait until *ends* streams have ended, and return all frames after HELLO's answer."""
        while True:
            try:
                frames = read_frames(caller.data)[1:]
            except AssertionError:
                frames = []
            if sum(frame.ends for frame in frames) >= ends:
                return frames
            await deferLater(reactor, 0.005)

    async def answers(self, caller: AccumulatingProtocol, number: int) -> list[Any]:
        """Wait for *number* answers over HTTP."""
        while caller.data.count(b"HTTP/1.1 ") < number or not caller.data.endswith(b"}\n"):
            await deferLater(reactor, 0.005)
        return read_answers(caller.data)

    async def test_what_goes_in_compressed_comes_out_compressed(self) -> None:
        caller, transport = await self.caller("oap")
        said = [hello(accept=["zstd"]), put(1)]
        chunks = [TEXT[at : at + 50_000] for at in range(0, len(TEXT), 50_000)]
        said += [
            encode_frame(REQ | COMP, 0, Profile.MEDIA, 1, zstandard.ZstdCompressor().compress(chunk))
            for chunk in chunks
        ]
        said.append(encode_frame(REQ | END, 0, Profile.MEDIA, 1))
        transport.write(b"".join(said))
        frames = await self.frames(caller, 1)
        cid = json.loads(frames[1].payload)["cid"]
        self.assertEqual(cid, "b3:" + blake3(TEXT).hexdigest())
        read_bytes = len(caller.data)
        head = json.dumps({"op": "get", "args": {"cid": cid}}).encode()
        transport.write(encode_frame(9 | END, 0, Profile.MEDIA, 2, head))
        frames = [frame for frame in await self.frames(caller, 2) if frame.corr_id == 2]
        self.assertTrue(any(frame.flags & COMP for frame in frames))
        self.assertLess(len(caller.data) - read_bytes, len(TEXT) // 2)
        # Our own client inflates it.
        response: OAPResponse = await (await self.client()).call(Profile.MEDIA, "get", {"cid": cid})
        self.assertEqual(await response.read(1 << 20), TEXT)

    async def test_bombs_are_answered_and_disturb_nothing(self) -> None:
        client = await self.client()
        caller, transport = await self.caller("oap")
        transport.write(hello())
        shapes = [*REFUSED, ("a_gigabyte", BOMB, "decompress_cap")] * 2
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for corr_id, (_, payload, _) in enumerate(shapes, 1):
            transport.write(put(corr_id) + encode_frame(REQ | COMP, 0, Profile.MEDIA, corr_id, payload))
            if corr_id % 16 == 0:
                await self.frames(caller, corr_id)
                missing = client.call(Profile.MEDIA, "get", {"cid": "b3:" + "0" * 64})
                await self.assertFailure(missing.addCallback(lambda found: found.read(100)), Exception)
        frames = await self.frames(caller, len(shapes))
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak - before, 8 << 20)
        said = {frame.corr_id: frame.json["code"] for frame in frames if frame.ends}
        expected = {corr_id: error for corr_id, (_, _, error) in enumerate(shapes, 1)}
        self.assertEqual(said, expected)
        # The same connection takes an honest one.
        corr_id = len(shapes) + 1
        packed = zstandard.ZstdCompressor().compress(b"honest")
        transport.write(put(corr_id) + encode_frame(REQ | COMP | END, 0, Profile.MEDIA, corr_id, packed))
        frames = await self.frames(caller, corr_id)
        self.assertEqual(frames[-1].code, 200)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_http_bodies(self) -> None:
        caller, transport = await self.caller("http")
        cases = (
            ("gzip", gzip.compress(TEXT), 201, ""),
            ("zstd", zstandard.ZstdCompressor().compress(TEXT), 201, ""),
            ("x-gzip", gzip.compress(b"other"), 201, ""),
            ("gzip", gzip.compress(bytes(64 << 20)), 413, "decompress_cap"),
            ("zstd", BOMB, 413, "decompress_cap"),
            ("zstd", gzip.compress(TEXT), 400, "bad_compression"),
            ("gzip", gzip.compress(TEXT)[:-1], 400, "bad_compression"),
            ("gzip, zstd", b"x", 415, "unsupported_encoding"),
        )
        for encoding, body, _, _ in cases:
            head = (
                f"POST /app/media HTTP/1.1\r\nHost: node\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"
                f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            transport.write(head.encode() + body)
        answers = await self.answers(caller, len(cases))
        self.assertEqual([answer.status for answer in answers], [status for _, _, status, _ in cases])
        self.assertEqual(
            [answer.json["code"] for answer in answers[3:]], [code for _, _, _, code in cases[3:]]
        )
        self.assertEqual(answers[0].json["cid"], "b3:" + blake3(TEXT).hexdigest())
        self.assertEqual(answers[1].json["cid"], answers[0].json["cid"])
        self.assertEqual(self.flushLoggedErrors(), [])
