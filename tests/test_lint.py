"""Ruff's configuration really forbids what blocks a reactor, and only where reactor code is."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import micronode
from tests.support.tools import require_tool

ROOT = Path(micronode.__file__).parent.parent
REACTOR_CODE = "micronode/http/x.py"

#: Each is refused in reactor code, however it is written.
BLOCKING = (
    "import time\n\ntime.sleep(1)\n",
    "import time as clock\n\nclock.sleep(1)\n",
    "from time import sleep\n\nsleep(1)\n",
    'import subprocess\n\nsubprocess.run(["true"])\n',
    'from subprocess import run\n\nrun(["true"])\n',
    'import requests\n\nrequests.get("http://localhost")\n',
    'import urllib.request\n\nurllib.request.urlopen("http://localhost")\n',
    'from urllib.request import urlopen\n\nurlopen("http://localhost")\n',
    'import http.client\n\nhttp.client.HTTPConnection("localhost")\n',
    'import socket\n\nsocket.create_connection(("localhost", 1))\n',
    'import socket\n\nsocket.getaddrinfo("localhost", 1)\n',
    'from socket import gethostbyname\n\ngethostbyname("localhost")\n',
    "import select\n\nselect.select([], [], [])\n",
    'import sqlite3\n\nsqlite3.connect("x")\n',
    "import tempfile\n\ntempfile.TemporaryFile()\n",
    "import threading\n\nthreading.Lock()\n",
    "import asyncio\n\nasyncio.Event()\n",
    "from twisted.internet.threads import blockingCallFromThread\n\nblockingCallFromThread(None, None)\n",
    "from twisted.internet import reactor\n\nreactor.run()\n",
    "import twisted.internet.reactor\n\ntwisted.internet.reactor.run()\n",
    "def f():\n    from twisted.internet import reactor\n\n    return reactor\n",
)
HARMLESS = (
    "import time\n\ntime.monotonic()\n",
    "import socket\n\nsocket.AF_UNIX\n",
    "from urllib.parse import urlsplit\n\nurlsplit('')\n",
    "from http import HTTPStatus\n\nHTTPStatus.OK\n",
    "from twisted.internet.task import deferLater\n\ndeferLater(None, 1)\n",
)


class LintTests(SynchronousTestCase):
    """``ruff check`` with this project's configuration."""

    def setUp(self) -> None:
        self.ruff = require_tool("ruff")

    def banned(self, source: str, filename: str = REACTOR_CODE) -> list[str]:
        """Return the messages of TID251 for *source*."""
        done = subprocess.run(
            [self.ruff, "check", "--no-cache", "--output-format=json", "--stdin-filename", filename, "-"],
            input=source,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        return [found["message"] for found in json.loads(done.stdout) if found["code"] == "TID251"]

    def test_blocking_calls(self) -> None:
        for source in BLOCKING:
            self.assertTrue(self.banned(source), source)

    def test_harmless_calls(self) -> None:
        for source in HARMLESS:
            self.assertEqual(self.banned(source), [], source)

    def test_where(self) -> None:
        """Every package of the node is reactor code; the command line, the owners and the tests are not."""
        source = BLOCKING[0]
        for package in sorted(path.parent.name for path in (ROOT / "micronode").glob("*/__init__.py")):
            exempt = package in ("cli", "devowners")
            self.assertEqual(bool(self.banned(source, f"micronode/{package}/x.py")), not exempt, package)
        self.assertTrue(self.banned(source, "micronode/node.py"))
        self.assertTrue(self.banned(source, "micronode/oap/wire/x.py"))
        self.assertEqual(self.banned(source, "tests/http/x.py"), [])

    def test_every_ban_has_advice(self) -> None:
        """A message says what to do instead, or why not; and each ban is tried above."""
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        bans = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
        everything = "".join(BLOCKING)
        for name, ban in bans.items():
            self.assertTrue(ban["msg"], name)
            self.assertTrue(all(part in everything for part in name.split(".")), f"{name} is not tried here")

    def test_no_exceptions(self) -> None:
        """A ban that is switched off line by line bans nothing."""
        excused = [
            f"{path.relative_to(ROOT)}:{number}"
            for path in sorted((ROOT / "micronode").rglob("*.py"))
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
            if "noqa: TID251" in line or line.strip() in ("# ruff: noqa", "# noqa")
        ]
        self.assertEqual(excused, [])
