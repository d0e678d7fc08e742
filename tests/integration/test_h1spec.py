"""What h1spec asks of an HTTP/1.1 server (uNetworking/h1spec, 33 cases), asked of a node.

Its program needs a runtime of its own and a server that echoes at ``/``; its cases are few and plain, so they
stand here in our words: fifteen beginnings of a request, on which a server waits for the rest, and eighteen
requests with the statuses they may get. The facet that is asked is an echo, too, in JSON.
"""

from __future__ import annotations

import json
import re
import select
import socket
from typing import Final

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S
from tests.support.switched import SwitchedNode

_PATH: Final = "/app/echo/hello"
_LINE: Final = f"GET {_PATH} HTTP/1.1\r\n"
_WHOLE: Final = f"{_LINE}Host: localhost\r\n\r\n"
#: What has come when the node is left waiting: method, target, version, line, fields, the empty line.
BEGINNINGS: Final = (
    "G",
    "GET ",
    f"GET {_PATH}",
    f"GET {_PATH} ",
    f"GET {_PATH} HTTP",
    f"GET {_PATH} HTTP/1.1",
    f"GET {_PATH} HTTP/1.1\r",
    _LINE,
    f"{_LINE}Hos",
    f"{_LINE}Host:",
    f"{_LINE}Host: ",
    f"{_LINE}Host: localhost",
    f"{_LINE}Host: localhost\r",
    f"{_LINE}Host: localhost\r\n",
    f"{_LINE}Host: localhost\r\n\r",
)


@attrs.frozen
class Case:
    """A request, and in which ranges its status may be."""

    name: str
    request: str
    statuses: tuple[range, ...]
    #: What it has as a body, which is told where it is served.
    body: str = ""


GOOD: Final = (range(200, 300),)
BAD: Final = (range(400, 500),)
#: Either side may be to blame.
BAD_OR_UNSUPPORTED: Final = (range(400, 600),)
_FIELDS: Final = f"{_LINE}Host: localhost\r\n"
_POST: Final = f"POST {_PATH} HTTP/1.1\r\nHost: localhost\r\n"
_CHUNKS: Final = "c\r\nHellO world1\r\n0\r\n\r\n"
CASES: Final = (
    Case("no version", f"GET {_PATH} \r\n\r\n", BAD_OR_UNSUPPORTED),
    Case("Expect", f"{_FIELDS}Expect: 100-continue\r\n\r\n", (range(100, 101), *GOOD)),
    Case("a good GET", f"{_FIELDS}\r\n", GOOD),
    Case("odd but good fields", f"{_LINE}hoSt:\tlocalhost\r\nempty:\r\n\r\n", GOOD),
    Case("brackets in a name", f"{_FIELDS}X-Invalid[]: test\r\n\r\n", BAD),
    Case("no Host", f"{_LINE}Content-Length: 5\r\n\r\n", BAD),
    Case("two Hosts", f"{_FIELDS}Host: another\r\n\r\n", BAD),
    Case("length far below zero", f"{_FIELDS}Content-Length: -{'123456789' * 3}\r\n\r\n", BAD),
    Case("length below zero", f"{_FIELDS}Content-Length: -1234\r\n\r\n", BAD),
    Case("length of letters", f"{_FIELDS}Content-Length: abc\r\n\r\n", BAD),
    Case("empty value", f"{_FIELDS}X-Empty: \r\n\r\n", GOOD),
    Case("BEL in a value", f"{_FIELDS}X-Control: test\x07\r\n\r\n", BAD),
    Case("HTTP/9.9", f"GET {_PATH} HTTP/9.9\r\nHost: localhost\r\n\r\n", BAD_OR_UNSUPPORTED),
    Case("words in front", f"Extra line{_FIELDS}\r\n", BAD_OR_UNSUPPORTED),
    Case("CR without LF in front of a name", f"{_FIELDS}\rSome-Header: Test\r\n\r\n", BAD),
    Case("a good POST", f"{_POST}Content-Length: 5\r\n\r\nhello", (*GOOD, range(404, 405)), "hello"),
    Case("chunks", f"{_POST}Transfer-Encoding: chunked\r\n\r\n{_CHUNKS}", GOOD, "HellO world1"),
    Case(
        "both lengths, in odd letters",
        f"{_POST}content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\n{_CHUNKS}",
        (*BAD, *GOOD),
        "HellO world1",
    ),
)
_ANSWER: Final = re.compile(
    rb"HTTP/1\.1 ([0-9]{3}) .*?\r\nContent-Length: ([0-9]+)\r\n.*?\r\n\r\n", re.DOTALL
)
#: How long a beginning is left alone.
_QUIET_S: Final = 0.05


class H1SpecTests(SynchronousTestCase):
    def setUp(self) -> None:
        routes = [{"method": method, "path": "/{rest}", "access": "write"} for method in ("GET", "POST")]
        settings = {
            "facets.echo": {"kind": "echo", "routes": routes},
            "drain": {"grace": "0s", "deadline": "0s"},
        }
        self.node = SwitchedNode(self, settings)
        host, _, port = self.node.http.rpartition(":")
        self.where = (host, int(port))

    def connect(self) -> socket.socket:
        caller = socket.create_connection(self.where, PATIENCE_S)
        self.addCleanup(caller.close)
        return caller

    def hear(self, caller: socket.socket) -> tuple[int, str]:
        """Return the status of the answer that comes, and what it says of the request's body."""
        data = b""
        while not (found := _ANSWER.match(data)) or len(data) < found.end() + int(found[2]):
            piece = caller.recv(4096)
            self.assertTrue(piece, f"closed without a whole answer: {data!r}")
            data += piece
        body = json.loads(data[found.end() :])
        return int(found[1]), body.get("body") or ""

    def test_waits_for_the_rest(self) -> None:
        callers = []
        for beginning in BEGINNINGS:
            self.assertTrue(_WHOLE.startswith(beginning))
            callers.append((self.connect(), beginning))
            callers[-1][0].sendall(beginning.encode())
        heard, _, _ = select.select([caller for caller, _ in callers], [], [], _QUIET_S)
        self.assertEqual(heard, [])
        for caller, beginning in callers:
            caller.sendall(_WHOLE.removeprefix(beginning).encode())
            self.assertEqual(self.hear(caller), (200, ""), beginning)
        self.node.stop()

    def test_statuses(self) -> None:
        self.assertEqual((len(BEGINNINGS), len(CASES)), (15, 18))
        for case in CASES:
            with self.subTest(case=case.name):
                caller = self.connect()
                caller.sendall(case.request.encode("latin-1"))
                status, body = self.hear(caller)
                self.assertTrue(any(status in each for each in case.statuses), status)
                self.assertEqual(body, case.body if status == 200 else "")
        self.node.stop()
