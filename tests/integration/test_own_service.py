"""README, "Your own service behind the node": every command of it, as it stands there."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, PATIENCE_S, ROOT, Program, eventually
from tests.support.servers import free_port
from tests.support.tools import require_tool

#: The port of the example's service.
SERVICE = "8000"


def commands() -> list[str]:
    """Return the commands of the section, in order."""
    text = (ROOT / "README.rst").read_text("utf-8")
    section = text.partition("Your own service behind the node\n---")[2].partition("\n\n\n")[0]
    block = re.sub(r"\\\n\s+", "", section)
    return [line.strip() for line in block.splitlines() if re.match(r"    (curl|\.venv/bin/)", line)]


class OwnServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        require_tool("curl")
        self.ports = {SERVICE: str(free_port())}

    def words(self, command: str) -> list[str]:
        """Return the words of *command*, with the ports of this run."""
        for port, instead in self.ports.items():
            command = re.sub(rf"\b{port}\b", instead, command)
        return shlex.split(command.removesuffix("&"), comments=True)

    def begin(self, command: str) -> Program:
        """Start a *command* that goes on."""
        _, *words = self.words(command)
        if command.startswith(".venv/bin/python"):
            words = [str(ROOT / word) if word == "docs/examples" else word for word in words]
            return Program(self, *words, python=())
        # The example, with the port of this run's service.
        name = Path(self.mktemp())
        (config,) = (word for word in words if word.endswith(".toml"))
        name.write_text((ROOT / config).read_text("utf-8").replace(SERVICE, self.ports[SERVICE]), "utf-8")
        words = [str(name.absolute()) if word == config else word for word in words]
        return Program(self, *words, *FREE)

    def paste(self, command: str) -> str:
        words = self.words(command)
        if words[0].endswith("micronode"):
            words[:1] = [sys.executable, "-m", "micronode"]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stderr.decode()}")
        return done.stdout.decode("utf-8")

    def listens(self) -> bool:
        """Whether the service does."""
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(self.ports[SERVICE])), timeout=PATIENCE_S).close()
            return True
        return False

    def test_every_command_does_what_it_says(self) -> None:
        service, run, *rest = commands()
        self.assertGreaterEqual(len(rest), 4)
        self.begin(service)
        eventually(self.listens, "the service listens")
        node = self.begin(run)
        eventually(lambda: '"state":"running"' in node.complained, "the node runs")
        for port, plane in (("5310", "http"), ("5311", "admin"), ("5312", "oap")):
            found = re.search(rf'"listener":"{plane}","address":"127\.0\.0\.1:(\d+)"', node.complained)
            assert found is not None
            self.ports[port] = found[1]
        page = (ROOT / "docs" / "examples" / "quickstart.py").read_text("utf-8")
        for command in rest:
            printed = self.paste(command)
            if "quickstart.py" in command and "POST" not in command:
                self.assertEqual(printed, page, command)
            elif "_meta" in command:
                self.assertIn('"path":"/app/hello/{rest}"', printed)
            elif "readyz" in command:
                self.assertIn('"degraded":[', printed)
                self.assertNotIn('"hello"', printed)
            else:
                self.assertRegex(printed, r"HTTP/1\.1 405 .*\r\n(?s:.*)Allow: GET, HEAD\r\n")
        self.assertNotIn("Traceback", node.complained)
