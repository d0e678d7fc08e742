"""A real node whose owners are exchanged while it runs: each reload points it at others.

For tests of what one owner's faults do. All are processes of their own, on TCP, so that it can be told which
sockets of the node lead to which of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.members import NEEDED_OWNERS
from tests.cli.processes import FREE, Program, ask, eventually

#: What a log never has, whatever owners do.
_BAD_NEWS: Final = re.compile(r"Traceback|Unhandled|\"level\":\s*\"(?:error|critical)\"")
_NOWHERE: Final = "unix:/nowhere/owner"
#: As /proc/net/tcp says it.
_LISTENING: Final = "0A"


class OwnersProgram(Program):
    """``micronode owners`` on free ports, with a small corpus, or with the packages of this environment."""

    def __init__(self, case: SynchronousTestCase, corpus: Mapping[str, bytes] | None, *options: str) -> None:
        reading, writing = os.pipe()
        words = ["owners", "--report-fd", str(writing)]
        if corpus is not None:
            folder = tempfile.mkdtemp()
            case.addCleanup(shutil.rmtree, folder)
            for name, data in corpus.items():
                (Path(folder) / name).write_bytes(data)
            words += ["--corpus", folder]
        super().__init__(case, *words, *options, pass_fds=[writing])
        os.close(writing)
        self._report = os.fdopen(reading)
        case.addCleanup(self._report.close)
        self._urls: dict[str, str] = {}

    @property
    def urls(self) -> dict[str, str]:
        """Where its owners are, by their names; waits until they are there."""
        if not self._urls:
            line = self._report.readline()
            assert line, self.complained
            self._urls = json.loads(line)
        return self._urls


class SwitchedNode:
    """``micronode run`` with a file that is rewritten.

    :ivar http: where it listens; ``oap`` and ``admin`` likewise.
    """

    def __init__(self, case: SynchronousTestCase, sections: Mapping[str, Mapping[str, object]]) -> None:
        """:param sections: what stays, section -> key -> value as TOML has it."""
        self._case = case
        folder = tempfile.mkdtemp()
        case.addCleanup(shutil.rmtree, folder)
        self._file = Path(folder) / "node.toml"
        self._sections = sections
        self._reloads = 0
        self._write(sections)
        self.program = Program(case, "run", *FREE, "--config", str(self._file))
        self.http, self.oap, self.admin = (
            self.program.until_complaint(rf'"listener":"{name}","address":"([^"]+)"')[1]
            for name in ("http", "oap", "admin")
        )
        self.program.until_complaint('"running"')

    @property
    def pid(self) -> int:
        """The node's process."""
        return self.program.pid

    def switch(self, urls: Mapping[str, str], **changes: Mapping[str, object]) -> None:
        """Reload with the owners at *urls*; those that are not named are nowhere.

        :param changes: section -> key -> value; ``__`` in its name is a dot.
        """
        sections = {name: dict(values) for name, values in self._sections.items()}
        urls_ = {f"owners.{name}": {"url": url} for name, url in urls.items()}
        named = {name.replace("__", "."): values for name, values in changes.items()}
        for name, values in (*urls_.items(), *named.items()):
            sections.setdefault(name, {}).update(values)
        self._write(sections)
        self.program.kill(signal.SIGHUP)
        self._reloads += 1
        eventually(lambda: self._applied() >= self._reloads, lambda: self.program.complained[-3_000:])

    def _write(self, sections: Mapping[str, Mapping[str, object]]) -> None:
        text = ""
        # An owner that has a URL by default must be nowhere, whoever listens there.
        nowhere: dict[str, Mapping[str, object]] = {f"owners.{name}": {} for name in NEEDED_OWNERS}
        for name, values in (nowhere | dict(sections)).items():
            if name.startswith("owners."):
                values = {"url": _NOWHERE, **values}
            text += f"[{name}]\n" + "".join(f"{key} = {to_toml(value)}\n" for key, value in values.items())
        new = self._file.with_suffix(".new")
        new.write_text(text)
        new.rename(self._file)

    def _applied(self) -> float:
        done = self.metrics("config_reloads_total")
        return sum(done.get(f'outcome="{outcome}"', 0.0) for outcome in ("applied", "unchanged"))

    def metrics(self, name: str) -> dict[str, float]:
        """Return the series of *name*: their labels, as written, and values."""
        _, _, body = ask(f"http://{self.admin}/metrics")
        found = re.findall(rf"^{re.escape(name)}{{([^}}]*)}} (\S+)$", body.decode(), re.M)
        return {labels: float(value) for labels, value in found}

    def descriptors(self) -> int:
        """Return how many descriptors the node has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def connections(self, url: str | None = None) -> int:
        """Return how many TCP connections the node has, or those to *url*, ``http://127.0.0.1:PORT``."""
        own = set()
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                own.add(os.readlink(f"/proc/{self.pid}/fd/{name}"))
        count = 0
        for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]:
            _, _, remote, state, *rest = line.split()
            port = int(remote.rpartition(":")[2], 16)
            if f"socket:[{rest[5]}]" in own and state != _LISTENING:
                count += url is None or port == int(url.rpartition(":")[2])
        return count

    def check_log(self) -> None:
        """There is nothing bad in the log."""
        text = self.program.complained
        found = _BAD_NEWS.search(text)
        if found is not None:
            self._case.fail(f"the node's log: {text[max(0, found.start() - 500) : found.start() + 2_000]}")

    def stop(self) -> None:
        """End the node; it must end well."""
        self.program.kill(signal.SIGTERM)
        self._case.assertEqual(self.program.end(), 0)
        self.check_log()


def to_toml(value: object) -> str:
    """Write *value* as TOML does: as JSON, but for tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {to_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return json.dumps(value)
