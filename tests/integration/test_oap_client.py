"""The client against real nodes in processes of their own: large bodies both ways, and a node that dies."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import tempfile
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.trial.unittest import TestCase

from micronode.oap.client import Backoff, OAPClient, OAPError, connect
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from tests.cli.processes import FREE, NO_OWNERS, PATIENCE_S, Program

reactor: Any = installed_reactor

PIECE = bytes(range(256)) * 256
PIECES = 512  # of 64 KiB: 32 MiB


async def search(client: OAPClient, **options: Any) -> list[str]:
    """Make a small call; return what it finds."""
    response = await client.call(Profile.SEARCH, "query", {"q": "twisted"}, **options)
    return [hit["id"] for hit in json.loads(await response.read(1 << 20))["hits"]]


class LargeBodies(TestCase):
    """32 MiB each way, with small calls between the pieces, on one connection."""

    timeout = 3 * PATIENCE_S

    def setUp(self) -> None:
        dev = Program(self, "dev", *FREE)  # type: ignore[arg-type]
        self.target = "oap://" + dev.until(r"oap +oap://(127\.0\.0\.1:\d+)")[1]
        dev.until("Ctrl-C")

    async def test_up_and_down_with_small_calls_between(self) -> None:
        client = await connect(reactor, self.target)
        self.addCleanup(client.close)
        digest = hashlib.sha256()
        async with client.stream(Profile.MEDIA, "put", {}) as upload:
            for number in range(PIECES):
                piece = number.to_bytes(4, "big") + PIECE[4:]
                digest.update(piece)
                await upload.send(piece)
                if number % 64 == 0:
                    self.assertIn("twisted", await search(client))
            await upload.end()
            self.assertEqual((await upload.head())["status"], 201)
            cid = json.loads(b"".join([chunk async for chunk in upload]))["cid"]
        got, size, calls = hashlib.sha256(), 0, 0
        async with client.stream(Profile.MEDIA, "get", {"cid": cid}, sends=False) as download:
            async for chunk in download:
                self.assertLessEqual(len(chunk), 65_536)
                got.update(chunk)
                size += len(chunk)
                if size > calls * (4 << 20):
                    calls += 1
                    # The download waits for us meanwhile; nothing else does.
                    self.assertIn("twisted", await search(client))
                    response: Any = download._exchange.response  # type: ignore[union-attr]
                    self.assertLessEqual(response.held, STREAM_WINDOW_BYTES)
        self.assertEqual((size, got.digest()), (PIECES * len(PIECE), digest.digest()))

    async def test_download_that_is_not_taken_leaves_others_alone(self) -> None:
        client = await connect(reactor, self.target)
        self.addCleanup(client.close)
        stored = await client.call(Profile.MEDIA, "put", {}, body=PIECE * 32)
        cid = json.loads(await stored.read(1000))["cid"]
        unread = [await client.call(Profile.MEDIA, "get", {"cid": cid}) for _ in range(8)]
        for _ in range(5):
            self.assertIn("twisted", await search(client))
        for response in unread:
            self.assertEqual(len(await response.read(1 << 22)), 32 * len(PIECE))


class Reconnecting(TestCase):
    """The node is killed, and another one comes up at the same address."""

    timeout = 3 * PATIENCE_S

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = f"{self.folder}/oap"

    def start_node(self) -> Program:
        listen = ("--http", "off", "--admin", "127.0.0.1:0", "--oap", f"unix:{self.path}")
        # A caller that this process is has no time to close while it waits for the node's end.
        drain = ("--set", "drain.grace=0s", "--set", "drain.deadline=1s")
        node = Program(self, "run", *listen, *drain, *NO_OWNERS)  # type: ignore[arg-type]
        node.until_complaint("listening")
        return node

    def ask(self, client: OAPClient, **options: Any) -> Deferred[Any]:
        """Ask for what fails for good: there are no owners, but there is a node that says so."""
        return client.call(Profile.SEARCH, "none", {}, **options)

    async def said(self, asked: Deferred[Any]) -> str:
        error = await self.assertFailure(asked, OAPError)
        return error.name  # type: ignore[no-any-return]

    async def test_killed_node_is_found_again(self) -> None:
        node = self.start_node()
        backoff = Backoff(attempts=200, first_s=0.05, cap_s=0.2)
        client = await connect(reactor, UNIXClientEndpoint(reactor, self.path), backoff=backoff)
        self.addCleanup(client.close)
        self.assertEqual(await self.said(self.ask(client)), "unknown_op")
        # One is under way when the node dies: what has no body to end it stays open.
        stream = client.stream(Profile.MEDIA, "put", {})
        await stream.send(b"half")
        node.kill(signal.SIGKILL)
        self.assertEqual(node.end(), -signal.SIGKILL)
        self.assertEqual(await self.said(stream.head()), "bad_gateway")
        asked = self.ask(client, idempotent=True)
        self.start_node()
        self.assertEqual(await self.said(asked), "unknown_op")

    async def test_node_that_stops_in_order(self) -> None:
        node = self.start_node()
        client = await connect(reactor, f"unix:{self.path}", backoff=Backoff(attempts=200, cap_s=0.2))
        self.addCleanup(client.close)
        self.assertEqual(await self.said(self.ask(client)), "unknown_op")
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)
        asked = self.ask(client, retry=True)
        self.start_node()
        self.assertEqual(await self.said(asked), "unknown_op")
