"""A node that is sick, and one that holds as much as it may, seen from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, NO_OWNERS, PATIENCE_S, Program, ask, ask_json, ask_rejected, eventually

READ, WRITE = ("GET", "/app/search?q=x"), ("POST", "/app/feed/jobs/recv")


class OverloadCase(SynchronousTestCase):
    """Runs a node on a file of configuration; its owners are not there."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.file = folder / "node.toml"

    def run_node(self, settings: str) -> Program:
        self.settings = f'[drain]\ngrace = "0s"\ndeadline = "0s"\n{settings}\n'
        self.file.write_text(self.settings)
        self.node = Program(self, "run", *FREE, *NO_OWNERS, "--config", str(self.file))
        self.http, self.admin = (
            self.node.until_complaint(rf'"listener":"{name}","address":"([^"]+)"')[1]
            for name in ("http", "admin")
        )
        self.node.until_complaint('"running"')
        return self.node

    def reload(self, settings: str) -> None:
        count = self.node.complained.count('"config_reloaded"')
        self.file.write_text(self.settings + settings)
        self.node.kill(signal.SIGHUP)
        eventually(
            lambda: self.node.complained.count('"config_reloaded"') > count, lambda: self.node.complained
        )

    def ready(self) -> tuple[int, dict[str, Any]]:
        status, fields, body = ask(f"http://{self.admin}/readyz")
        self.assertEqual("retry-after" in fields, status == 503)
        return status, json.loads(body)

    def code(self, request: tuple[str, str]) -> str:
        """Return the name of the error that *request* is answered with."""
        method, path = request
        status, fields, body = ask(f"http://{self.http}{path}", method, b"" if method == "POST" else None)
        self.assertEqual(status, 503, body)
        self.assertIn(int(fields["retry-after"]), range(1, 11))
        found = re.search(rb'"code":\s*"(\w+)"', body)
        assert found is not None
        return found[1].decode()

    def rss(self) -> int:
        pages = Path(f"/proc/{self.node.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def rejected(self, reason: str) -> float:
        return ask_rejected(self.admin, reason)

    def end(self) -> None:
        self.node.kill(signal.SIGTERM)
        self.assertEqual(self.node.end(), 0)
        self.assertNotIn("Traceback", self.node.complained)


class SicknessTests(OverloadCase):
    def test_writes_are_shed_then_reads_then_it_is_unready_and_well_again(self) -> None:
        """Its process is a little larger than it may be. The owners' own 503 is another."""
        self.run_node("")
        self.assertEqual((self.code(READ), self.code(WRITE)), ("owner_unavailable",) * 2)
        self.reload(f'[overload]\nrss = {round(self.rss() / 1.05)}\nunready_after = "4s"\n')
        eventually(lambda: self.ready()[1]["shedding"], lambda: self.node.complained)
        self.assertEqual((self.code(WRITE), self.code(READ)), ("not_ready", "owner_unavailable"))
        status, body = self.ready()
        self.assertEqual((status, body["ready"]), (200, True))
        eventually(lambda: self.code(READ) == "not_ready")
        self.assertGreaterEqual(self.rejected("not_ready"), 2)
        eventually(lambda: self.ready()[0] == 503)
        status, body = self.ready()
        self.assertEqual((body["ready"], body["state"], body["shedding"]), (False, "running", True))
        self.assertEqual(ask(f"http://{self.admin}/healthz")[0], 200)
        self.reload(f'[overload]\nrss = {self.rss() * 4}\nunready_after = "4s"\n')
        eventually(lambda: self.ready()[0] == 200)
        self.assertEqual((self.code(WRITE), self.code(READ)), ("owner_unavailable",) * 2)
        self.end()
        told = re.findall(r'"event":"overload","shedding":"(\w+)"', self.node.complained)
        self.assertEqual(told, ["writes", "all", "writes", "none"])
        self.assertEqual(
            re.findall(r'"event":"readiness","ready":(\w+)', self.node.complained), ["false", "true"]
        )

    def test_a_loop_that_is_late(self) -> None:
        """Its process is stopped again and again, for longer than its loop may be late."""
        node = self.run_node('[overload]\nlag = "50ms"\nunready_after = "1s"\n')
        self.addCleanup(lambda: node.process.poll() is None and node.kill(signal.SIGCONT))
        end_s = time.monotonic() + PATIENCE_S
        while '"event":"readiness","ready":false' not in node.complained and time.monotonic() < end_s:
            node.kill(signal.SIGSTOP)
            time.sleep(0.3)
            node.kill(signal.SIGCONT)
            time.sleep(0.05)
        self.assertEqual(self.ready()[0], 503, node.complained)
        eventually(lambda: self.ready()[0] == 200, lambda: node.complained)
        self.assertFalse(self.ready()[1]["shedding"])
        self.end()


class MemoryTests(OverloadCase):
    def test_bodies_that_do_not_end(self) -> None:
        """Thirty callers send most of a mebibyte each, where there is room for half of them, and no more."""
        self.run_node("[limits]\nbuffers = 16777216\n[facets.media]\nenabled = true\n")
        host, _, port = self.http.rpartition(":")
        callers = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(30)]
        for caller in callers:
            self.addCleanup(caller.close)
            caller.sendall(b"POST /app/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n")
            caller.setblocking(False)
        left = dict.fromkeys(callers, 900_000)
        most = 0

        def held() -> int:
            return int(ask_json(f"http://{self.admin}/api/v1/status")["buffers"]["held"])

        for _ in range(60):
            for caller in list(left):
                try:
                    left[caller] -= caller.send(bytes(min(left[caller], 65_536)))
                except BlockingIOError:
                    continue
                except OSError:
                    left[caller] = 0  # it was refused
                if not left[caller]:
                    del left[caller]
            most = max(most, held())
        self.assertGreater(most, 10_000_000)
        self.assertLess(most, 16_777_216 + 65_536)
        # None of them goes: those that were silent longest make way.
        eventually(lambda: held() < 12_000_000)
        self.assertEqual(self.code(READ), "owner_unavailable", "others are served")
        for caller in callers:
            caller.close()
        eventually(lambda: held() == 0)
        self.assertEqual(self.code(READ), "owner_unavailable", "it serves as before")
        self.end()
