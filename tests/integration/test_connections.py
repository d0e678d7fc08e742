"""How many connections a node takes, from whom, and which it lets go of, seen from outside."""

from __future__ import annotations

import re
import resource
import select
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import NO_OWNERS, PATIENCE_S, Program, ask, ask_json, ask_rejected, eventually

ASKED = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Caller:
    """One connection over HTTP."""

    def __init__(self, case: ConnectionsCase) -> None:
        self.socket = case.connect("http")

    def ask(self) -> Caller:
        self.socket.sendall(ASKED)
        return self

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer, now."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def answered(self) -> bytes:
        """Wait for the answer; return its first line."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(65_536)
            if not piece:
                raise AssertionError(f"closed behind {data!r}")
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        found = re.search(rb"Content-Length: (\d+)", head)
        left = int(found[1] if found else 0) - len(body)
        while left > 0:
            left -= len(self.socket.recv(left))
        return head.partition(b"\r\n")[0]

    def is_closed(self) -> bool:
        """Whether the node has closed, now."""
        if not self.is_answered:
            return False
        try:
            return self.socket.recv(65_536) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()


class ConnectionsCase(SynchronousTestCase):
    """Runs a node with some settings."""

    listen = "127.0.0.1:0"

    def run_node(self, *settings: str, **how: Any) -> Program:
        sets = [
            word for each in ("drain.grace=0s", "drain.deadline=0s", *settings) for word in ("--set", each)
        ]
        planes = ("--http", self.listen, "--oap", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        self.node = Program(self, "run", *planes, *NO_OWNERS, *sets, **how)
        self.addresses = {
            name: self.node.until_complaint(rf'"listener":"{name}","address":"([^"]+)"')[1]
            for name in ("http", "admin", "oap")
        }
        self.node.until_complaint('"running"')
        return self.node

    def connect(self, plane: str) -> socket.socket:
        address = self.addresses[plane]
        if address.startswith("unix:"):
            connected = socket.socket(socket.AF_UNIX)
            connected.settimeout(PATIENCE_S)
            connected.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            connected = socket.create_connection((host, int(port)), PATIENCE_S)
        self.addCleanup(connected.close)
        return connected

    def status(self) -> Any:
        return ask_json(f"http://{self.addresses['admin']}/api/v1/status")

    def open_now(self, plane: str = "http") -> int:
        return int(self.status()["connections"][plane])

    def rejected(self, reason: str) -> float:
        return ask_rejected(self.addresses["admin"], reason)

    def end(self) -> None:
        self.node.kill(signal.SIGTERM)
        self.assertEqual(self.node.end(), 0)
        self.assertNotIn("Traceback", self.node.complained)


class CapCase(ConnectionsCase):
    def pauses(self) -> None:
        """Twenty callers, of which four may be connected, ask one after the other, and go."""
        self.run_node("limits.max_connections=4")
        callers = [Caller(self).ask() for _ in range(20)]
        waiting = list(callers)
        while waiting:
            eventually(lambda: any(each.is_answered for each in waiting))
            self.assertLessEqual(self.open_now(), 4)
            for each in [each for each in waiting if each.is_answered]:
                self.assertEqual(each.answered(), b"HTTP/1.1 200 OK")
                each.close()
                waiting.remove(each)
        self.assertIn('"event":"accepting_paused","listener":"http"', self.node.complained)
        self.end()


class CapTests(CapCase):
    def test_accepting_pauses_and_nobody_is_dropped(self) -> None:
        self.pauses()

    def test_idle_ones_make_room(self) -> None:
        self.run_node("limits.max_connections=10")
        idle = [Caller(self).ask() for _ in range(8)]
        for each in idle:
            self.assertEqual(each.answered(), b"HTTP/1.1 200 OK")
        for _ in range(12):
            more = Caller(self).ask()
            self.assertEqual(more.answered(), b"HTTP/1.1 200 OK")
            more.close()
        busy = [Caller(self).ask() for _ in range(4)]
        for each in busy:
            self.assertEqual(each.answered(), b"HTTP/1.1 200 OK")
        eventually(lambda: any(each.is_closed() for each in idle))
        self.assertIn('"event":"idle_reaped"', self.node.complained)
        self.end()

    def test_the_admin_plane_is_apart(self) -> None:
        self.run_node("limits.max_connections=1", "limits.max_handshakes=1")
        for _ in range(3):
            self.connect("http")
            self.connect("oap")
        self.assertEqual(ask(f"http://{self.addresses['admin']}/readyz")[0], 200)
        for _ in range(100):
            self.connect("admin")
        self.assertEqual(ask(f"http://{self.addresses['admin']}/readyz")[0], 200)
        self.end()

    def test_a_reload_makes_room(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        file = folder / "node.toml"
        file.write_text("[limits]\nmax_connections = 2\n")
        self.run_node("log.level=info", environ={"MICRONODE_CONFIG": str(file)})
        busy = [self.connect("http") for _ in range(2)]
        for each in busy:
            each.sendall(b"GET /")
        third = Caller(self).ask()
        eventually(lambda: self.open_now() == 2)
        self.assertFalse(third.is_answered)
        file.write_text("[limits]\nmax_connections = 3\n")
        self.node.kill(signal.SIGHUP)
        self.assertEqual(third.answered(), b"HTTP/1.1 200 OK")
        self.end()

    def test_without_descriptors(self) -> None:
        """Who cannot be accepted waits, and the node does not go round in circles meanwhile."""
        node = self.run_node()
        before = len(list(Path(f"/proc/{node.pid}/fd").iterdir()))
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (before + 4, before + 100))
        callers = [Caller(self).ask() for _ in range(8)]
        node.until_complaint('"event":"accept_error"')
        answered = [each for each in callers if each.is_answered]
        self.assertLess(len(answered), 8)
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (before + 100, before + 100))
        for each in callers:
            self.assertEqual(each.answered(), b"HTTP/1.1 200 OK")
        self.assertLess(node.complained.count("accept_error"), 5)
        self.end()


class UnixTests(CapCase):
    """The same over a Unix socket."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.listen = f"unix:{folder}/http"

    def test_accepting_pauses_and_nobody_is_dropped(self) -> None:
        self.pauses()


class WhoTests(ConnectionsCase):
    def test_one_address_has_so_many(self) -> None:
        self.run_node("limits.per_address=2")
        first, second = Caller(self).ask(), Caller(self).ask()
        self.assertEqual((first.answered(), second.answered()), (b"HTTP/1.1 200 OK",) * 2)
        third = Caller(self)
        eventually(third.is_closed)
        self.assertEqual(self.rejected("busy_address"), 1)
        first.close()
        eventually(lambda: self.open_now() == 1)
        self.assertEqual(Caller(self).ask().answered(), b"HTTP/1.1 200 OK")
        self.end()

    def test_who_says_nothing_makes_way(self) -> None:
        """Thirty that send half a head, then one that asks: it has its answer."""
        self.run_node("limits.max_handshakes=10", "timeouts.read=60s")
        silent = [Caller(self) for _ in range(30)]
        for each in silent:
            each.socket.sendall(b"GET /")
        self.assertEqual(Caller(self).ask().answered(), b"HTTP/1.1 200 OK")
        self.assertEqual(silent[0].answered(), b"HTTP/1.1 408 Request Timeout")
        self.assertGreaterEqual(self.rejected("timeout_handshakes"), 20)
        oap = [self.connect("oap") for _ in range(20)]
        self.assertIn(b'"timeout"', oap[0].recv(4096))
        self.end()
