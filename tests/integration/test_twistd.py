"""twistd -n micronode: serves the same, ends the same, and leaves no file."""

import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, NO_OWNERS, PATIENCE_S, Program, ask, ask_json, eventually

#: What the script ``twistd`` does; the module itself cannot be run.
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


class TwistdTests(SynchronousTestCase):
    def twistd(self, *argv: str, **streams: int) -> Program:
        return Program(self, "-n", "micronode", *argv, python=("-c", TWISTD), **streams)

    def sockets(self) -> tuple[list[str], str]:
        """Return flags that listen on Unix sockets, and their folder; a socket's path must be short."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return [word for n in ("http", "admin", "oap") for word in (f"--{n}", f"unix:{folder}/{n}")], folder

    def test_serves_until_sigterm(self) -> None:
        twistd = self.twistd(*FREE, *NO_OWNERS, "--set", "drain.grace=0s")
        admin = twistd.until(r'"listener":"admin","address":"([^"]+)"')[1]
        http = twistd.until(r'"listener":"http","address":"([^"]+)"')[1]
        self.assertTrue(ask_json(f"http://{admin}/readyz")["ready"])
        self.assertEqual(json.loads(ask(f"http://{http}/app/search?q=x")[2])["code"], "owner_unavailable")
        twistd.kill(signal.SIGHUP)
        twistd.until("config_unchanged")
        twistd.kill(signal.SIGTERM)
        # twistd ends by the signal that stopped it, once everything is stopped.
        self.assertEqual(twistd.end(), -signal.SIGTERM)
        self.assertIn(b'"stopped"', twistd.printed)
        self.assertEqual(os.listdir(twistd.directory), [])
        for line in twistd.printed.splitlines():
            self.assertIn("event", json.loads(line))

    def test_the_last_lines_wait_for_their_reader(self) -> None:
        listeners, folder = self.sockets()
        near, far = os.pipe()
        # Not 64 KiB: fewer calls are more than it holds.
        fcntl.fcntl(far, fcntl.F_SETPIPE_SZ, 4096)
        twistd = self.twistd(*listeners, *NO_OWNERS, "--set", "drain.grace=0s", stdout=far)
        os.close(far)
        with open(near, "rb") as log:
            eventually(lambda: os.path.exists(f"{folder}/http"))
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(PATIENCE_S)
                caller.connect(f"{folder}/http")
                for _ in range(100):
                    caller.sendall(b"GET /app/search?q=x HTTP/1.1\r\nHost: node\r\n\r\n")
                    self.assertIn(b" 503 ", caller.recv(65_536))
            twistd.kill(signal.SIGTERM)
            lines = [json.loads(line) for line in log]
        self.assertEqual(twistd.end(), -signal.SIGTERM)
        self.assertEqual(sum(line["event"] == "access" for line in lines), 100)
        self.assertEqual(lines[-1].get("state"), "stopped")

    def test_without_standard_streams(self) -> None:
        again = "os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
        start = f"import os, sys; os.closerange(0, 3); {again}"
        listeners, folder = self.sockets()
        argv = ("-n", "micronode", *listeners, *NO_OWNERS, "--set", "drain.grace=0s")
        twistd = Program(self, TWISTD, *argv, python=("-c", start))
        eventually(lambda: os.path.exists(f"{folder}/oap"))
        twistd.kill(signal.SIGTERM)
        self.assertEqual(twistd.end(), -signal.SIGTERM)

    def test_port_in_use(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            twistd = self.twistd(*FREE[:4], "--oap", address)
            self.assertEqual(twistd.end(), 69)
        self.assertRegex(
            twistd.complained, rf"\Amicronode: oap\.listen {address}: address already in use.*\n\Z"
        )
        self.assertNotIn(b"Traceback", twistd.printed)

    def test_mistakes(self) -> None:
        for argv, code in ((["--http", "0.0.0.0:1"], 78), (["--no-such"], 64), (["--help"], 0)):
            twistd = self.twistd(*argv)
            self.assertEqual(twistd.end(), code)
            self.assertNotIn("Traceback", twistd.complained)
