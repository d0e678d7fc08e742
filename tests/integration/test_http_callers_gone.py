"""HTTP callers that go: whatever they asked, however they go, nothing runs for them any more."""

from __future__ import annotations

import select
import socket
import struct
from typing import Any, Final

from twisted.internet import reactor as global_reactor

from micronode.calls.call import ResponseHead
from tests.http.support import StubDispatcher, get, post
from tests.integration.test_http_ingress import IngressTestCase

reactor: Any = global_reactor

#: A reset, a close, and what some callers do who still read.
_WAYS: Final = ("reset", "close", "half-close")


class TCPTests(IngressTestCase):
    """Over TCP."""

    #: Whether a connection that is cut looks otherwise than one that is closed.
    resets = True

    def call(self, data: bytes) -> socket.socket:
        """Return a caller that has sent *data*, which must fit into a socket."""
        caller = socket.create_connection(("127.0.0.1", self.number))
        self.addCleanup(caller.close)
        caller.sendall(data)
        return caller

    def go(self, caller: socket.socket, how: str) -> None:
        if how == "half-close":
            caller.shutdown(socket.SHUT_WR)
            return
        if how == "reset":
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()

    async def gone(self, caller: socket.socket, how: str) -> None:
        """Let *caller* go, and hold the node to what follows: one call was begun, and is cancelled."""
        dispatcher = self.dispatcher
        self.go(caller, how)
        await self.until(lambda: not self.site.connections)
        self.assertEqual(len(dispatcher.calls), 1)
        self.assertEqual(dispatcher.cancelled, dispatcher.calls)
        self.assertEqual([line["status"] for line in self.log], [499])
        await self.close()

    async def serve_call(self, data: bytes) -> socket.socket:
        """Return a caller that has sent *data*, and whose first call runs."""
        self.serve(StubDispatcher())
        caller = self.call(data)
        await self.until(lambda: bool(self.dispatcher.calls))
        return caller

    async def test_before_the_answer(self) -> None:
        for how in _WAYS:
            for data in (get(), post("/app/media", b"body"), get() * 3):
                await self.gone(await self.serve_call(data), how)

    async def test_where_the_node_does_not_read(self) -> None:
        """There the transport tells nothing, and the kernel is asked."""
        for how in _WAYS:
            caller = await self.serve_call(get() * 600)
            [channel] = self.site._channels
            await self.until(lambda: channel._intake.paused)  # noqa: B023
            caller.sendall(b"unread")
            await self.gone(caller, how)

    async def test_amid_the_answer(self) -> None:
        for how in _WAYS:
            caller = await self.serve_call(get())
            sink = self.dispatcher.sinks[0]
            sink.start(ResponseHead(length=10))
            sink.write(b"part")
            await self.until(lambda: bool(select.select([caller], [], [], 0)[0]))  # noqa: B023
            caller.recv(1 << 16)
            await self.gone(caller, how)
            if how == "half-close" and self.resets:
                # A part must not look whole.
                self.assertRaises(ConnectionResetError, caller.recv, 1)


class UnixTests(TCPTests):
    """Over a Unix socket."""

    resets = False

    def listen(self) -> None:
        self.path = self.mktemp()[:90]
        self.port = reactor.listenUNIX(self.path, self.site)

    def call(self, data: bytes) -> socket.socket:
        caller = socket.socket(socket.AF_UNIX)
        self.addCleanup(caller.close)
        caller.connect(self.path)
        caller.sendall(data)
        return caller
