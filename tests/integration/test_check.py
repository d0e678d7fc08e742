"""``micronode check --deep`` as a process, against owner services that are ready, sick, silent and gone."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, Program


class _Owner(BaseHTTPRequestHandler):
    """Answers ``/ok/readyz`` with 200, all else with 503."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ok/readyz" else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class DeepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.owner = ThreadingHTTPServer(("127.0.0.1", 0), _Owner)
        thread = threading.Thread(target=self.owner.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(thread.join, PATIENCE_S)
        self.addCleanup(self.owner.server_close)
        self.addCleanup(self.owner.shutdown)
        self.url = f"http://127.0.0.1:{self.owner.server_port}"

    def check(self, index: str, storage: str, *more: str) -> tuple[int, dict[str, str]]:
        """Return the exit code and each URL's state."""
        argv = ("--set", f"owners.index.url={index}", "--set", f"owners.storage.url={storage}", *more)
        program = Program(self, "check", "--deep", "--json", *argv)
        code = program.end()
        self.assertEqual(program.complained, "")
        answer = json.loads(program.printed)
        self.assertEqual(answer["ok"], code == 0)
        return code, {name.partition(" ")[2]: state for name, state in answer["owners"].items()}

    def test_all_ready(self) -> None:
        url = f"{self.url}/ok"
        self.assertEqual(self.check(url, url), (0, {url: "ready"}))

    def test_which_is_down(self) -> None:
        with socket.socket() as silent, socket.socket() as gone:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            gone.bind(("127.0.0.1", 0))
            urls = [f"http://127.0.0.1:{each.getsockname()[1]}" for each in (silent, gone)]
            code, states = self.check(
                f"{self.url}/ok,{self.url}/sick", ",".join(urls), "--set", "owners.storage.timeout=300ms"
            )
        self.assertEqual(code, 1)
        self.assertEqual(states[f"{self.url}/ok"], "ready")
        self.assertEqual(states[f"{self.url}/sick"], "down: it answered 503")
        self.assertEqual(states[urls[0]], "down: no answer within 0.3 s")
        self.assertIn("refused", states[urls[1]])

    def test_refused_before_anybody_is_asked(self) -> None:
        program = Program(self, "check", "--deep", "--http", "0.0.0.0:1")
        self.assertEqual((program.end(), program.printed), (78, b""))
