"""What chaos sees of the admin plane: what is wrong with it breaks a bound, and ends no look for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.node import Node
from tests.chaos.watch import Watch

_WELL = b'{"state":"running","shedding":false,"degraded":[]}'
_SHEDDING = b'{"state":"running","shedding":true,"degraded":[]}'
_METRICS = b"reactor_lag_seconds 0.25\n"
_UNREADY = b'{"state":"draining","shedding":false,"degraded":[]}'


@attrs.frozen
class StubNode:
    """Where an admin plane would be."""

    addresses: dict[str, str]


def answer(status: int, body: bytes, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


class WatchTests(SynchronousTestCase):
    def watch(self, readyz: bytes, look: Callable[[Watch], Awaitable[Any]]) -> Watch:
        """Return a watch that was *look*\\ ed at while ``/readyz`` said *readyz*."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                if line.startswith(b"GET "):
                    pages = {b"/readyz": readyz, b"/metrics": answer(200, _METRICS)}
                    writer.write(pages.get(line.split()[1], answer(200, b"{}")))

        async def run() -> Watch:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            host, port = server.sockets[0].getsockname()
            watch = Watch(cast(Node, StubNode({"admin": f"{host}:{port}"})))
            watching = asyncio.ensure_future(watch.run())
            try:
                await look(watch)
            finally:
                watch.stop()
                await asyncio.gather(watching, return_exceptions=True)
                server.close()
            return watch

        return asyncio.run(run())

    def test_well(self) -> None:
        watch = self.watch(answer(200, _WELL), Watch.fresh)
        self.assertTrue(watch.ready)
        self.assertEqual((watch.unanswered, watch.silent), (0, 0))

    def test_unready(self) -> None:
        """It says when to come back."""
        watch = self.watch(answer(503, _UNREADY, "Retry-After: 1"), Watch.fresh)
        self.assertFalse(watch.ready)
        self.assertEqual((watch.unanswered, watch.silent), (0, 0))

    def test_silent(self) -> None:
        """It does not."""
        watch = self.watch(answer(503, _UNREADY), Watch.fresh)
        self.assertGreater(watch.silent, 0)

    def test_shedding(self) -> None:
        self.assertTrue(self.watch(answer(200, _SHEDDING), Watch.fresh).shedding)
        self.assertFalse(self.watch(answer(200, _WELL), Watch.fresh).shedding)

    def test_lags(self) -> None:
        """There is one for each look since a time."""
        watch = self.watch(answer(200, _WELL), Watch.fresh)
        self.assertEqual(set(watch.lags_s(0.0)), {0.25})
        self.assertEqual(watch.lags_s(watch.seconds), [])

    def test_an_error_is_no_page(self) -> None:
        watch = self.watch(answer(500, b'{"code":"internal"}'), Watch.fresh)
        self.assertGreater(watch.unanswered, 0)

    def test_what_cannot_be_read(self) -> None:
        """The look ends with it, and so does who waits for another."""
        with self.assertRaises(RuntimeError):
            self.watch(answer(200, b"{}"), Watch.fresh)
