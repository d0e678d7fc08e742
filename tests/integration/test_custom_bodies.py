"""Bodies over OAP/1 for services as http.server makes them: they need a length, and know no chunks."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from micronode.errors import ErrorCode
from micronode.oap.client import OAPError
from micronode.oap.wire.profiles import Profile
from tests.cli.processes import run_python
from tests.integration.test_custom import CustomCase, args


class Simple(BaseHTTPRequestHandler):
    """Says how many bytes it has read."""

    seen: list[tuple[str | None, str | None]]

    def do_POST(self) -> None:
        self.seen.append((self.headers["Content-Length"], self.headers["Transfer-Encoding"]))
        self.answer(len(self.rfile.read(int(self.headers["Content-Length"] or 0))))

    def answer(self, size: int) -> None:
        told = b"%d" % size
        self.send_response(201)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: Any) -> None:
        pass


class Modern(Simple):
    """The same with connections that stay."""

    protocol_version = "HTTP/1.1"


class Chunked(Simple):
    """Reads chunks, all of them, before it answers."""

    def do_POST(self) -> None:
        self.seen.append((self.headers["Content-Length"], self.headers["Transfer-Encoding"]))
        size = 0
        while (left := int(self.rfile.readline() or b"0", 16)) > 0:
            size += len(self.rfile.read(left))
            self.rfile.readline()
        self.answer(size)


class Quiet(ThreadingHTTPServer):
    """Says nothing of connections that were reset."""

    def handle_error(self, *_: Any) -> None:
        pass


class LengthTests(CustomCase):
    def serve(self, handler: type[Simple]) -> str:
        handler.seen = self.seen = []
        server = Quiet(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"

    async def post(self, size: int) -> tuple[int, bytes]:
        client = await self.oap()
        response = await client.call(Profile.CUSTOM, "call", args("POST", "/x"), body=bytes(size))
        return response.head["status"], await response.read(100)

    async def test_a_small_body_has_a_length(self) -> None:
        for handler in (Simple, Modern):
            self.start(self.serve(handler))
            for size in (6, 30_000):
                self.assertEqual(await self.post(size), (201, b"%d" % size))
            self.assertEqual(self.seen, [("6", None), ("30000", None)])

    def file(self, data: bytes) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(data)
        return str(path)

    async def test_a_small_file_of_micronode_call_has_a_length(self) -> None:
        self.start(self.serve(Simple))
        name = self.file(b"abcdef")
        told = json.dumps(args("POST", "/x"))
        target = f"oap://{self.node.addresses['oap']}"
        words = (
            "-m",
            "micronode",
            "call",
            target,
            "custom",
            "call",
            "--args",
            told,
            "--body",
            name,
        )
        done = await deferToThread(run_python, *words)
        self.assertEqual((done.stdout, done.stderr, self.seen), ("6", "", [("6", None)]))

    async def test_a_large_body_comes_in_chunks(self) -> None:
        self.start(self.serve(Chunked))
        self.assertEqual(await self.post(200_000), (201, b"200000"))
        self.assertEqual(self.seen, [(None, "chunked")])

    async def test_who_knows_no_chunks_answers_without_the_body(self) -> None:
        """What follows is taken for another request, or the connection is gone: its answer, or none."""
        for handler in (Simple, Modern):
            self.start(self.serve(handler))
            try:
                self.assertEqual(await self.post(200_000), (201, b"0"))
            except OAPError as error:
                self.assertEqual(error.code, ErrorCode.BAD_GATEWAY.status)
            self.assertEqual(self.seen, [(None, "chunked")])

    async def test_too_large(self) -> None:
        """Nobody can know it before, and a service that reads it hears no end."""
        self.start(self.serve(Chunked))
        with self.assertRaises(OAPError) as caught:
            await self.post(2_000_000)
        self.assertEqual(caught.exception.name, "body_too_large")
