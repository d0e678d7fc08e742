"""``micronode check --deep`` as a process, against owner services that are ready, sick, silent and gone."""

from __future__ import annotations

import json
import os
import signal
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
        urls = {"index": index, "mailbox": storage, "storage": storage}
        argv = [word for name, url in urls.items() for word in ("--set", f"owners.{name}.url={url}")]
        argv += ["--set", "facets.media.enabled=true", *more]
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

    def test_upstreams_of_custom_facets_are_asked_where_they_say(self) -> None:
        words = [
            "facets.own.kind=proxy",
            f"facets.own.upstream={self.url}",
            "facets.own.routes=GET /{rest} read",
        ]
        own = [word for each in words for word in ("--set", each)]
        _, states = self.check(f"{self.url}/ok", f"{self.url}/ok", *own)
        self.assertNotIn(self.url, states)
        for path, state in (("/ok/readyz", "ready"), ("/sick/readyz", "down: it answered 503")):
            _, states = self.check(
                f"{self.url}/ok", f"{self.url}/ok", *own, "--set", f"facets.own.health={path}"
            )
            self.assertEqual(states[self.url], state)

    def test_what_is_no_owner_at_all(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()

            def answer() -> None:
                with other.accept()[0] as caller:
                    caller.recv(1000)
                    caller.sendall(b"SSH-2.0-x\r\n\x00\xff\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            self.addCleanup(thread.join, PATIENCE_S)
            garbage = f"http://127.0.0.1:{other.getsockname()[1]}"
            plain = self.url.replace("http:", "https:")
            code, states = self.check(f"{garbage},{plain}", "unix:/nowhere/x")
        self.assertEqual(code, 1)
        self.assertEqual(len(states), 3)
        for url, state in states.items():
            self.assertRegex(state, r"^down: [ -~]+$", url)

    def test_interrupted(self) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            silent.settimeout(PATIENCE_S)
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            program = Program(self, "check", "--deep", "--set", f"owners.index.url={url}")
            with silent.accept()[0]:
                program.kill(signal.SIGINT)
                self.assertEqual(program.end(), 1)
        self.assertRegex(program.complained, r"\Amicronode: interrupted before .*\n\Z")

    def test_standard_input_through_a_pipe(self) -> None:
        read, write = os.pipe()
        program = Program(self, "check", "-", stdin=read)
        os.close(read)
        os.write(write, b'[http]\nlisen = "x"\n')
        os.close(write)
        self.assertEqual(program.end(), 78)
        self.assertIn(
            "micronode: <stdin>:2: unknown key 'lisen' in [http] (did you mean listen?)", program.complained
        )

    def test_refused_before_anybody_is_asked(self) -> None:
        program = Program(self, "check", "--deep", "--http", "0.0.0.0:1")
        self.assertEqual((program.end(), program.printed), (78, b""))
