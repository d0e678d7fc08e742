"""One configuration run in four ways: ``micronode run``, twistd, twist, a program that embeds the node."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.sources import Flag, load
from tests.cli.processes import PATIENCE_S, ROOT, Program, ask, ask_json, eventually
from tests.support.slowindex import SlowIndex

#: What the scripts ``twistd`` and ``twist`` do; the modules themselves cannot be run.
_TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
_TWIST = "import sys; from twisted.application.twist._twist import Twist; sys.argv[0] = 'twist'; Twist.main()"
#: Standard output: where all but ``micronode run`` tell what they do.
_OUT = "out"
_ERR = "err"


@attrs.frozen
class Face:
    """One way to run a node: what the interpreter runs, with which words, and how it speaks."""

    name: str
    python: tuple[str, ...]
    words: Callable[[str, tuple[str, ...]], list[str]]
    stream: str
    #: How it names the address of a listener, and a state.
    address: str
    state: str
    #: How it ends after SIGTERM.
    code: int


def _options(file: str, settings: tuple[str, ...]) -> list[str]:
    return ["--config", file, *(word for each in settings for word in ("--set", each))]


_JSON = (r'"listener":"{}","address":"([^"]+)"', '"event":"state","state":"{}"')
FACES = (
    Face("run", ("-m", "micronode"), lambda *a: ["run", *_options(*a)], _ERR, *_JSON, 0),
    Face(
        "twistd",
        ("-c", _TWISTD),
        lambda *a: ["-n", "micronode", *_options(*a)],
        _OUT,
        *_JSON,
        -signal.SIGTERM,
    ),
    Face("twist", ("-c", _TWIST), lambda *a: ["micronode", *_options(*a)], _OUT, *_JSON, -signal.SIGTERM),
    Face(
        "embedded",
        (str(ROOT / "docs" / "examples" / "embedded.py"),),
        lambda file, settings: [file, *settings],
        _OUT,
        r"(?m)^{} (127\.0\.0\.1:\d+)$",
        "(?m)^{}$",
        0,
    ),
)

_FILE = """
[http]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[oap]
listen = "127.0.0.1:0"
[owners.index]
url = "{index}"
[owners.storage]
url = "unix:/nowhere/storage"
[facets.search]
limit = 7
[facets.graph]
limit = 8
timeout = "3s"
[drain]
deadline = "{patience}s"
"""
#: Weaker in the file, stronger on the command line.
_ENVIRON = {"MICRONODE_FACETS_GRAPH_LIMIT": "9", "MICRONODE_HTTP_IDLE": "20s", "MICRONODE_DRAIN_GRACE": "1h"}
_SETTINGS = ("http.idle=30s", "drain.grace=200ms")
_OVERRIDES = {
    "http.listen": "file",
    "admin.listen": "file",
    "oap.listen": "file",
    "owners.index.url": "file",
    "owners.storage.url": "file",
    "facets.search.limit": "file",
    "facets.graph.limit": "env",
    "facets.graph.timeout": "file",
    "http.idle": "flag",
    "drain.grace": "flag",
    "drain.deadline": "file",
}


class FacesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.index = SlowIndex(self)
        self.file = os.path.abspath(self.mktemp())
        text = _FILE.format(index=self.index.url, patience=int(PATIENCE_S))
        Path(self.file).write_text(text, "utf-8")

    def start(self, face: Face) -> Program:
        """Start *face*; all four get the same file, the same variables and the same settings."""
        return Program(self, *face.words(self.file, _SETTINGS), python=face.python, environ=_ENVIRON)

    def said(self, face: Face, program: Program, pattern: str) -> re.Match[str]:
        return program.until(pattern) if face.stream == _OUT else program.until_complaint(pattern)

    def test_same_configuration_same_drain(self) -> None:
        flags = [Flag(path, text, "flag") for path, _, text in (each.partition("=") for each in _SETTINGS)]
        expected = load(environ=_ENVIRON, path=self.file, flags=flags).config
        seen: dict[str, dict[str, Any]] = {}
        for face in FACES:
            program = self.start(face)
            where = {
                name: self.said(face, program, face.address.format(name))[1] for name in ("http", "admin")
            }
            self.said(face, program, face.state.format("running"))
            seen[face.name] = ask_json(f"http://{where['admin']}/version")["runtime"]
            self.assertEqual(seen[face.name]["overrides"], _OVERRIDES, face.name)
            self.check_reload(face, program, where["admin"])
            self.check_drain(face, program, **where)
        for name, runtime in seen.items():
            self.assertEqual(runtime["config_sha"], expected.sha(), name)
            self.assertEqual(runtime, seen["run"], name)

    def check_reload(self, face: Face, program: Program, admin: str) -> None:
        """SIGHUP takes what the file says now, and keeps what it cannot."""
        text = Path(self.file).read_text("utf-8")
        before = ask_json(f"http://{admin}/version")["runtime"]["config_sha"]
        Path(self.file).write_text(text.replace("limit = 7", "limit = 6"), "utf-8")
        program.kill(signal.SIGHUP)

        def sha() -> str:
            self.assertTrue(ask_json(f"http://{admin}/readyz")["ready"])
            return str(ask_json(f"http://{admin}/version")["runtime"]["config_sha"])

        eventually(lambda: sha() != before, lambda: f"{face.name} did not reload")
        after = sha()
        Path(self.file).write_text(text.replace("limit = 7", "limt = 7"), "utf-8")
        program.kill(signal.SIGHUP)
        self.said(face, program, r"limt.*did you mean limit")
        self.assertEqual(sha(), after)
        Path(self.file).write_text(text, "utf-8")
        program.kill(signal.SIGHUP)
        eventually(lambda: sha() == before, lambda: f"{face.name} did not reload back")

    def test_the_example_tells_what_needs_a_restart(self) -> None:
        face = FACES[-1]
        program = self.start(face)
        self.said(face, program, face.state.format("running"))
        with open(self.file, "a", encoding="utf-8") as file:
            file.write('[log]\nformat = "console"\n')
        program.kill(signal.SIGHUP)
        self.said(face, program, "(?m)^reload unchanged\nafter a restart: log.format$")

    def check_drain(self, face: Face, program: Program, http: str, admin: str) -> None:
        """SIGTERM: not ready, closed after drain.grace, what runs is finished, then the end."""
        answers: list[tuple[int, bytes]] = []
        self.index.asked.clear()
        self.index.release.clear()

        def call() -> None:
            status, _, body = ask(f"http://{http}/app/search?q=x")
            answers.append((status, body))

        caller = threading.Thread(target=call)
        caller.start()
        self.addCleanup(caller.join, PATIENCE_S)
        self.assertTrue(self.index.asked.wait(PATIENCE_S), face.name)
        program.kill(signal.SIGTERM)
        eventually(lambda: ask(f"http://{admin}/readyz")[0] == 503, lambda: f"{face.name} is still ready")
        self.assertEqual(json.loads(ask(f"http://{admin}/readyz")[2])["state"], "draining")
        eventually(lambda: not _accepts(http), lambda: f"{face.name} still takes connections")
        # The admin plane closes last, and the call is still there.
        self.assertEqual(ask(f"http://{admin}/healthz")[0], 200)
        self.assertEqual(answers, [])
        self.index.release.set()
        caller.join(PATIENCE_S)
        self.assertEqual([status for status, _ in answers], [200], face.name)
        self.assertEqual(program.end(), face.code, (face.name, program.printed, program.complained))
        self.assertNotIn("Traceback", program.complained + program.printed.decode())
        self.assertEqual(os.listdir(program.directory), [], face.name)

    def test_refused_alike(self) -> None:
        Path(self.file).write_text('[http]\nlisen = "127.0.0.1:0"\n', "utf-8")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for face in FACES:
                refused = self.start(face)
                self.assertEqual(refused.end(), 78, face.name)
                self.assertRegex(
                    refused.complained, rf"\A(?:micronode: )?{re.escape(self.file)}:2: .*did you mean listen"
                )
            Path(self.file).write_text(
                f'http.listen = "{address}"\nadmin.listen = "127.0.0.1:0"\noap.listen = "127.0.0.1:0"\n',
                "utf-8",
            )
            for face in FACES:
                program = self.start(face)
                self.assertEqual(program.end(), 69, (face.name, program.complained))
                self.assertRegex(
                    program.complained,
                    rf"\A(?:micronode: )?http\.listen {address}: address already in use.*\n\Z",
                )
                self.assertNotIn(b"Traceback", program.printed)


def _accepts(address: str) -> bool:
    parts = urlsplit(f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), PATIENCE_S).close()
    except OSError:
        return False
    return True
