"""Proxies of Twisted that do nothing a node is for: two ends between which it is to be seen.

    python tests/bench/twisted_proxy.py OWNER_URL PORT naive|bare

``naive`` is Klein and treq as one writes it in ten lines, over HTTP. ``bare`` speaks OAP/1 as far as it must
to pass on ``graph.resolve``: it cuts frames at their lengths, reads the head of a call, asks by a client that
sends a constant and looks for a length, and answers in three frames; all that one turn brings to a connection
leaves in one write. It checks nothing, and has no limits, deadlines, metrics or log: it is what there is to
the node without anything that it is for.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

reactor: Any = installed_reactor
_HEADER: Final = struct.Struct(">IHHHH16sHQ")
_RESP, _START, _END = 2, 8, 16
_HOP_BY_HOP: Final = (
    b"connection",
    b"keep-alive",
    b"transfer-encoding",
    b"content-length",
    b"date",
    b"server",
)


def naive(owner: str) -> Any:
    """Return a site that passes on what is asked of it."""
    import treq
    from klein import Klein
    from twisted.web.server import Site

    app = Klein()

    @app.route("/<path:path>")
    async def proxy(request: Any, path: str) -> bytes:
        answer = await treq.get(f"{owner}/{path}")
        request.setResponseCode(answer.code)
        for name, values in answer.headers.getAllRawHeaders():
            if name.lower() not in _HOP_BY_HOP:
                request.responseHeaders.setRawHeaders(name, values)
        body: bytes = await answer.content()
        return body

    site = Site(app.resource())
    site.noisy = False
    return site


class Owner(Protocol):
    """A connection to the owner, of *idle* ones when it is not asked anything."""

    def __init__(self, idle: list[Owner]) -> None:
        self._idle = idle
        self._held = b""
        self._length = -1
        self._answered: Callable[[bytes], None] | None = None

    def ask(self, request: bytes, answered: Callable[[bytes], None]) -> None:
        """Send *request*, and call *answered* with the body that comes."""
        self._answered = answered
        self.transport.write(request)

    def dataReceived(self, data: bytes) -> None:
        self._held = data = self._held + data
        if self._length < 0:
            head, end, _ = data.partition(b"\r\n\r\n")
            if not end:
                return
            at = head.index(b"Content-Length: ") + 16
            self._length = len(head) + 4 + int(head[at:].partition(b"\r\n")[0])
        if len(data) >= self._length:
            body = data[data.index(b"\r\n\r\n") + 4 :]
            self._held, self._length = b"", -1
            answered = self._answered
            assert answered is not None
            self._idle.append(self)
            answered(body)


class Bare(Protocol):
    """A connection of a caller."""

    def __init__(self, owner: str, idle: list[Owner]) -> None:
        self._idle = idle
        self._held = b""
        self._out: list[bytes] = []
        host, _, port = owner.removeprefix("http://").partition(":")
        self._endpoint = TCP4ClientEndpoint(reactor, host, int(port))

    def dataReceived(self, data: bytes) -> None:
        data, at = self._held + data, 0
        while len(data) - at >= _HEADER.size:
            length, _, _, _, app, _, cap, corr_id = _HEADER.unpack_from(data, at)
            if len(data) - at < length:
                break
            payload = data[at + _HEADER.size + cap : at + length]
            at += length
            if not app:
                # HELLO, to which everything is said with nothing.
                self.transport.write(
                    _HEADER.pack(_HEADER.size + 2, 1, _RESP, 200, 0, bytes(16), 0, corr_id) + b"{}"
                )
                continue
            self._ask(app, corr_id, json.loads(payload)["args"]["key"])
        self._held = data[at:]

    def _ask(self, app: int, corr_id: int, key: str) -> None:
        request = b"GET /resolve/%s HTTP/1.1\r\nHost: owner\r\n\r\n" % key.replace(":", "%3A").encode()

        def answered(body: bytes) -> None:
            self._answer(app, corr_id, body)

        if self._idle:
            self._idle.pop().ask(request, answered)
        else:
            connecting = connectProtocol(self._endpoint, Owner(self._idle))
            connecting.addCallback(lambda owner: owner.ask(request, answered))

    def _answer(self, app: int, corr_id: int, body: bytes) -> None:
        if not self._out:
            reactor.callLater(0, self._send)
        head, pack, tenant = b'{"status":200,"length":%d}' % len(body), _HEADER.pack, bytes(16)
        self._out += (
            pack(_HEADER.size + len(head), 1, _RESP | _START, 200, app, tenant, 0, corr_id),
            head,
            pack(_HEADER.size + len(body), 1, _RESP, 206, app, tenant, 0, corr_id),
            body,
            pack(_HEADER.size, 1, _RESP | _END, 200, app, tenant, 0, corr_id),
        )

    def _send(self) -> None:
        out, self._out = self._out, []
        self.transport.write(b"".join(out))


def bare(owner: str) -> Any:
    """Return a factory of connections that speak OAP/1."""
    idle: list[Owner] = []
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda address: Bare(owner, idle)  # type: ignore[method-assign]
    return factory


def main() -> None:
    """Serve until SIGTERM."""
    owner, port, kind = sys.argv[1:]
    reactor.listenTCP(
        int(port), {"naive": naive, "bare": bare}[kind](owner), backlog=1024, interface="127.0.0.1"
    )
    reactor.run()


if __name__ == "__main__":
    main()
