"""A node as a service: what it tells a real notify socket, and real descriptors that it was started with."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import (
    FREE,
    NO_OWNERS,
    PATIENCE_S,
    Program,
    ask_json,
    children_of,
    eventually,
    is_alive,
)
from tests.integration.test_twistd import TWISTD
from tests.support.systemd import NotifySocket, environment_of, start_with
from tests.support.tools import require_tool

NOW = ("--set", "drain.grace=0s")
ADMIN = r'"listener":"admin","address":"([^"]+)"'


class NotifyTests(SynchronousTestCase):
    def run_node(self, manager: NotifySocket, *argv: str, **environ: str) -> Program:
        environ["NOTIFY_SOCKET"] = manager.name
        return Program(self, "run", *FREE, *NO_OWNERS, *argv, environ=environ)

    def admin(self, node: Program) -> str:
        return node.until_complaint(ADMIN)[1]

    def test_ready_is_true(self) -> None:
        """On a path and on an abstract name: whoever was told so is served."""
        for abstract in (False, True):
            manager = NotifySocket(self, abstract=abstract)
            node = self.run_node(manager, *NOW)
            first = manager.hear()
            self.assertEqual(first[0], "READY=1")
            self.assertTrue(first[1].startswith("STATUS=running; calls in flight: 0"), first)
            self.assertTrue(ask_json(f"http://{self.admin(node)}/readyz")["ready"])
            node.kill(signal.SIGTERM)
            stopping = manager.until("STOPPING=1")
            self.assertIn("EXTEND_TIMEOUT_USEC=15000000", stopping)
            self.assertEqual(node.end(), 0)

    def test_not_ready_where_it_cannot_be(self) -> None:
        manager = NotifySocket(self)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            environ = {"NOTIFY_SOCKET": manager.name}
            node = Program(self, "run", *FREE[2:], "--http", address, *NO_OWNERS, environ=environ)
            self.assertEqual(node.end(), 69)
        self.assertTrue(manager.silent_for("READY=1", 0.1))

    def test_a_reload(self) -> None:
        manager = NotifySocket(self)
        config = Path(self.mktemp())
        config.write_text("")
        node = self.run_node(manager, *NOW, "--config", str(config.resolve()))
        manager.until("READY=1")
        for text in ("[limits]\nmax_inflight = 9\n", "typo = 1\n"):
            config.write_text(text)
            node.kill(signal.SIGHUP)
            begun = manager.until("RELOADING=1")
            usec = [int(line.partition("=")[2]) for line in begun if line.startswith("MONOTONIC_USEC=")]
            self.assertEqual(len(usec), 1)
            # The machine's clock, that of the manager: this test's, too.
            self.assertLess(abs(usec[0] - time.monotonic_ns() // 1000), PATIENCE_S * 1e6)
            manager.until("READY=1")

    def test_a_blocked_reactor_is_silent(self) -> None:
        manager = NotifySocket(self)
        node = self.run_node(manager, *NOW, WATCHDOG_USEC="600000")
        manager.until("READY=1")
        for _ in range(3):
            manager.until("WATCHDOG=1")
        node.kill(signal.SIGSTOP)
        # What it had sent before.
        manager.silent_for("", 0.2)
        self.assertTrue(manager.silent_for("WATCHDOG=1", 0.7))
        node.kill(signal.SIGCONT)
        manager.until("WATCHDOG=1")

    def test_no_watchdog_unless_it_is_wanted(self) -> None:
        manager = NotifySocket(self)
        self.run_node(manager, *NOW, WATCHDOG_USEC="200000", WATCHDOG_PID="1")
        manager.until("READY=1")
        self.assertTrue(manager.silent_for("WATCHDOG=1", 0.5))

    def test_a_manager_that_has_gone(self) -> None:
        manager = NotifySocket(self)
        node = self.run_node(manager, *NOW, WATCHDOG_USEC="100000")
        manager.until("READY=1")
        os.unlink(manager.name)
        node.until_complaint("notify_failed")
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)
        self.assertEqual(node.complained.count("notify_failed"), 1)
        self.assertNotIn("Traceback", node.complained)

    def test_a_manager_that_does_not_listen(self) -> None:
        """Its queue is full before the node starts: nothing waits, and READY comes when there is room."""
        manager = NotifySocket(self)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            sent = 0
            try:
                while sent < 100_000:
                    other.sendto(b"X=1", manager.name)
                    sent += 1
            except BlockingIOError:
                pass
            self.assertGreater(sent, 0)
            node = self.run_node(manager, *NOW)
            self.assertTrue(ask_json(f"http://{self.admin(node)}/readyz")["ready"])
            manager.until("READY=1")

    def test_dev_keeps_it_from_its_owners(self) -> None:
        manager = NotifySocket(self)
        corpus = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, corpus)
        (corpus / "hello.md").write_text("# Hello\n")
        environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "60000000"}
        node = Program(self, "dev", *FREE, "--corpus", str(corpus), environ=environ)
        manager.until("READY=1")
        (owners,) = children_of(node.pid)
        self.assertIn("NOTIFY_SOCKET", environment_of(node.pid))
        self.assertEqual(environment_of(owners) & {"NOTIFY_SOCKET", "WATCHDOG_USEC"}, set())
        node.kill(signal.SIGTERM)
        manager.until("STOPPING=1")
        self.assertEqual(node.end(), 0)

    def test_twistd(self) -> None:
        manager = NotifySocket(self)
        argv = ("-n", "micronode", *FREE, *NO_OWNERS, *NOW)
        environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "300000"}
        node = Program(self, *argv, python=("-c", TWISTD), environ=environ)
        self.assertEqual(manager.hear()[0], "READY=1")
        manager.until("WATCHDOG=1")
        node.kill(signal.SIGTERM)
        manager.until("STOPPING=1")
        self.assertEqual(node.end(), -signal.SIGTERM)

    def test_twistd_that_is_signalled_as_soon_as_it_is_ready(self) -> None:
        for number, line in ((signal.SIGHUP, "RELOADING=1"), (signal.SIGTERM, "STOPPING=1")):
            manager = NotifySocket(self)
            argv = ("-n", "micronode", *FREE, *NO_OWNERS, *NOW)
            node = Program(self, *argv, python=("-c", TWISTD), environ={"NOTIFY_SOCKET": manager.name})
            self.assertEqual(manager.hear()[0], "READY=1")
            node.kill(number)
            manager.until(line)

    def test_twistd_that_forks(self) -> None:
        manager = NotifySocket(self)
        argv = ("--pidfile=pid", "--logfile=log", "micronode", *FREE, *NO_OWNERS, *NOW)
        first = Program(self, *argv, python=("-c", TWISTD), environ={"NOTIFY_SOCKET": manager.name})
        ready = manager.until("READY=1")
        self.assertEqual(first.end(), 0)
        (main,) = [int(line.partition("=")[2]) for line in ready if line.startswith("MAINPID=")]
        self.addCleanup(_end, main)
        self.assertNotEqual(main, first.pid)
        self.assertEqual((first.directory / "pid").read_text().strip(), str(main))


class ActivationTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def tcp(self, family: int = socket.AF_INET, host: str = "127.0.0.1") -> socket.socket:
        listener = socket.create_server((host, 0), family=family)
        self.addCleanup(listener.close)
        return listener

    def unix(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(self.folder / name))
        listener.listen(16)
        return listener

    def start(self, sockets: dict[str, socket.socket], *argv: str, **environ: str) -> Program:
        admin = () if "admin" in sockets else ("--admin", "127.0.0.1:0")
        words = [word for name in sockets for word in (f"--{name}", f"systemd:{name}")]
        return start_with(self, sockets, "run", *words, *admin, *NO_OWNERS, *NOW, *argv, **environ)

    def stop(self, node: Program) -> None:
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)

    def call(self, caller: socket.socket) -> bytes:
        """Ask for something that needs an owner; return the answer's head."""
        caller.settimeout(PATIENCE_S)
        caller.sendall(b"GET /app/search?q=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := caller.recv(65_536):
            answer += data
        return answer.partition(b"\r\n")[0]

    def test_served_one_after_the_other(self) -> None:
        """Who connects between two processes waits in the backlog, and is served by the second."""
        listeners = [self.tcp(), self.unix("http")]
        # A machine, and many a container, need not have IPv6.
        with contextlib.suppress(OSError):
            listeners.append(self.tcp(socket.AF_INET6, "::1"))
        for listener in listeners:
            where = listener.getsockname()
            first = self.start({"http": listener}, "--oap", "off")
            first.until_complaint('"running"')
            self.stop(first)
            with socket.socket(listener.family) as between:
                between.settimeout(PATIENCE_S)
                between.connect(where)
                second = self.start({"http": listener}, "--oap", "off")
                self.assertEqual(self.call(between), b"HTTP/1.1 503 Service Unavailable")
            self.stop(second)
            self.assertIn("owner_unavailable", second.complained)

    def test_no_more_than_it_may_have(self) -> None:
        """Who connects beyond that waits, and is served when another has gone."""
        for listener in (self.tcp(), self.unix("http")):
            node = self.start({"http": listener}, "--oap", "off", "--set", "limits.max_connections=1")
            node.until_complaint('"running"')
            with socket.socket(listener.family) as first, socket.socket(listener.family) as second:
                first.connect(listener.getsockname())
                first.sendall(b"GET /")
                node.until_complaint('"accepting_paused"')
                second.connect(listener.getsockname())
                second.settimeout(0.2)
                self.assertRaises(TimeoutError, second.recv, 1)
                first.close()
                self.assertEqual(self.call(second), b"HTTP/1.1 503 Service Unavailable")
            self.stop(node)

    def test_a_path_of_systemd_is_left_alone(self) -> None:
        listener = self.unix("http")
        os.chmod(self.folder / "http", 0o622)
        node = self.start({"http": listener}, "--oap", "off")
        node.until_complaint('"running"')
        self.assertEqual((self.folder / "http").stat().st_mode & 0o777, 0o622)
        self.stop(node)
        self.assertTrue((self.folder / "http").is_socket())

    def test_all_planes(self) -> None:
        sockets = {"http": self.tcp(), "oap": self.unix("oap"), "admin": self.tcp()}
        node = self.start(sockets)
        port = sockets["admin"].getsockname()[1]
        self.assertTrue(ask_json(f"http://127.0.0.1:{port}/healthz")["ok"])
        node.until_complaint(f'"listener":"oap","address":"unix:{self.folder}/oap"')
        self.stop(node)

    def test_not_to_the_world(self) -> None:
        """Judged by where it is bound, whoever bound it."""
        node = self.start({"http": self.tcp(host="0.0.0.0")}, "--oap", "off")
        self.assertEqual(node.end(), 78)
        self.assertRegex(node.complained, r"http\.listen: .* bound to 0\.0\.0\.0:[0-9]+, not loopback")

    def test_a_name_that_was_not_passed(self) -> None:
        node = start_with(self, {"oap": self.tcp()}, "run", "--http", "systemd:http", "--oap", "systemd:oap")
        self.assertEqual(node.end(), 78)
        self.assertIn('http.listen = "systemd:http"', node.complained)
        self.assertIn("(only oap)", node.complained)
        self.assertNotIn("Traceback", node.complained)

    def test_what_cannot_be_served(self) -> None:
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        self.addCleanup(datagrams.close)
        datagrams.bind(("127.0.0.1", 0))
        node = start_with(self, {"http": datagrams}, "run", "--http", "systemd:http")
        self.assertEqual(node.end(), 78)
        self.assertIn("the socket 'http' (descriptor 3): it is no stream socket", node.complained)

    def test_sockets_that_are_not_used(self) -> None:
        node = start_with(self, {"b": self.tcp(), "a": self.tcp()}, "run", *FREE, *NO_OWNERS, *NOW)
        node.until_complaint('"running"')
        self.assertEqual(node.complained.count("sockets_unused"), 1)
        self.assertIn("systemd:NAME for a, b", node.complained)
        self.stop(node)

    def test_dev_keeps_them_from_its_owners(self) -> None:
        corpus = self.folder / "corpus"
        corpus.mkdir()
        (corpus / "hello.md").write_text("# Hello\n")
        listener = self.tcp()
        words = ("--http", "systemd:http", "--admin", "127.0.0.1:0", "--oap", "off", "--corpus", str(corpus))
        node = start_with(self, {"http": listener}, "dev", *words)
        node.until("Ctrl-C")
        (owners,) = children_of(node.pid)
        self.assertEqual({n for n in environment_of(owners) if n.startswith("LISTEN_")}, set())
        inode = os.fstat(listener.fileno()).st_ino
        held = {os.readlink(each) for each in Path(f"/proc/{owners}/fd").iterdir()}
        self.assertNotIn(f"socket:[{inode}]", held)
        self.stop(node)

    def test_twistd(self) -> None:
        listener = self.tcp()
        words = ("-n", "micronode", "--http", "systemd:http", "--admin", "127.0.0.1:0", "--oap", "off")
        # Another plugin may have it: importing it takes variables out of the environment.
        twistd = f"import twisted.internet.endpoints; {TWISTD}"
        node = start_with(self, {"http": listener}, *words, *NO_OWNERS, *NOW, python=("-c", twistd))
        with socket.create_connection(listener.getsockname()) as caller:
            self.assertEqual(self.call(caller), b"HTTP/1.1 503 Service Unavailable")
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), -signal.SIGTERM)

    def test_systemds_own_tool(self) -> None:
        tool = require_tool("systemd-socket-activate")
        path = self.folder / "http"
        again = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
        node = Program(
            self,
            *(tool, "-l", str(path), "--fdname=http", "-E", "PYTHONPATH"),
            *(sys.executable, "-m", "micronode", "run"),
            *("--http", "systemd:http", "--admin", "127.0.0.1:0", "--oap", "off", *NO_OWNERS, *NOW),
            python=("-c", again),
        )
        eventually(path.is_socket)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            self.assertEqual(self.call(caller), b"HTTP/1.1 503 Service Unavailable")
        self.stop(node)


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not is_alive(pid))
