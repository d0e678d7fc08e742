"""Two nodes behind HAProxy, as ``conf/haproxy.cfg`` has them, restarted in turn under load."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from tests.cli.processes import PATIENCE_S, ROOT, Program, ask, default_signals, eventually
from tests.support.tools import require_tool

CONFIG = ROOT / "conf" / "haproxy.cfg"
#: What the configuration listens on, and connects to.
PORTS = ("8080", "8082", "5310", "5311", "5312", "5410", "5411", "5412")
#: What HAProxy needs to take a node out is 1.2 s; see there.
GRACE_S = 2.0
#: How long a stop may take: drain.grace, drain.deadline and a second, and the process's own end.
DEADLINE_S = 5.0
LONGEST_S = GRACE_S + DEADLINE_S + 1.0
#: Until it has taken one in again: two checks, and a bit.
SEEN_S = 2.5


def _free_ports() -> dict[str, int]:
    """Return free ports by what the configuration calls them; no connection gets one meanwhile."""
    free: list[int] = []
    while len(free) < len(PORTS):
        port = random.randrange(10_240, 32_000)  # below those that the kernel gives to who connects
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            free.append(port)
    return dict(zip(PORTS, free, strict=True))


#: What is no failure.
GOOD = ("200", "201", "ok")


@attrs.define
class Seen:
    """What callers saw, by kind of caller."""

    answers: dict[str, Counter[str]] = attrs.field(factory=dict)

    @property
    def failed(self) -> int:
        """How many calls did not succeed."""
        return sum(
            count for each in self.answers.values() for what, count in each.items() if what not in GOOD
        )

    def __str__(self) -> str:
        return "\n".join(
            f"  {kind}: " + ", ".join(f"{count} x {what}" for what, count in sorted(each.items()))
            for kind, each in sorted(self.answers.items())
        )


class Rolling:
    """Owners, two nodes, a balancer and its callers.

    :param case: a test case, or what stands for one; it ends them.
    """

    def __init__(self, case: Any, *, pause_s: float = 0.01) -> None:
        haproxy = require_tool("haproxy")
        self._case = case
        self._pause_s = pause_s
        self._over = threading.Event()
        self.seen = Seen()
        self.ports = _free_ports()
        self._owners = self._start_owners()
        self.nodes = {name: self._node(name) for name in ("53", "54")}
        config = Path(case.mktemp()).absolute()
        text = CONFIG.read_text("utf-8")
        for name, port in self.ports.items():
            text, count = re.subn(rf"\b{name}\b", f"@{port}", text)
            assert count, name
        config.write_text(text.replace("@", ""), "utf-8")
        self._spawn(haproxy, "-db", "-q", "-f", str(config))
        for port in ("8080",):
            eventually(lambda port=port: self._succeeds(port))

    def _spawn(self, *argv: str, **more: Any) -> subprocess.Popen[str]:
        log = open(self._case.mktemp(), "wb")  # noqa: SIM115
        self._case.addCleanup(log.close)
        process = subprocess.Popen(
            argv,
            **({"stdin": subprocess.DEVNULL, "stdout": log} | more),
            stderr=log,
            text=True,
            cwd=ROOT,
            preexec_fn=default_signals,
        )
        self._case.addCleanup(process.wait, PATIENCE_S)
        self._case.addCleanup(process.kill)
        return process

    def _start_owners(self) -> dict[str, str]:
        report, write = os.pipe()
        self._spawn(
            *(
                sys.executable,
                "-m",
                "micronode",
                "owners",
                "--index",
                "127.0.0.1:0",
                "--mailbox",
                "127.0.0.1:0",
            ),
            *("--report-fd", str(write)),
            pass_fds=[write],
        )
        os.close(write)
        with os.fdopen(report) as lines:
            urls: dict[str, str] = json.loads(lines.readline())
        return urls

    def _succeeds(self, port: str) -> bool:
        with contextlib.suppress(OSError):
            return ask(f"http://127.0.0.1:{self.ports[port]}/app/search?q=x")[0] == 200
        return False

    def _node(self, name: str) -> Program:
        listen = [
            f"--{plane}=127.0.0.1:{self.ports[name + digits]}"
            for plane, digits in (("http", "10"), ("admin", "11"), ("oap", "12"))
        ]
        program = Program(
            self._case,
            "run",
            *listen,
            *(f"--set=owners.{owner}.url={url}" for owner, url in self._owners.items()),
            *("--set=facets.media.enabled=false", f"--set=drain.grace={GRACE_S:g}s"),
            f"--set=drain.deadline={DEADLINE_S:g}s",
        )
        program.until_complaint('"state":"running"')
        return program

    # Callers

    def begin(self, *, at_a_time: int = 1) -> None:
        """Begin to call: over HTTP on kept and on new connections, reads and writes, and over OAP/1."""
        self._threads = [
            threading.Thread(target=self._calls, args=(kind, number))
            for kind in ("HTTP, kept", "HTTP, new", "HTTP, writes")
            for number in range(2)
        ]
        for thread in self._threads:
            thread.start()
        argv = (sys.executable, "-m", "tests.support.rolling_oap", f"127.0.0.1:{self.ports['8082']}")
        self._oap = {
            f"OAP/1, {many} at a time": self._spawn(
                *argv, "4", str(many), str(self._pause_s), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for many in sorted({1, at_a_time})
        }

    def _calls(self, kind: str, number: int) -> None:
        seen = self.seen.answers.setdefault(kind, Counter())
        connection: http.client.HTTPConnection | None = None
        count = 0
        while not self._over.wait(self._pause_s):
            count += 1
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.ports["8080"], timeout=PATIENCE_S)
            try:
                if kind.endswith("writes"):
                    key = {"Idempotency-Key": f"{number}-{count}"}
                    connection.request("POST", f"/app/feed/rolling{number}", b"x" * 100, key)
                else:
                    connection.request("GET", "/app/search?q=x")
                answer = connection.getresponse()
                body = answer.read()
                what = str(answer.status)
                if answer.status >= 300:
                    what += f" {body[:120]!r}"
                seen[what] += 1
                if answer.will_close or kind.endswith("new"):
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                seen[repr(error)] += 1
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def end(self) -> Seen:
        """End the callers; return what they saw."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for kind, process in self._oap.items():
            printed, _ = process.communicate("", timeout=PATIENCE_S)
            self.seen.answers[kind] = Counter(json.loads(printed or '{"nothing": 1}'))
        return self.seen

    # Restarts

    def restart(self, name: str) -> float:
        """Restart a node, and wait until HAProxy sees it; return how long its stop took."""
        node = self.nodes[name]
        begun = time.monotonic()
        node.kill(signal.SIGTERM)
        code = node.end()
        took_s = time.monotonic() - begun
        assert code == 0, (code, node.complained[-2000:])
        self.nodes[name] = self._node(name)
        time.sleep(SEEN_S)
        return took_s
