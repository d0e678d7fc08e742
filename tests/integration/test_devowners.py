"""The reference owners as a process: started, asked over HTTP, and ended in each way it can end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blake3 import blake3
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import default_signals

ROOT = Path(__file__).resolve().parents[2]
RUN = "import sys; from micronode.devowners.main import main; sys.exit(main(sys.argv[1:]))"
#: Seconds anything here may take; it takes less than one.
PATIENCE_S = 30


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.host)


class OwnersCase(SynchronousTestCase):
    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the owners with *options*; the process is gone when the test is over."""
        report_end, report = os.pipe()
        watched, self.parent_end = os.pipe()
        self.report = os.fdopen(report_end)
        self.addCleanup(self.report.close)
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "--report-fd", str(report), "--parent-fd", str(watched), *options],
            cwd=ROOT,
            pass_fds=(report, watched),
            preexec_fn=default_signals,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(report)
        os.close(watched)
        self.addCleanup(self.reap, process)
        return process

    def reap(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.kill()
        process.communicate()
        self.close_parent_end()

    def close_parent_end(self) -> None:
        if self.parent_end >= 0:
            os.close(self.parent_end)
            self.parent_end = -1

    def ready(self) -> dict[str, str]:
        """Return what the process reports once it is ready."""
        urls = json.loads(self.report.readline())
        assert isinstance(urls, dict)
        self.assertEqual(self.report.read(), "")
        return urls

    def end(self, process: subprocess.Popen[str], how: Callable[[], object]) -> list[dict[str, Any]]:
        """End the process, check that it ended well, and return its log."""
        how()
        printed, log = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, printed), (0, ""), log)
        return [json.loads(line) for line in log.splitlines()]

    def refusal(self, *options: str) -> tuple[int, str]:
        """Return exit code and message of a process that does not start."""
        process = self.start(*options)
        _printed, log = process.communicate(timeout=PATIENCE_S)
        self.assertEqual(self.report.read(), "")
        (line,) = [line for line in log.splitlines() if line.startswith("{")] or [None]
        return process.returncode, json.loads(line)["message"] if line else log

    def ask(
        self, url: str, method: str, path: str, body: bytes | None = None, **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        if url.startswith("unix:"):
            connection: http.client.HTTPConnection = UnixConnection(url.removeprefix("unix:"))
        else:
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): value for name, value in fields.items()}
            )
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def get(self, url: str, path: str) -> Any:
        status, _headers, body = self.ask(url, "GET", path)
        self.assertEqual(status, 200, body)
        return json.loads(body)


PORTS = ("--index", "127.0.0.1:0", "--storage", "127.0.0.1:0")


class EnvironmentTests(OwnersCase):
    """Without ``--corpus``: this Python environment's packages."""

    def test_every_route_then_sigterm(self) -> None:
        process = self.start(*PORTS)
        urls = self.ready()
        index, storage = urls["index"], urls["storage"]
        for url in (index, storage):
            self.assertEqual(self.get(url, "/healthz"), {"ok": True})
            self.assertEqual(self.get(url, "/readyz"), {"ready": True})

        found = self.get(index, "/search/reactor?limit=5")
        self.assertGreater(found["total"], 1)
        self.assertIn("twisted", [hit["id"] for hit in found["hits"]])
        self.assertEqual(self.get(index, "/search/%22NEAR(%2A%20%F0%9F%98%80")["query"], '"NEAR(* 😀')

        neighbors = self.get(index, "/graph/klein?hops=1&max_neighbors=100")["neighbors"]
        self.assertLessEqual(
            {"twisted", "werkzeug"}, {each["id"] for each in neighbors if each["kind"] == "requires"}
        )
        self.assertEqual({each["hops"] for each in neighbors}, {1})

        resolved = self.get(index, "/resolve/name:klein")
        self.assertEqual([each["id"] for each in resolved["providers"]], ["storage"])
        cid = resolved["manifest"]
        status, headers, body = self.ask(storage, "GET", f"/o/{cid}")
        self.assertEqual((status, headers["content-type"]), (200, "text/x-rst; charset=utf-8"))
        self.assertEqual(f"b3:{blake3(body).hexdigest()}", cid)
        self.assertEqual(self.ask(storage, "GET", f"/o/{cid}", Range="bytes=0-9")[::2], (206, body[:10]))
        self.assertEqual(self.ask(storage, "HEAD", f"/o/{cid}")[1]["content-length"], str(len(body)))
        self.assertEqual(self.ask(storage, "GET", f"/o/{cid}", If_None_Match=f'"{cid[3:]}"')[0], 304)

        data = os.urandom(3_000_000)
        status, _headers, body = self.ask(storage, "POST", "/o", data, Content_Type="application/x-test")
        put = json.loads(body)["cid"]
        self.assertEqual((status, put), (201, f"b3:{blake3(data).hexdigest()}"))
        self.assertEqual(self.ask(storage, "GET", f"/o/{put}")[2], data)
        self.assertEqual(
            [each["id"] for each in self.get(index, f"/providers/{put}")["providers"]], ["storage"]
        )

        for url, path, wanted in (
            (index, "/graph/nobody", 404),
            (storage, "/o/x", 400),
            (index, "/%ff", 400),
        ):
            status, headers, body = self.ask(url, "GET", path)
            self.assertEqual((status, list(json.loads(body))), (wanted, ["code", "message"]))

        log = self.end(process, process.terminate)
        self.assertEqual([line["event"] for line in log], ["ready", "stopping"])
        self.assertLessEqual({"ts", "level", "event"}, set(log[0]))

    def test_it_ends_with_its_parent(self) -> None:
        process = self.start(*PORTS)
        self.ready()
        log = self.end(process, self.close_parent_end)
        self.assertEqual([line["event"] for line in log], ["ready", "parent_gone", "stopping"])

    def test_it_ends_with_a_parent_that_died_before_it_was_ready(self) -> None:
        process = self.start(*PORTS)
        self.end(process, self.close_parent_end)

    def test_sigint(self) -> None:
        # As it is where a script runs the tests in the background.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
        process = self.start(*PORTS)
        self.ready()
        self.end(process, lambda: process.send_signal(signal.SIGINT))


