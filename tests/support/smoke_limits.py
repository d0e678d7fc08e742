"""What ``bin/smoke_oap_limits.sh`` runs: payloads over the limits, to a node, and what it makes of them.

Blocking sockets and nothing of the node but its frames: it is used on nodes that run elsewhere.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

from micronode.oap.wire.frames import COMP, END, EVENT, HEADER, NO_TENANT, REQ, START, Control, encode_frame
from micronode.oap.wire.limits import (
    DECOMPRESS_FLOOR_BYTES,
    HEADER_BYTES,
    MAX_CAP_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    VERSION,
)
from micronode.oap.wire.profiles import Profile

PATIENCE_S = 20.0
USAGE = "usage: bin/smoke_oap_limits.sh [oap://HOST:PORT | unix:/path] [http://HOST:PORT]"
MIB = 1 << 20
#: Far more than ten times its size, whatever compresses it; and more than any floor.
ZEROS = bytes(8 * MIB)
#: What may be asked for with a body to come; the first that the node serves is used.
CALLS = (
    (Profile.MEDIA, "put", {}),
    (Profile.SEARCH, "query", {"q": "x"}),
    (Profile.GRAPH, "resolve", {"key": "x"}),
)
#: ``413 decompress_cap``, or whatever else came.
Outcome = str


def connect(target: str) -> socket.socket:
    """Connect to *target*: a path behind ``unix:``, else HOST:PORT behind a scheme."""
    if target.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_S)
        connection.connect(target.removeprefix("unix:"))
        return connection
    host, _, port = target.partition("://")[2].rstrip("/").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Return *size* bytes; fewer where the connection ends before."""
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def oap(target: str, *said: bytes) -> Outcome:
    """Say HELLO and *said*, and return how the first stream, or the connection, ends; or a PING's echo."""
    with connect(target) as connection:
        connection.sendall(encode_frame(REQ, 0, 0, 0, b'{"ua":"smoke_oap_limits"}'))
        for piece in said:
            try:
                connection.sendall(piece)
            except OSError:
                break  # it has closed; what it said is still to be read
        while len(header := read_exactly(connection, HEADER_BYTES)) == HEADER_BYTES:
            length, version, flags, code, app, _, _, _ = HEADER.unpack(header)
            if version != VERSION or not HEADER_BYTES <= length <= MAX_FRAME_BYTES:
                return "no OAP/1"
            payload = read_exactly(connection, length - HEADER_BYTES)
            if flags & END:
                return f"{code} {json.loads(payload)['code']}" if code >= 400 and payload else str(code)
            if flags & EVENT and app == 0 and code == Control.PONG:
                return f"{code} {payload.decode('ascii', 'replace')}"
    return "closed without a word"


def over_oap(target: str) -> Iterator[tuple[str, str, Callable[[], Outcome]]]:
    """What is over a limit of OAP/1: what is expected, what it is, and what says it."""
    opens = REQ | START
    announced = HEADER.pack(MAX_FRAME_BYTES + 1, VERSION, opens | END, 0, Profile.MEDIA, NO_TENANT, 0, 1)
    packed = zstandard.compress(ZEROS[: 16 * DECOMPRESS_FLOOR_BYTES])
    call = next(
        (
            encode_frame(opens, 0, app, 1, json.dumps({"op": op, "args": args}).encode())
            for app, op, args in CALLS
            if not oap(target, asking(app, op, args)).startswith("501")
        ),
        None,
    )
    say = lambda *said: lambda: oap(target, *said)  # noqa: E731
    yield "413 frame_too_large", "a frame of 1 MiB and a byte", say(announced, bytes(MIB + 1))
    head = encode_frame(opens | END, 0, Profile.SEARCH, 1, b" " * (MAX_HEAD_BYTES + 1))
    yield "413 head_too_large", "a head of 16 KiB and a byte", say(head)
    head = encode_frame(opens | END, 0, Profile.SEARCH, 1, b" " * (MAX_FRAME_BYTES - HEADER_BYTES))
    yield "413 head_too_large", "a head of 1 MiB", say(head)
    head = encode_frame(opens | END, 0, Profile.SEARCH, 1, b"{}", cap=b"c" * (MAX_CAP_BYTES + 1))
    yield "413 cap_too_large", "a capability of 8 KiB and a byte", say(head)
    head = encode_frame(opens | END | COMP, 0, Profile.SEARCH, 1, packed)
    yield "413 decompress_cap", f"a head of {len(packed)} bytes that inflates to 64 KiB", say(head)
    if call is None:
        print("skip  chunks: the node serves none of media.put, search.query, graph.resolve")
        return
    chunk = encode_frame(REQ, 0, call_app(call), 1, bytes(MAX_CHUNK_BYTES + 1))
    yield "413 chunk_too_large", "a chunk of 64 KiB and a byte", say(call + chunk)
    chunk = encode_frame(REQ, 0, call_app(call), 1, bytes(MAX_FRAME_BYTES - HEADER_BYTES))
    yield "413 chunk_too_large", "a chunk of 1 MiB", say(call + chunk)
    chunk = encode_frame(REQ | COMP, 0, call_app(call), 1, packed)
    yield "413 decompress_cap", f"a chunk of {len(packed)} bytes that inflates to 64 KiB", say(call + chunk)


