"""Real processes for integration tests: bounded in time, and none is left behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
#: Nothing here takes longer on a slow machine, unless it hangs.
PATIENCE_S = 30.0
#: Listeners on free ports.
FREE = ("--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--oap", "127.0.0.1:0")
#: Owners that are not there, whoever listens on the default ports.
NO_OWNERS = (
    "--set",
    "owners.index.url=unix:/nowhere/index",
    "--set",
    "owners.mailbox.url=unix:/nowhere/mailbox",
    "--set",
    "owners.storage.url=unix:/nowhere/storage",
)


def default_signals() -> None:
    """Give a child the signals that a program in front of a person has (for ``preexec_fn``).

    It would inherit what the run ignores or blocks, and a background job of a script ignores SIGINT.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Program:
    """One child process; its output is read as it comes."""

    def __init__(
        self,
        case: SynchronousTestCase,
        *argv: str,
        python: Sequence[str] = ("-m", "micronode"),
        stdin: int = subprocess.DEVNULL,
        terminal: int | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """:param python: what the interpreter runs.
        :param terminal: the descriptor of a terminal that becomes the child's own.
        :param stdout: the descriptor of its standard output, if :attr:`printed` is not wanted.
        :param stderr: the descriptor of its standard error, if :attr:`complained` is not wanted.
        :param environ: further variables.
        :param pass_fds: descriptors that it inherits, of the same numbers."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("MICRONODE_")}
        # Unbuffered, a stream that fails is noticed earlier than a user's.
        env.pop("PYTHONUNBUFFERED", None)
        env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environ}
        self._errors = open(case.mktemp(), "w+b")  # noqa: SIM115
        case.addCleanup(self._errors.close)
        directory = Path(case.mktemp())
        directory.mkdir()
        self.directory = directory

        def prepare() -> None:
            default_signals()
            if terminal is not None:
                fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, *python, *argv],
            stdin=stdin if terminal is None else terminal,
            stdout=stdout,
            stderr=next((each for each in (stderr, terminal) if each is not None), self._errors),
            env=env,
            pass_fds=pass_fds,
            cwd=directory,
            start_new_session=True,
            preexec_fn=prepare,
        )
        case.addCleanup(self._clean)
        self.printed = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def complained(self) -> str:
        """What it has written to standard error so far."""
        descriptor = self._errors.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("utf-8", "replace")

    def until(self, pattern: str) -> re.Match[str]:
        """Read standard output until *pattern* is in it."""
        deadline = time.monotonic() + PATIENCE_S
        stream = self.process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                if found := re.search(pattern, self.printed.decode("utf-8", "replace")):
                    return found
                data = b""
                if selector.select(max(0.0, deadline - time.monotonic())):
                    data = os.read(stream.fileno(), 65536)
                if not data:
                    raise AssertionError(
                        f"no {pattern!r} in {self.printed!r}; it complained: {self.complained}"
                    )
                self.printed += data

    def until_complaint(self, pattern: str) -> re.Match[str]:
        """Wait until *pattern* is in standard error."""
        return eventually(lambda: re.search(pattern, self.complained), lambda: self.complained)

    def kill(self, number: signal.Signals) -> None:
        """Send it one signal."""
        os.kill(self.pid, number)

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        rest, _ = self.process.communicate(timeout=PATIENCE_S)
        self.printed += rest or b""
        return self.process.returncode

    def _clean(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def eventually(look: Any, explain: Any = lambda: "") -> Any:
    """Return what *look* returns once that is true; polls, bounded by PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {explain()}")
        time.sleep(0.02)


def children_of(pid: int) -> dict[int, str]:
    """Return the command lines of the children of *pid*, by their own pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text("latin-1").rpartition(")")[2].split()[1])
            if parent == pid:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError, IndexError):
            continue
    return found


def is_alive(pid: int) -> bool:
    """Whether *pid* is a process that is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ask(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    """Make one HTTP request; return status, headers (lower case) and body."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()
    finally:
        connection.close()


def ask_json(url: str, **request: Any) -> Any:
    """Make one HTTP request that must succeed; return the JSON of its answer."""
    status, _, body = ask(url, **request)
    assert status < 300, (url, status, body)
    return json.loads(body)


def ask_rejected(admin: str, reason: str) -> float:
    """Return how often the node whose admin plane is at *admin* has refused for *reason*."""
    text = ask(f"http://{admin}/metrics")[2].decode()
    (found,) = re.findall(rf'^rejected_total{{reason="{reason}"}} (\S+)$', text, re.M)
    return float(found)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter in the checkout, from its sources, to the end; return what it printed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ``docs/examples``."""
    return run_python(str(Path("docs", "examples", name)), *arguments)
