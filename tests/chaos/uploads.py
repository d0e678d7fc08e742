"""Uploads that are begun and not ended: what they take of a node's memory."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.chaos.node import Node

#: How many, and of how many bytes; all but the last is sent, as far as the node reads it.
COUNT: Final = 48
EACH_BYTES: Final = 900 * 1024


class Uploads:
    """Uploads over HTTP, of bodies that the node collects.

    :ivar size_bytes: of all of them.
    """

    size_bytes = COUNT * EACH_BYTES

    def __init__(self, node: Node) -> None:
        self._node = node
        self._before = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def begin(self) -> None:
        """Send them, but for their last byte."""
        self._before = self._node.rss_bytes()
        host, _, port = self._node.addresses["http"].rpartition(":")
        head = f"POST /app/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: {EACH_BYTES}\r\n\r\n"
        for _ in range(COUNT):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode() + bytes(EACH_BYTES - 1))
            self._writers.append(writer)

    def grown_bytes(self) -> int:
        """Return by how much the node has grown since."""
        return self._node.rss_bytes() - self._before

    def abandon(self) -> None:
        """Hang up on all of them."""
        for writer in self._writers:
            writer.transport.abort()

    def __str__(self) -> str:
        return f"{COUNT} uploads of {EACH_BYTES >> 10} KiB"
