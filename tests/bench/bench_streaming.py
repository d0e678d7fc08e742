"""256 MiB from the storage owner to a caller, through both doors: how fast at most, and memory at 5 MB/s.

    python -m tests.bench.bench_streaming [--megabytes 256] [--rate 5] [--rounds 5] [--only fast|slow]
    [--save]

First as fast as the caller reads, against nginx's ``proxy_pass`` and aiohttp with uvloop in the same rounds,
all before an nginx that has the object in a file (:mod:`tests.bench.throughput`). What a node passes on is
the media facet's, whose bytes are checked by BLAKE3 against their address; a range, which cannot be, is here
the whole object, so that the difference is what checking costs. The peers check nothing.

Then slowly: starts the reference owners and a node as processes of their own, puts one object straight into
the storage owner, and reads it over HTTP and over OAP/1 while the node's resident memory is sampled from
/proc. The reader is throttled by the clock, so that takes megabytes / rate seconds a door.

Exits with 1 where the node is slower than 0.7 of nginx, or its memory grew by 16 MiB or more.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import END, REQ, START, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.profiles import Profile
from tests.bench import regions
from tests.bench.throughput import measure, show

TARGET_MIB = 16.0
_PIECE = 64 * 1024


@contextmanager
def running(command: list[str], ready: str) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """Run *command* until the block ends; yield it with the match of *ready* in what it prints."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    seen = []
    try:
        for line in process.stdout:
            seen.append(line)
            found = re.search(ready, "".join(seen), re.S)
            if found:
                yield process, found
                break
        else:
            raise SystemExit(f"{command} ended before it was ready:\n{''.join(seen)}")
    finally:
        process.terminate()
        process.wait(20)


def put(base: str, megabytes: int) -> str:
    """Put an object of random bytes into the storage owner; return its cid."""
    host, port = base.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    block = os.urandom(1024 * 1024)
    connection.request(
        "POST",
        "/o",
        body=(block for _ in range(megabytes)),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    return str(json.loads(connection.getresponse().read())["cid"])


def rss_mib(pid: int) -> float:
    """Return the resident memory of *pid* in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def throttled(read: Callable[[int], int], rate: float, sample: Callable[[], None]) -> int:
    """Call *read* so that about *rate* MB/s are taken until it returns 0; return the total."""
    start, total = time.monotonic(), 0
    while taken := read(_PIECE):
        total += taken
        ahead = total / (rate * 1e6) - (time.monotonic() - start)
        if ahead > 0:
            time.sleep(ahead)
        sample()
    return total


def http_reader(address: str, cid: str) -> tuple[socket.socket, Callable[[int], int]]:
    """Ask for *cid* over HTTP; return the socket and a function that reads body bytes."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
    connection.request("GET", f"/app/media/{cid}")
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"HTTP {response.status}: {response.read(500)!r}")
    return connection.sock, lambda size: len(response.read(size))


def oap_reader(address: str, cid: str) -> tuple[socket.socket, Callable[[int], int]]:
    """Ask for *cid* over OAP/1; return the socket and a function that reads frames."""
    host, port = address.split(":")
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
    peer.settimeout(120)
    peer.connect((host, int(port)))
    head = dump_object({"op": "get", "args": {"cid": cid}})
    peer.sendall(encode_frame(REQ, 0, 0, 1, b'{"ua":null}'))
    peer.sendall(encode_frame(REQ | START | END, 0, Profile.MEDIA, 2, head))
    decoder = FrameDecoder()
    over = False

    def read(size: int) -> int:
        nonlocal over
        taken = 0
        while not taken and not over:
            data = peer.recv(size)
            if not data:
                raise SystemExit("the node closed the connection")
            for flags, code, _app, _tenant, corr_id, _cap, payload in decoder.feed(data):
                if corr_id == 2 and code >= 400:
                    raise SystemExit(f"OAP {code}: {payload!r}")
                if corr_id == 2 and not flags & START:
                    taken += len(payload or b"")
                over = over or (corr_id == 2 and bool(flags & END))
        return taken

    return peer, read


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rate", type=float, default=5.0, help="MB/s that the slow caller reads")
    parser.add_argument("--rounds", type=int, default=5, help="of the fast one")
    parser.add_argument("--only", choices=("fast", "slow"))
    parser.add_argument("--save", action="store_true", help="write the figures of the fast one into docs/")
    options = parser.parse_args()
    about = regions.about("aiohttp", "uvloop", nginx=options.only != "slow")
    met = True
    if options.only != "slow":
        rows = measure(options.megabytes, options.rounds)
        show(rows)
        if options.save:
            made = {"megabytes": options.megabytes, "rounds": options.rounds, "rows": rows}
            regions.STREAMING.save(about | made)
        met = not any(row["met"] is False for row in rows)
    if options.only != "fast":
        met = slowly(options.megabytes, options.rate) < TARGET_MIB and met
    return 0 if met else 1


def slowly(megabytes: int, rate: float) -> float:
    """Read at *rate* MB/s through each door, print by how many MiB the node grew, and return the most."""
    worst = 0.0
    own = [sys.executable, "-m", "micronode"]
    report, write = os.pipe()
    owners = subprocess.Popen(
        [*own, "owners", "--index", "127.0.0.1:0", "--storage", "127.0.0.1:0", "--report-fd", str(write)],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(report) as lines:
            urls = json.loads(lines.readline())
        cid = put(urls["storage"], megabytes)
        flags = [
            "--set",
            f"owners.storage.url={urls['storage']}",
            "--set",
            f"owners.index.url={urls['index']}",
            "--set",
            "facets.media.enabled=true",
            "--set",
            "drain.grace=0s",
            "--set",
            "log.format=json",
        ]
        for section in ("http", "oap", "admin"):
            flags += ["--set", f"{section}.listen=127.0.0.1:0"]
        ready = (
            r'"listener":"admin","address":"(?P<admin>[^"]+)".*"listener":"oap","address":"(?P<oap>[^"]+)"'
            r'.*"listener":"http","address":"(?P<http>[^"]+)"'
        )
        for door, reader in (("http", http_reader), ("oap", oap_reader)):
            with running([*own, "run", *flags], ready) as (node, found):
                # The first call imports and allocates what every call needs; growth is measured after it.
                warm, read = reader(found[door], cid)
                read(_PIECE)
                warm.close()
                time.sleep(1.0)
                before = rss_mib(node.pid)
                peak = before

                def sample(pid: int = node.pid) -> None:
                    nonlocal peak
                    peak = max(peak, rss_mib(pid))

                peer, read = reader(found[door], cid)
                total = throttled(read, rate, sample)
                peer.close()
                grown = peak - before
                worst = max(worst, grown)
                print(
                    f"{door:5} {total / 2**20:6.0f} MiB read, node RSS {before:.1f} -> {peak:.1f} MiB: "
                    f"+{grown:.1f} MiB (target < {TARGET_MIB:.0f})"
                )
    finally:
        owners.terminate()
        owners.wait(20)
    return worst


if __name__ == "__main__":
    sys.exit(main())
