"""An owner in a thread of the test, which answers when it is told to: an index, and a service that writes."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S


class SlowIndex:
    """An index that is ready, and answers a search, or a POST, when it is told to.

    :ivar asked: set once a search has arrived.
    :ivar written: the paths of the POSTs that have arrived.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self.asked = asked = threading.Event()
        self.release = release = threading.Event()

        self.written: list[str] = []
        written = self.written

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"] or 0))
                written.append(self.path)
                release.wait(PATIENCE_S)
                with contextlib.suppress(ConnectionError):
                    self.send_response(204)
                    self.end_headers()

            def do_GET(self) -> None:
                body = b"{}"
                if self.path.startswith("/search/"):
                    asked.set()
                    release.wait(PATIENCE_S)
                    body = b'{"query": "x", "hits": [], "total": 0}'
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                with contextlib.suppress(ConnectionError):  # whoever asked was cut
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        case.addCleanup(thread.join, PATIENCE_S)
        case.addCleanup(server.server_close)
        case.addCleanup(server.shutdown)
        case.addCleanup(release.set)
        self.url = f"http://127.0.0.1:{server.server_port}"