def asking(app: int, op: str, args: dict[str, Any]) -> bytes:
    """Return a call that is cancelled at once where it is served, and refused where it is not."""
    head = json.dumps({"op": op, "args": args}).encode()
    return encode_frame(REQ | START, 0, app, 1, head) + encode_frame(REQ | END, 499, app, 1)


def call_app(call: bytes) -> int:
    """Return the profile of a frame."""
    return int(HEADER.unpack_from(call)[4])


def http(target: str, data: bytes, *fields: str) -> Outcome:
    """POST *data* to the media facet; return the status and the error's name."""
    lines = ("POST /app/media HTTP/1.1", "Host: localhost", "Connection: close", *fields)
    with connect(target) as connection:
        # It may have answered, and closed, before it had all.
        with contextlib.suppress(OSError):
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
    head, _, text = answer.decode("latin-1").partition("\r\n\r\n")
    status = head.split(" ")[1] if head.startswith("HTTP/1.1 ") else "no HTTP/1.1"
    found = re.search(r'"code":\s*"(\w+)"', text)
    return f"{status} {found[1]}" if found else status


def over_http(target: str) -> Iterator[tuple[str, str, Callable[[], Outcome]]]:
    """The same for HTTP."""
    if http(target, b"", "Content-Length: 0").startswith("404"):
        print("skip  bodies over HTTP: media is not served there")
        return
    say = lambda *said: lambda: http(target, *said)  # noqa: E731
    size = MIB + 1
    yield "413 body_too_large", "a body of 1 MiB and a byte", say(bytes(size), f"Content-Length: {size}")
    chunked = b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n"
    yield (
        "413 body_too_large",
        "the same, of no length that was said",
        say(chunked, "Transfer-Encoding: chunked"),
    )
    for encoding, data in (("gzip", gzip.compress(ZEROS)), ("zstd", zstandard.compress(ZEROS))):
        what = f"{encoding} of {len(data)} bytes that inflates to 8 MiB"
        fields = (f"Content-Length: {len(data)}", f"Content-Encoding: {encoding}")
        yield "413 decompress_cap", what, say(data, *fields)


def check(oap_target: str, http_target: str | None) -> bool:
    """Try everything and print what came of it; return whether all of it was as documented."""
    print(f"limits of {oap_target}" + (f" and {http_target}" if http_target else ""))
    if (greeted := oap(oap_target, encode_frame(EVENT, Control.PING, 0, 0, b"ping"))) != "200 ping":
        print(f"FAIL  no OAP/1 node there: {greeted}")
        return False
    good = number = 0
    doors = [("OAP ", over_oap(oap_target))] + ([("HTTP", over_http(http_target))] if http_target else [])
    for door, cases in doors:
        for expected, what, say in cases:
            came = say()
            number += 1
            good += came == expected
            verdict = "ok  " if came == expected else f"FAIL  wanted {expected}, got"
            print(f"{verdict}  {came:<20}  {door}  {what}")
    served = oap(oap_target, encode_frame(EVENT, Control.PING, 0, 0, b"ping")) == "200 ping"
    print(f"{good} of {number} were refused as documented; the node {'goes on' if served else 'is gone'}")
    return good == number > 0 and served


def with_own_node() -> bool:
    """Start a node for it, and stop it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MICRONODE_")}
    free = [word for name in ("http", "admin", "oap") for word in (f"--{name}", "127.0.0.1:0")]
    argv = [sys.executable, "-m", "micronode", "dev", *free, "--log-level", "error"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True, env=environ) as node,
    ):
        try:
            assert node.stdout is not None
            found = {}
            for line in node.stdout:
                if match := re.match(r"\s*(oap|http)\s+((?:oap|http)://\S+)", line):
                    found[match[1]] = match[2]
                if "Ctrl-C" in line:
                    return check(found["oap"], found["http"])
            log.seek(0)
            print(f"FAIL  the node did not start: {log.read()}")
            return False
        finally:
            node.terminate()
            if node.stdout is not None:
                node.stdout.read()


def main(targets: list[str]) -> int:
    """Return the exit status."""
    patterns = (r"oap://\S+:\d+/?|unix:/\S+", r"http://\S+:\d+/?")
    if len(targets) > 2 or not all(re.fullmatch(*pair) for pair in zip(patterns, targets, strict=False)):
        print(USAGE, file=sys.stderr)
        return os.EX_USAGE
    try:
        if not targets:
            return 0 if with_own_node() else 1
        return 0 if check(targets[0], targets[1] if len(targets) > 1 else None) else 1
    except OSError as error:
        print(f"smoke_oap_limits: {' '.join(targets)}: {error.strerror or error}", file=sys.stderr)
        return os.EX_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
