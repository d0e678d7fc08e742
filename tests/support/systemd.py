"""What systemd is to the process that it starts: a socket for notifications, descriptors, variables."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, Program

#: Puts descriptors where they are looked for, says so in the variables of this very process, and goes on as
#: another program. Its arguments: numbers, by comma; names, by colon; what the interpreter runs then.
_START = """
import os, sys
numbers, names, *argv = sys.argv[1:]
numbers = [int(number) for number in numbers.split(",") if number]
# Away from where they are to be, first.
numbers = [os.dup(os.dup(number)) for number in numbers]
for at, number in enumerate(numbers, 3):
    os.dup2(number, at, inheritable=True)
os.closerange(3 + len(numbers), 256)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": names}
os.execv(sys.executable, [sys.executable, *argv])
"""


class NotifySocket:
    """A socket that a process notifies.

    :ivar name: what ``NOTIFY_SOCKET`` is to be.
    :ivar heard: the datagrams so far, each as its lines.
    """

    def __init__(self, case: SynchronousTestCase, *, abstract: bool = False) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        case.addCleanup(self._socket.close)
        if abstract:
            self._socket.bind("")
            self.name = "@" + self._socket.getsockname()[1:].decode()
        else:
            folder = tempfile.mkdtemp()
            case.addCleanup(shutil.rmtree, folder)
            self.name = str(Path(folder, "notify"))
            self._socket.bind(self.name)
        self.heard: list[list[str]] = []

    def hear(self, seconds: float = PATIENCE_S) -> list[str]:
        """Return the lines of the next datagram; nothing where none comes within *seconds*."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            datagram = self._socket.recv(65_536)
        except TimeoutError:
            return []
        self.heard.append(datagram.decode().split("\n"))
        return self.heard[-1]

    def until(self, line: str) -> list[str]:
        """Return the lines of the next datagram that has *line*."""
        deadline = time.monotonic() + PATIENCE_S
        while line not in (lines := self.hear(deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"no {line} in {self.heard}"
        return lines

    def silent_for(self, line: str, seconds: float) -> bool:
        """Whether no datagram that has *line* comes within *seconds*."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if line in self.hear(left):
                return False
        return True


def start_with(
    case: SynchronousTestCase,
    sockets: dict[str, socket.socket],
    *argv: str,
    python: tuple[str, ...] = ("-m", "micronode"),
    **environ: str,
) -> Program:
    """Start a program as systemd does that has *sockets* for it, by name."""
    numbers = ",".join(str(sock.fileno()) for sock in sockets.values())
    return Program(
        case,
        *(numbers, ":".join(sockets), *python, *argv),
        python=("-c", _START),
        environ=environ,
        pass_fds=tuple(sock.fileno() for sock in sockets.values()),
    )


def environment_of(pid: int) -> set[str]:
    """Return the names of the variables that *pid* was started with."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {os.fsdecode(each.partition(b"=")[0]) for each in variables if each}
