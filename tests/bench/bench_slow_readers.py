"""Memory of a node with a thousand callers that each ask for an object and hardly read it, by both doors.

    python -m tests.bench.bench_slow_readers [--readers 1000] [--megabytes 64]

Node and owners are processes of their own. Each caller takes a few KiB, then nothing: each holds a call, a
connection to storage, and what is under way between the two. Printed is how much the node's resident memory
has grown when nothing moves any more. Exits with 1 where that is more than a stream may hold, by door: over
HTTP 64 KiB that wait for the transport and two reads of 64 KiB, over OAP/1 256 KiB of a connection's and
these; and 64 KiB for two connections with their objects, and for what the allocator does not give back.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from typing import Final

from micronode.oap.wire.profiles import Profile
from tests.bench.bench_streaming import put, rss_mib
from tests.bench.load import raise_open_files
from tests.bench.processes import keeping
from tests.support.oap import hello, start
from tests.support.switched import OwnersProgram, SwitchedNode

#: KiB that one caller may cost.
CAPS_KIB: Final = {"http": 3 * 64 + 64, "oap": 256 + 2 * 64 + 64}
#: What the kernel may take for one caller.
RECEIVE_BYTES: Final = 16_384
_STILL_S: Final = 3.0


def calls(cid: str) -> dict[str, bytes]:
    """Return what a caller says, by door."""
    return {
        "http": f"GET /app/media/{cid} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
        "oap": hello() + start(2, Profile.MEDIA, "get", {"cid": cid}),
    }


def ask(address: str, said: bytes) -> socket.socket:
    """Make a call, and take the first bytes of its answer."""
    host, _, port = address.rpartition(":")
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    peer.settimeout(60)
    peer.connect((host, int(port)))
    peer.sendall(said)
    if not peer.recv(1024):
        raise SystemExit("the node closed the connection")
    return peer


def until_still(pid: int) -> float:
    """Wait until the memory of *pid* grows no more; return it in MiB."""
    most, since = rss_mib(pid), time.monotonic()
    while time.monotonic() - since < _STILL_S:
        time.sleep(0.1)
        if rss_mib(pid) > most + 0.5:
            most, since = rss_mib(pid), time.monotonic()
    return max(most, rss_mib(pid))


def inflight(node: SwitchedNode) -> int:
    """Return how many gets the node is at."""
    return int(node.metrics("inflight_requests").get('route="media.get"', 0))


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=64, help="of the object")
    options = parser.parse_args()
    raise_open_files()
    worst = 0.0
    with keeping() as keeper:
        owners = OwnersProgram(keeper, {"hello.md": b"hello"})
        cid = put(owners.urls["storage"], options.megabytes)
        for door, said in calls(cid).items():
            node = SwitchedNode(
                keeper,
                {
                    "facets.media": {"enabled": True, "limit": options.readers},
                    # What is measured is what each stream holds, not what the node would refuse.
                    "limits": {"max_calls": options.readers, "buffers": "1GiB"},
                    "owners.storage": {"concurrency": options.readers},
                    "timeouts": {"write_stall": "10m", "stream_idle": "10m"},
                    "drain": {"grace": "0s", "deadline": "0s"},
                },
            )
            node.switch({"storage": owners.urls["storage"]})
            # What the first call needs once is no caller's.
            ask(getattr(node, door), said).close()
            before = until_still(node.pid)
            peers = [ask(getattr(node, door), said) for _ in range(options.readers)]
            grown = until_still(node.pid) - before
            under_way = inflight(node)
            if under_way != options.readers:
                raise SystemExit(f"{under_way} calls are under way, not {options.readers}")
            each = grown * 1024 / options.readers
            worst = max(worst, each / CAPS_KIB[door])
            print(
                f"{door:5} {options.readers} readers: node RSS {before:.1f} -> {before + grown:.1f} MiB,"
                f" {each:.0f} KiB each (at most {CAPS_KIB[door]}), {node.descriptors()} descriptors"
            )
            for peer in peers:
                peer.close()
            began = time.monotonic()
            while inflight(node):
                time.sleep(0.05)
            left_s = time.monotonic() - began
            print(f"      no call {left_s:.1f} s after they left; node RSS {rss_mib(node.pid):.1f} MiB")
            node.program.process.terminate()
            node.program.process.wait()
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
