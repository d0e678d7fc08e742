"""twistd -n micronode: serves the same, ends the same, and leaves no file."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import (
    FREE,
    NO_OWNERS,
    PATIENCE_S,
    ROOT,
    Program,
    ask,
    ask_json,
    eventually,
    is_alive,
)

#: What the script ``twistd`` does; the module itself cannot be run.
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
#: What the script ``twist`` does.
TWIST = "import sys; from twisted.application.twist._twist import Twist; sys.argv[0] = 'twist'; Twist.main()"


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


class ItsOwnLogTests(SynchronousTestCase):
    """A log whose destination twistd's user chose: ours in words there, and of the configured level."""

    ARGV = (*FREE, *NO_OWNERS, "--set", "drain.grace=0s")
    #: A module of the user's, with what makes an observer.
    LOGGER = "import sys\nfrom twisted.logger import *\nf = lambda: textFileLogObserver(sys.stdout)\n"

    def setUp(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.file, self.log = os.path.join(folder, "node.toml"), os.path.join(folder, "twistd.log")
        self.pid_file = os.path.join(folder, "pid")
        self.write("info")

    def write(self, level: str, rest: str = "") -> None:
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(f'log.level = "{level}"\n{rest}')

    def read(self) -> str:
        try:
            with open(self.log, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def said(self, pattern: str) -> str:
        found = eventually(lambda: re.search(pattern, self.read()), self.read)
        return str(found.groups()[0] if found.groups() else found[0])

    def check(self, pid: Callable[[], int]) -> None:
        """Look at a node that was just started, and stop it."""
        http = self.said(r"listening listener=http address=(\S+)")
        self.said("state state=running")
        self.write("info", "drain.graec = 1\n")
        os.kill(pid(), signal.SIGHUP)
        self.said(r"#error\] config_refused reason=.*node\.toml:2: unknown key 'graec'.*did you mean grace")
        self.assertEqual(ask(f"http://{http}/app/search?q=1")[0], 503)
        self.said(r"access .*status=503")
        self.write("warning")
        os.kill(pid(), signal.SIGHUP)
        admin = self.said(r"listening listener=admin address=(\S+)")
        applied = 'config_reloads_total{outcome="applied"} 1.0'
        eventually(lambda: applied in ask(f"http://{admin}/metrics")[2].decode())
        before = self.read()
        self.assertEqual(ask(f"http://{http}/app/search?q=2")[0], 503)
        os.kill(pid(), signal.SIGTERM)
        eventually(lambda: not is_alive(pid()))
        after = self.read().removeprefix(before)
        self.assertNotIn("access", after)
        self.assertNotIn("state", after)

    def run_it(self, python: tuple[str, ...], *argv: str, to_file: bool = False) -> Program:
        environ = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.path.dirname(self.log)])}
        words = (*argv, "micronode", "--config", self.file, *self.ARGV)
        if not to_file:
            return Program(self, *words, python=python, environ=environ)
        with open(self.log, "wb") as log:
            return Program(self, *words, python=python, environ=environ, stdout=log.fileno())

    def test_a_file(self) -> None:
        twistd = self.run_it(("-c", TWISTD), "-n", "--logfile", self.log)
        self.check(lambda: twistd.pid)

    def test_a_logger(self) -> None:
        with open(os.path.join(os.path.dirname(self.log), "ourlogger.py"), "w", encoding="utf-8") as file:
            file.write(self.LOGGER)
        twistd = self.run_it(("-c", TWISTD), "-n", "--logger", "ourlogger.f", to_file=True)
        self.check(lambda: twistd.pid)

    def test_a_daemon(self) -> None:
        twistd = self.run_it(("-c", TWISTD), "--logfile", self.log, "--pidfile", self.pid_file)
        self.assertEqual(twistd.end(), 0, twistd.complained)
        with open(self.pid_file, encoding="ascii") as file:
            pid = int(file.read())
        self.addCleanup(lambda: is_alive(pid) and os.kill(pid, signal.SIGKILL))
        self.check(lambda: pid)

    def test_below_twist(self) -> None:
        twist = self.run_it(("-c", TWIST), "--log-format", "text", "--log-file", self.log)
        self.check(lambda: twist.pid)


class EarlyHangupTests(SynchronousTestCase):
    """SIGHUP while the node is still being made: it waits, and reloads once."""

    #: Two of them before the configuration is read.
    EARLY = (
        "import os, signal; from micronode.cli.options import NodeOptions; load = NodeOptions.load\n"
        "def early(*args, **options):\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return load(*args, **options)\n"
        "NodeOptions.load = early\n"
    )
    RUN = "import sys; from micronode.cli.main import main; sys.exit(main())"

    def check(self, *argv: str, program: str, on_error: bool = False) -> None:
        node = Program(self, *argv, *FREE, "--set", "drain.grace=0s", python=("-c", self.EARLY + program))
        until = node.until_complaint if on_error else node.until
        until("config_unchanged")
        until('"running"')
        node.kill(signal.SIGTERM)
        node.end()
        text = node.complained if on_error else node.printed.decode()
        self.assertEqual(text.count("config_unchanged"), 1, text)
        self.assertLess(text.index('"running"'), text.index("config_unchanged"))

    def test_run(self) -> None:
        self.check("run", *NO_OWNERS, program=self.RUN, on_error=True)

    def test_dev(self) -> None:
        self.check("dev", program=self.RUN, on_error=True)

    def test_twistd(self) -> None:
        self.check("-n", "micronode", *NO_OWNERS, program=TWISTD)

    def test_twist(self) -> None:
        self.check("micronode", *NO_OWNERS, program=TWIST)
