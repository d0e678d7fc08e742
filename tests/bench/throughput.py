"""How fast a large object goes through a node to a caller that reads as fast as it can, and through others.

Part of ``tests.bench.bench_streaming``. The owner is an nginx with the object in a file; whoever stands
before it is pinned to one processor, the owner and the reader to the other. By turns within each round.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from blake3 import blake3

from micronode.oap.wire.frames import END, REQ, START, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.profiles import Profile
from tests.bench.load import connect, pin
from tests.bench.proxy_peers import CALLERS_CPU, Server, aiohttp_proxy, nginx_proxy, node, owner

#: How fast a body has to go through the node, in units of nginx.
TARGET: Final = 0.7
_MIB: Final = 1 << 20
_HEADER: Final = struct.Struct(">IHHH")
_PATIENCE_S: Final = 60.0


class Turn(NamedTuple):
    """MiB a second, of the wall and of the server's CPU time."""

    wall: float
    cpu: float


def _get(server: Server, path: str, fields: str, size: int) -> None:
    """Read *size* bytes of a body over HTTP.

    :raises SystemExit: the answer is another.
    """
    with socket.create_connection(("127.0.0.1", server.ports["http"]), timeout=_PATIENCE_S) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{fields}\r\n".encode("ascii"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(65_536)
        head, _, begun = head.partition(b"\r\n\r\n")
        length = f"content-length: {size}\r\n".encode("ascii")
        if not head.startswith(b"HTTP/1.1 20") or length not in head.lower() + b"\r\n":
            raise SystemExit(f"{path} is not answered as it should be:\n{head.decode('latin-1')}")
        left, piece = size - len(begun), bytearray(_MIB)
        while left:
            count = peer.recv_into(piece)
            if not count:
                raise SystemExit(f"{path} was cut, with {left} bytes left")
            left -= count


def _call(server: Server, cid: str, size: int) -> None:
    """Read the object over OAP/1, of whose frames only the headers are looked at.

    :raises SystemExit: the answer is another.
    """
    (peer,) = connect(server.ports["oap"], 1)
    head = dump_object({"op": "get", "args": {"cid": cid}})
    peer.sendall(encode_frame(REQ | START | END, 0, Profile.MEDIA, 2, head))
    piece, header, left, got, over = bytearray(_MIB), b"", 0, -1, False
    while not over or left:
        count, at = peer.recv_into(piece), 0
        if not count:
            raise SystemExit("the node closed the connection")
        while at < count:
            skipped = min(left, count - at)
            at, left = at + skipped, left - skipped
            if not left and at < count:
                missing = 38 - len(header)
                header += piece[at : min(at + missing, count)]
                at = min(at + missing, count)
                if len(header) == 38:
                    length, _, flags, code = _HEADER.unpack_from(header)
                    if code >= 300:
                        raise SystemExit(f"OAP/1: {code}")
                    left, over, header = length - 38, bool(flags & END), b""
                    # The first is the answer's head.
                    got = 0 if got < 0 else got + left
    peer.close()
    if got != size:
        raise SystemExit(f"OAP/1: {got} of {size} bytes")


def measure(megabytes: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each contestant."""
    pin(CALLERS_CPU if (os.cpu_count() or 1) > 1 else None)
    size = megabytes * _MIB
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        cid = _make_object(folder, size)
        url = stack.enter_context(owner(folder))
        ours = stack.enter_context(node(url))
        nginx, aiohttp = stack.enter_context(nginx_proxy(url)), stack.enter_context(aiohttp_proxy(url))
        all_of_it = f"Range: bytes=0-{size - 1}\r\n"
        media, object_ = f"/app/media/{cid}", f"/o/{cid}"
        turns: dict[str, tuple[Server, Callable[[], None]]] = {
            "node, HTTP": (ours, lambda: _get(ours, media, "", size)),
            "node, HTTP, a range": (ours, lambda: _get(ours, media, all_of_it, size)),
            "node, OAP": (ours, lambda: _call(ours, cid, size)),
            "aiohttp": (aiohttp, lambda: _get(aiohttp, object_, "", size)),
            "nginx": (nginx, lambda: _get(nginx, object_, "", size)),
        }
        made: dict[str, list[Turn]] = {name: [] for name in turns}
        for each in range(rounds + 1):
            for name, (server, read) in turns.items():
                turn = _timed(server, read, megabytes)
                # The first round is for what is only done once.
                if each:
                    made[name].append(turn)
    return [_row(name, made) for name in made]


def _make_object(folder: Path, size: int) -> str:
    (folder / "o").mkdir()
    hasher, made = blake3(), folder / "o" / "made"
    with made.open("wb") as file:
        for _ in range(size // _MIB):
            block = os.urandom(_MIB)
            hasher.update(block)
            file.write(block)
    cid = f"b3:{hasher.hexdigest()}"
    made.rename(folder / "o" / cid)
    return cid


def _timed(server: Server, read: Callable[[], None], megabytes: int) -> Turn:
    cpu_s, began = server.cpu_s(), time.perf_counter()
    read()
    took_s = time.perf_counter() - began
    # What it does once the last byte has gone is its, too.
    time.sleep(0.05)
    return Turn(megabytes / took_s, megabytes / (server.cpu_s() - cpu_s))


def _row(name: str, made: dict[str, list[Turn]]) -> dict[str, Any]:
    def to_nginx(by: str) -> float:
        pairs = zip(made[name], made["nginx"], strict=True)
        return round(statistics.median(getattr(ours, by) / getattr(theirs, by) for ours, theirs in pairs), 3)

    target = TARGET if name.startswith("node") else None
    return {
        "name": name,
        "wall": round(statistics.median(turn.wall for turn in made[name])),
        "cpu": round(statistics.median(turn.cpu for turn in made[name])),
        "to_nginx_wall": to_nginx("wall"),
        "to_nginx_cpu": to_nginx("cpu"),
        "target": target,
        "met": None if target is None else to_nginx("wall") >= target,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print *rows*."""
    head = ("", "MiB/s", "MiB/CPU s", "to nginx", "by CPU", "target")
    print("{:22}{:>8}{:>12}{:>10}{:>8}{:>8}".format(*head))
    for row in rows:
        verdict = {None: "", True: "met", False: "MISSED"}[row["met"]]
        target = "" if row["target"] is None else row["target"]
        cells = (row["name"], row["wall"], row["cpu"], row["to_nginx_wall"], row["to_nginx_cpu"], target)
        print("{:22}{:>8}{:>12}{:>10}{:>8}{:>8}  {}".format(*cells, verdict))
