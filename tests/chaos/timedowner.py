"""An index owner whose every answer takes the same time, and nearly none of a processor.

    python -m tests.chaos.timedowner MILLISECONDS [HITS]

What bounds its callers is then the gate they pass: so many at a time, each for so long. With HITS, of some
500 bytes each, an answer costs a node that looks at it more than it costs whoever asks and whoever answers.
Health is answered at once. Prints one line when it listens: ``{"url"}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_WELL: Final = _HEAD % 2 + b"{}"
#: Where the words of a hit were found: numbers, since they are much to look at for what they are to send.
_PLACES: Final = [0] * 200


def found(hits: int) -> bytes:
    """Return the answer to a search with so many hits."""
    each = [
        {"id": f"{number:064x}", "title": f"document {number}", "places": _PLACES, "score": 1 / (number + 1)}
        for number in range(hits)
    ]
    body = json.dumps({"query": "x", "hits": each, "total": hits}, separators=(",", ":")).encode()
    return _HEAD % len(body) + body


class TimedOwner(asyncio.Protocol):
    """A connection; requests have no body, and come one at a time."""

    transport: Any

    def __init__(self, takes_s: float, answer: bytes) -> None:
        self._takes_s = takes_s
        self._answer = answer
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if head.split(b" ", 2)[1] in (b"/healthz", b"/readyz"):
                self.transport.write(_WELL)
            elif self._takes_s:
                asyncio.get_running_loop().call_later(self._takes_s, self.transport.write, self._answer)
            else:
                self.transport.write(self._answer)


async def main(takes_s: float, hits: int = 0) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    answer = found(hits)
    server = await loop.create_server(lambda: TimedOwner(takes_s, answer), "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"url": f"http://{host}:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) / 1000, *map(int, sys.argv[2:])))
