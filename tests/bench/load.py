"""The other side of the benches over loopback: a node in a process of its own, and callers for it."""

from __future__ import annotations

import json
import os
import resource
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from micronode.oap.wire.frames import ACK_REQ, END, EVENT, REQ, START, Control, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.limits import HEADER_BYTES, MAX_PING_BYTES
from micronode.oap.wire.profiles import Profile

HELLO: Final = encode_frame(REQ, 0, 0, 1, b'{"ua":"bench"}')
#: What a request has, as the bare peers' figures in the literature of this bench have it.
PAIR_BYTES: Final = 102
_CORR_ID: Final = struct.Struct(">Q")
_CORR_ID_AT: Final = 30
_READ: Final = 1 << 18
#: Seconds without a byte after which a bench gives up.
_PATIENCE_S: Final = 30.0


class NodeProcess:
    """A running ``tests.bench.null_node``; see :func:`running`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port: int = self._read()["port"]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, command: str) -> Any:
        """Return its answer to *command*."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()


@contextmanager
def running(kind: str, *options: str) -> Iterator[NodeProcess]:
    """Run a null node of *kind* until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.null_node", kind, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield NodeProcess(process)
    finally:
        process.communicate(timeout=20)


def raise_open_files() -> None:
    """Let this process have as many sockets as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connect(port: int, count: int, *, hello: bool = True) -> list[socket.socket]:
    """Open *count* connections, each greeted unless *hello* is false."""
    peers = []
    for _ in range(count):
        peer = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hello:
            peer.sendall(HELLO)
            read_frame(peer)
        peers.append(peer)
    return peers


def read_frame(peer: socket.socket) -> bytes:
    """Read one frame."""
    frame = b""
    while len(frame) < 4 or len(frame) < int.from_bytes(frame[:4], "big"):
        wanted = int.from_bytes(frame[:4], "big") - len(frame) if len(frame) >= 4 else 4 - len(frame)
        data = peer.recv(wanted)
        assert data, "the node closed the connection"
        frame += data
    return frame


def start_frame(op: str, corr_id: int, *, ended: bool, windowed: bool = False) -> bytes:
    """Return a START of the null facet."""
    flags = REQ | START | (END if ended else 0) | (ACK_REQ if windowed else 0)
    return encode_frame(flags, 0, Profile.CUSTOM, corr_id, dump_object({"op": op, "args": {}}))


def call_frame() -> bytes:
    """Return a call of ``null`` of :data:`PAIR_BYTES`."""
    whole = start_frame("null", 0, ended=True)
    whole = whole[: -len("}")] + b'," ":"' + b" " * (PAIR_BYTES - len(whole) - len('," ":""')) + b'"}'
    return len(whole).to_bytes(4, "big") + whole[4:]


def ping_frame() -> bytes:
    """Return a PING of :data:`PAIR_BYTES`, which is as long as it may be."""
    return encode_frame(EVENT, Control.PING, 0, 0, b" " * MAX_PING_BYTES)


class Pairs:
    """Says *whole* on many connections, so often without an answer on each, as fast as it is answered.

    :param whole: a frame of :data:`PAIR_BYTES`; each time with a corr_id of its own.
    """

    def __init__(self, port: int, whole: bytes, *, connections: int, inflight: int, hello: bool) -> None:
        assert len(whole) == PAIR_BYTES
        self._before, self._after = whole[:_CORR_ID_AT], whole[_CORR_ID_AT + 8 :]
        self._inflight = inflight
        self._next = 1
        self._selector = selectors.DefaultSelector()
        self._reply_bytes = 0
        self.peers = connect(port, connections, hello=hello)
        for peer in self.peers:
            peer.setblocking(False)
            # Bytes of a reply that is not whole.
            self._selector.register(peer, selectors.EVENT_READ, [0])

    def _requests(self, count: int) -> bytes:
        first, self._next = self._next, self._next + count
        before, after, pack = self._before, self._after, _CORR_ID.pack
        return b"".join([before + pack(corr_id) + after for corr_id in range(first, first + count)])

    def begin(self) -> None:
        """Send the first requests."""
        for peer in self.peers:
            peer.send(self._requests(self._inflight))

    def run(self, seconds: float) -> tuple[int, float]:
        """Go on for *seconds*; return how many were answered, and the seconds it took."""
        answered, started = 0, time.perf_counter()
        now, until = started, started + seconds
        while now < until:
            ready = self._selector.select(_PATIENCE_S)
            assert ready, "nothing is answered"
            for key, _ in ready:
                peer, left = key.fileobj, key.data
                assert isinstance(peer, socket.socket)
                data = peer.recv(_READ)
                self._check(data, left[0])
                count, left[0] = divmod(left[0] + len(data), self._reply_bytes)
                answered += count
                if count:
                    peer.send(self._requests(count))
            now = time.perf_counter()
        return answered, now - started

    def _check(self, data: bytes, left: int) -> None:
        """Expect that the first frame of *data* that begins in it is an answer that went well."""
        at = (self._reply_bytes - left) % self._reply_bytes if self._reply_bytes else 0
        frame = data[at : at + HEADER_BYTES]
        if len(frame) == HEADER_BYTES:
            length, code = int.from_bytes(frame[:4], "big"), int.from_bytes(frame[8:10], "big")
            self._reply_bytes = self._reply_bytes or length
            assert (code, length) == (200, self._reply_bytes), (code, length, data[:200])

    def close(self) -> None:
        """Close every connection."""
        for peer in self.peers:
            peer.close()
        self._selector.close()


def pin(cpu: int | None) -> None:
    """Keep this process on one processor."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