class KeptTests(OwnersCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.corpus, self.data = self.folder / "corpus", self.folder / "data"
        self.corpus.mkdir()
        (self.corpus / "a.md").write_text("# Alpha\n[b](sub/b.rst)")
        (self.corpus / "sub").mkdir()
        (self.corpus / "sub" / "b.rst").write_text("Beta\n====\n")
        self.options = ["--corpus", str(self.corpus), "--data", str(self.data)]
        for name in ("index", "storage"):
            self.options += [f"--{name}", f"unix:{self.folder}/run/{name}"]

    def test_on_unix_sockets_and_again_after_a_kill(self) -> None:
        first = self.start(*self.options)
        urls = self.ready()
        self.assertEqual(urls["index"], f"unix:{self.folder}/run/index")
        self.assertEqual(
            self.get(urls["index"], "/graph/a.md")["neighbors"],
            [{"id": "sub/b.rst", "kind": "links", "hops": 1}],
        )
        cid = json.loads(self.ask(urls["storage"], "POST", "/o", b"kept")[2])["cid"]
        for path, mode in (
            (self.folder / "run", 0o700),
            (self.folder / "run" / "index", 0o600),
            (self.data, 0o700),
        ):
            self.assertEqual(path.stat().st_mode & 0o777, mode, path)
        first.kill()
        first.communicate(timeout=PATIENCE_S)

        (self.corpus / "a.md").write_text("# Gamma")
        self.close_parent_end()
        second = self.start(*self.options)
        urls = self.ready()
        self.assertEqual(self.get(urls["index"], "/search/alpha")["total"], 0)
        self.assertEqual(self.get(urls["index"], "/search/gamma")["hits"][0]["id"], "a.md")
        self.assertEqual(self.get(urls["index"], "/graph/sub%2Fb.rst")["neighbors"], [])
        self.assertEqual(self.ask(urls["storage"], "GET", f"/o/{cid}")[2], b"kept")
        log = self.end(second, second.terminate)
        self.assertEqual((log[0]["documents"], log[0]["changed"]), (2, 1))


class RefusalTests(OwnersCase):
    def test_address_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            code, message = self.refusal("--index", "127.0.0.1:0", "--storage", address)
        self.assertEqual(code, 69)
        self.assertIn(f"--storage {address}", message)
        self.assertIn("in use", message)

    def test_bad_corpus(self) -> None:
        code, message = self.refusal(*PORTS, "--corpus", "/nonexistent")
        self.assertEqual(code, 78)
        self.assertIn("--corpus /nonexistent", message)

    def test_bad_usage(self) -> None:
        code, message = self.refusal("--index", "0.0.0.0:0")
        self.assertEqual(code, 64)
        self.assertIn("loopback", message)

    def test_help(self) -> None:
        process = self.start("--help")
        printed, _log = process.communicate(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 0)
        self.assertIn("--corpus", printed)
