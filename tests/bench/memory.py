"""What connections cost in memory: idle ones, and ones whose streams stand still in either direction.

Each figure is measured in a process of its own: resident bytes without tracing, and traced ones
(``tracemalloc``: what Python objects take, exactly) with it. Of stalled streams only what came after they
were opened counts: the bodies that are held, which is what the protocol bounds.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Final

from micronode.oap.wire.frames import REQ, encode_frame
from micronode.oap.wire.limits import CONNECTION_WINDOW_BYTES, MAX_CHUNK_BYTES, MAX_INFLIGHT
from micronode.oap.wire.profiles import Profile
from tests.bench.load import NodeProcess, connect, running, start_frame

IDLE: Final = 1_000
STALLED: Final = 50
#: A connection that was opened and closed before leaves what every one needs once.
_WARM: Final = 50
#: How long the node may take to read, or to write, what stays with it.
_SETTLE_S: Final = 1.5

#: Where -> the two figures of :func:`tests.bench.null_node.measure`: ``rss`` and ``traced``.
Figures = dict[str, float]


def _grown(node: NodeProcess, before: Figures, count: int) -> Figures:
    after = node.ask("memory")
    return {name: (after[name] - before[name]) / count for name in ("rss", "traced")}


def _both(measured: Callable[[NodeProcess], Figures]) -> Figures:
    """Measure resident bytes in one process and traced ones in another."""
    with running("node") as node:
        rss = measured(node)["rss"]
    with running("node", "--traced") as node:
        return {"rss": rss, "traced": measured(node)["traced"]}


def _warm(node: NodeProcess) -> None:
    for peer in connect(node.port, _WARM):
        peer.sendall(start_frame("null", 1, ended=True))
        peer.recv(1_000)
        peer.close()
    time.sleep(0.2)


def idle() -> Figures:
    """Return the bytes of a connection that said HELLO and nothing else."""

    def measured(node: NodeProcess) -> Figures:
        _warm(node)
        before = node.ask("memory")
        peers = connect(node.port, IDLE)
        grown = _grown(node, before, IDLE)
        for peer in peers:
            peer.close()
        return grown

    return _both(measured)


def _send_what_fits(peers: list[socket.socket], data: bytes) -> None:
    """Send *data* on each of *peers*, as far as the node and the kernel take it."""
    left = {peer: memoryview(data) for peer in peers}
    until = time.monotonic() + _SETTLE_S
    while left and time.monotonic() < until:
        for peer, view in list(left.items()):
            try:
                left[peer] = view[peer.send(view) :]
            except BlockingIOError:
                continue
            if not left[peer]:
                del left[peer]
            until = time.monotonic() + _SETTLE_S
        time.sleep(0.001)
    time.sleep(_SETTLE_S)


def uploads(*, windowed: bool) -> Figures:
    """Return the bytes a connection holds of 64 uploads that the owner does not take.

    A windowed caller sends all that the connection's window lets it, another one whatever is read.
    """
    each = CONNECTION_WINDOW_BYTES // MAX_INFLIGHT if windowed else 4 * MAX_CHUNK_BYTES
    step = min(each, MAX_CHUNK_BYTES)
    chunks = [
        encode_frame(REQ, 0, Profile.CUSTOM, corr_id, bytes(step))
        for _ in range(each // step)
        for corr_id in range(1, MAX_INFLIGHT + 1)
    ]
    return _stalled("sink", windowed=windowed, body=b"".join(chunks))


def downloads() -> Figures:
    """Return the bytes a connection holds of 64 endless answers that the caller does not read."""
    return _stalled("source", windowed=False, body=b"")


def _stalled(op: str, *, windowed: bool, body: bytes) -> Figures:
    starts = b"".join(
        start_frame(op, corr_id, ended=not body, windowed=windowed) for corr_id in range(1, MAX_INFLIGHT + 1)
    )

    def measured(node: NodeProcess) -> Figures:
        _warm(node)
        peers = connect(node.port, STALLED)
        for peer in peers:
            peer.sendall(starts)
            peer.setblocking(False)
        time.sleep(_SETTLE_S)
        before = node.ask("memory")
        if body:
            _send_what_fits(peers, body)
        else:
            asked = node.ask("go")
            assert asked == STALLED * MAX_INFLIGHT, asked
            time.sleep(2 * _SETTLE_S)
        grown = _grown(node, before, STALLED)
        for peer in peers:
            peer.close()
        return grown

    return _both(measured)
