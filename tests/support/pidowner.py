"""An owner of any kind, whose every answer tells which process it is: ``python -m tests.support.pidowner``.

Prints one line when it listens: ``{"url", "pid", "cid"}``, the last the address of its one object. A call
whose path or body has ``hold`` in it is answered after ``POST /release``; ``GET /held`` says how many wait.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.contracts.owner_storage import address

PID = os.getpid()
OBJECT = f"the process {PID}".encode()
CID = address(OBJECT)
MESSAGE = {"msg_id": f"1-{PID}", "topic": "t", "ts": 0, "attempt": 1, "attrs": {}}
MESSAGE["payload_b64"] = base64.b64encode(OBJECT).decode()


class Held:
    """Calls that wait."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()
        self._releases = 0

    def wait(self) -> None:
        """Wait for the next release."""
        with self._changed:
            self.count += 1
            seen = self._releases
            self._changed.wait_for(lambda: self._releases > seen, 60)
            self.count -= 1

    def release(self) -> None:
        """Let all go that wait."""
        with self._changed:
            self._releases += 1
            self._changed.notify_all()


class Handler(BaseHTTPRequestHandler):
    """See the module's docstring."""

    protocol_version = "HTTP/1.1"
    held = Held()

    def do_GET(self) -> None:
        if self.path == "/held":
            self.answer({"count": self.held.count})
            return
        self.hold(self.path)
        if unquote(self.path) == f"/o/{CID}":
            self.say(200, OBJECT, "text/plain")
        elif self.path.startswith("/o/"):
            self.answer({"code": "not_found", "message": ""}, 404)
        else:
            self.answer({"pid": PID})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        if self.headers["Transfer-Encoding"]:
            body = self.read_chunks()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/release":
            self.held.release()
            self.answer({})
            return
        self.hold(self.path + body.decode("latin-1"))
        if self.path == "/o":
            self.answer({"cid": address(body), "pid": PID}, 201)
        elif self.path == "/v1/send":
            self.answer({"msg_id": f"1-{PID}", "duplicate": False}, 201)
        elif self.path == "/v1/recv":
            self.answer({"messages": [MESSAGE]})
        elif self.path == "/v1/decide":
            self.answer({"action": "deny", "rule": f"process {PID}", "reason": "", "ttl_s": 0})
        else:
            self.answer({"pid": PID})

    def hold(self, asked: str) -> None:
        if "hold" in asked:
            self.held.wait()

    def read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, value: Any, status: int = 200) -> None:
        self.say(status, json.dumps(value).encode(), "application/json")

    def say(self, status: int, data: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Says nothing of callers that leave."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    print(json.dumps({"url": url, "pid": PID, "cid": CID}), flush=True)
    server.serve_forever()
