"""Two nodes behind the balancers of ``docs/RUNBOOK.rst``, restarted one after the other: no call fails."""

from __future__ import annotations

import collections
import signal
import subprocess
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, Program, ask, default_signals, eventually
from tests.support.runbook import PAGE, Sandbox, blocks
from tests.support.slowindex import SlowIndex
from tests.support.tools import require_tool

#: Callers at a time and balancer, and between two calls of one, in seconds.
_CALLERS = 2
_PAUSE_S = 0.01
#: What the page tells to wait after a restart, so that the balancer sees that the node is back.
_SEEN_S = 3.0


class BalancerTests(SynchronousTestCase):
    def setUp(self) -> None:
        haproxy, nginx = require_tool("haproxy"), require_tool("nginx")
        self.index = SlowIndex(self)
        self.index.release.set()
        self.sandbox = sandbox = Sandbox()
        self.addCleanup(sandbox.close)
        self.files = {block.word: block for block in blocks(PAGE.read_text("utf-8")) if block.kind == "file"}
        for block in self.files.values():
            sandbox.write(block)
        self.ports = {
            name: sandbox.localise(name) for name in ("5310", "5311", "5410", "5411", "8080", "8081")
        }
        sandbox.run("mkdir nginx")
        self.nodes = {name: self.node(name) for name in ("5310", "5410")}
        config = sandbox.localise("/etc/haproxy/haproxy.cfg")
        self.start(haproxy, "-db", "-f", config)
        settings = "daemon off; master_process off; pid nginx.pid; error_log stderr;"
        folder = f"{sandbox.folder}/nginx/"
        self.start(nginx, "-p", folder, "-c", sandbox.localise("/etc/nginx/micronode.conf"), "-g", settings)

    def start(self, *argv: str) -> None:
        """Start a balancer; it ends with the test."""
        log = open(self.mktemp(), "wb")  # noqa: SIM115
        self.addCleanup(log.close)
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=default_signals
        )
        self.addCleanup(process.wait, PATIENCE_S)
        self.addCleanup(process.kill)

    def node(self, name: str) -> Program:
        """Start the node whose HTTP port the page calls *name*, and wait until it is ready."""
        http, admin = self.ports[name], self.ports[f"{name[:3]}1"]
        program = Program(
            self,
            "run",
            "--config",
            self.sandbox.localise("/etc/micronode/micronode.toml"),
            *("--http", f"127.0.0.1:{http}", "--admin", f"127.0.0.1:{admin}", "--oap", "off"),
            *("--set", f"owners.index.url={self.index.url}"),
        )
        program.until_complaint('"state":"running"')
        eventually(lambda: ask(f"http://127.0.0.1:{admin}/readyz")[0] == 200)
        return program

    def test_restarts_one_after_the_other_fail_no_call(self) -> None:
        answers: dict[str, collections.Counter[str]] = {
            name: collections.Counter() for name in ("8080", "8081")
        }
        over = threading.Event()

        def call(name: str) -> None:
            while not over.is_set():
                try:
                    status, _, _ = ask(f"http://127.0.0.1:{self.ports[name]}/app/search?q=x")
                    answers[name][str(status)] += 1
                except OSError as error:
                    answers[name][repr(error)] += 1
                time.sleep(_PAUSE_S)

        for name in answers:
            url = f"http://127.0.0.1:{self.ports[name]}/app/search?q=x"
            eventually(lambda url=url: _succeeds(url), lambda name=name: f"{name} does not serve")
        callers = [threading.Thread(target=call, args=(name,)) for name in answers for _ in range(_CALLERS)]
        for caller in callers:
            caller.start()
        try:
            for name, node in self.nodes.items():
                # Both serve: a balancer that knows one only would tell nothing.
                time.sleep(_SEEN_S)
                node.kill(signal.SIGTERM)
                self.assertEqual(node.end(), 0)
                self.nodes[name] = self.node(name)
        finally:
            over.set()
            for caller in callers:
                caller.join(PATIENCE_S)
        for name, counted in answers.items():
            self.assertEqual(list(counted), ["200"], (name, counted))
            self.assertGreater(counted["200"], 100, name)


def _succeeds(url: str) -> bool:
    try:
        return ask(url)[0] == 200
    except OSError:
        return False
