"""``docs/RUNBOOK.rst`` as a script: its files and commands, and a shell in a folder of its own to run them.

Each code block of the page follows a comment that says what becomes of it: ``.. file: PATH`` (written there),
``.. run`` or ``.. run: TOOL`` (a transcript, run where the tool is installed), ``.. not run: REASON``.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from micronode.devowners.options import DEFAULTS
from tests.cli.processes import PATIENCE_S, ROOT, default_signals

PAGE = ROOT / "docs" / "RUNBOOK.rst"
#: Ports of the page; each is another, free one in a run.
_PORT = re.compile(r"\b(?:53\d\d|54\d\d|808\d)\b")
#: A longer way to say: any text in a line; alone on a line: any lines.
_ELLIPSIS = "..."
_MARKER = re.compile(r"\.\. (file|run|not run)(?:: (.+))?")
#: Ends what a command prints, with its exit status.
_END = re.compile(rb"\x1e(\d+)\x1e\n\Z")
#: Takes one command a line from descriptor 3, which commands neither see nor can empty.
_LOOP = """while IFS= read -r line <&3; do eval "$line" </dev/null 3<&-; printf '\\036%s\\036\\n' $?; done"""


@attrs.frozen
class Block:
    """One code block: its line, what becomes of it, and its text."""

    line: int
    #: ``file``, ``run`` or ``not run``; empty where the page does not say.
    kind: str
    #: The path, the tool (or nothing), the reason.
    word: str
    text: str

    def steps(self) -> Iterator[tuple[str, str]]:
        """Yield each command of a transcript with what it prints."""
        for part in re.split(r"(?m)^\$ ", self.text)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


def blocks(text: str) -> list[Block]:
    """Return the code blocks of a page."""
    found: list[Block] = []
    kind = word = ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if marker := _MARKER.fullmatch(line):
            kind, word = marker[1], marker[2] or ""
        elif line.startswith(".. code-block::"):
            inside: list[str] = []
            for each in lines[number + 1 :]:
                if each and not each.startswith("   "):
                    break
                inside.append(each[3:])
            found.append(Block(number + 1, kind, word, "\n".join(inside).strip("\n") + "\n"))
            kind = word = ""
        elif line.strip():
            # The comment stands right before its block.
            kind = word = ""
    return found


def pattern(printed: str) -> re.Pattern[str]:
    """Return the expression of what a transcript says a command prints."""
    lines = [
        r"(?:[^\n]*\n)*"
        if line == _ELLIPSIS
        else r"[^\n]*".join(map(re.escape, line.split(_ELLIPSIS))) + r"\n"
        for line in printed.rstrip("\n").split("\n")
        if printed.strip()
    ]
    return re.compile("".join(lines))


class Sandbox:
    """A shell in a folder of its own, where ``/etc`` is, too, ports are free ones, and commands are ours."""

    def __init__(self) -> None:
        # Not below the folder of the run: a socket's path holds 107 bytes.
        self.folder = Path(tempfile.mkdtemp())
        self._ports: dict[str, str] = {}
        self._held: list[socket.socket] = []
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        admin = self.localise("127.0.0.1:5311")
        owners = self.localise(" ".join(f"--{name} {address}" for name, address in DEFAULTS.items()))
        scripts = {
            # The defaults of these are moved with the ports; they are told so as their users would.
            "micronode": "case $1 in\n"
            f'status|reload|drain) : "${{MICRONODE_ADMIN_LISTEN:={admin}}}"\n'
            "export MICRONODE_ADMIN_LISTEN;;\n"
            f'owners) shift; set -- owners {owners} "$@";;\nesac\n'
            f'exec {sys.executable} -m micronode "$@"',
            "twistd": f"exec {sys.executable} -c 'import sys; from twisted.scripts.twistd import run; "
            'sys.argv[0] = "twistd"; run()\' "$@"',
        }
        for name, script in scripts.items():
            # Also below what starts them with an empty environment.
            ours = f"export PYTHONPATH={ROOT} PYTHONDONTWRITEBYTECODE=1"
            (bin_folder / name).write_text(f"#!/bin/sh\n{ours}\n{script}\n", "utf-8")
            (bin_folder / name).chmod(0o755)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MICRONODE_")}
        environ |= {
            "PATH": f"{bin_folder}:{os.environ['PATH']}:/usr/sbin",
            "LC_ALL": "C.UTF-8",
        }
        read, self._commands = os.pipe()
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-c", f"exec 3<&{read} {read}<&-; {_LOOP}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[read],
            cwd=self.folder,
            env=environ,
            start_new_session=True,
            preexec_fn=default_signals,
        )
        os.close(read)

    def localise(self, text: str) -> str:
        """Return *text* of the page with the folder and the ports of this run."""
        text = text.replace("/etc/", f"{self.folder}/etc/")
        return _PORT.sub(lambda found: self._port(found[0]), text)

    def _port(self, name: str) -> str:
        if name not in self._ports:
            held = socket.socket()
            held.bind(("127.0.0.1", 0))
            # Until the first command runs, so that no two are the same.
            self._held.append(held)
            self._ports[name] = str(held.getsockname()[1])
        return self._ports[name]

    def write(self, block: Block) -> None:
        """Write the file that *block* is."""
        path = Path(self.localise(block.word))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.localise(block.text), "utf-8")

    def run(self, command: str) -> str:
        """Run one command line; return what it prints, on both streams.

        :raises AssertionError: it does not end in time.
        """
        line = self.localise(command)
        while self._held:
            self._held.pop().close()
        os.write(self._commands, f"{line}\n".encode())
        printed = b""
        deadline = time.monotonic() + PATIENCE_S
        stream = self._shell.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not (end := _END.search(printed)):
                data = b""
                if selector.select(max(0.0, deadline - time.monotonic())):
                    data = os.read(stream.fileno(), 65_536)
                if not data:
                    raise AssertionError(f"{line!r} does not end; it printed {printed!r}\n{self.logs()}")
                printed += data
        return printed[: end.start()].decode("utf-8", "replace")

    def logs(self) -> str:
        """Return the end of every log in the folder."""
        return "\n".join(
            f"{path.name}: {path.read_text('utf-8')[-2000:]}" for path in self.folder.glob("*.log")
        )

    def close(self) -> None:
        """End all that was started, and remove the folder."""
        os.close(self._commands)
        with contextlib.suppress(ProcessLookupError):
            # The shell has no job control: whatever it started is of its group.
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(PATIENCE_S)
        if self._shell.stdout is not None:
            self._shell.stdout.close()
        shutil.rmtree(self.folder)
