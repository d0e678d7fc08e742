"""A node as its users run it, for chaos: ``micronode run`` with a file, whose log is read as it comes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.chaos.log import Log
from tests.cli.processes import FREE, ROOT, default_signals
from tests.support.switched import to_toml

#: Nothing here takes longer, unless it hangs.
PATIENCE_S: Final = 30.0
#: Bytes of the log that are read at a time.
_BUFFER_BYTES: Final = 1 << 18
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Node:
    """A running node.

    :ivar log: what it has said.
    """

    def __init__(self, folder: Path, sections: Mapping[str, Mapping[str, object]], module: str) -> None:
        """:param sections: section -> key -> value: what stays, whatever a reload changes.
        :param module: what is run: ``micronode``, or what runs it.
        """
        self.log = Log()
        self._file = folder / "node.toml"
        self._sections = sections
        self._module = module
        self._news = asyncio.Event()
        self.process: asyncio.subprocess.Process

    async def start(self, **changes: Mapping[str, object]) -> None:
        """Start it, and return when it is running."""
        self.write(**changes)
        environ = {name: text for name, text in os.environ.items() if not name.startswith("MICRONODE_")}
        reading, writing = os.pipe()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", self._module, "run", *FREE, "--config", str(self._file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=writing,
            env=environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self._file.parent,
            start_new_session=True,
            preexec_fn=default_signals,
        )
        os.close(writing)
        self._reading = asyncio.ensure_future(
            asyncio.to_thread(self._read, reading, asyncio.get_running_loop())
        )
        try:
            await self.until("state running", 1)
        except BaseException:
            await self.kill()
            raise

    @property
    def addresses(self) -> Mapping[str, str]:
        """``http``, ``admin``, ``oap`` -> HOST:PORT."""
        return self.log.addresses

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def write(self, **changes: Mapping[str, object]) -> None:
        """Write its file. Sections are named with ``__`` for a dot."""
        sections = {name: dict(values) for name, values in self._sections.items()}
        for name, values in changes.items():
            sections.setdefault(name.replace("__", "."), {}).update(values)
        text = "".join(
            f"[{name}]\n" + "".join(f"{key} = {to_toml(value)}\n" for key, value in values.items())
            for name, values in sections.items()
        )
        self._replace(text)

    def spoil(self) -> None:
        """Write a file that is refused."""
        self._replace("[limits]\nmax_inflite = 1\n")

    def _replace(self, text: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(self._file)

    async def reload(self) -> None:
        """Let it read its file again, and return when it has."""
        before = self.log.reloads
        self.process.send_signal(signal.SIGHUP)
        await self._until(lambda: self.log.reloads > before)

    async def until(self, event: str, times: int) -> None:
        """Return when *event* was so often in its log."""
        await self._until(lambda: self.log.events[event] >= times)

    async def _until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not look():
                if self._reading.done():
                    raise RuntimeError("the node ended: " + "".join(self.log.tail)[-3000:])
                self._news.clear()
                await self._news.wait()

    def _read(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        """Read the log to its end; in a thread, since a log that nobody reads for a moment loses lines."""
        with os.fdopen(descriptor, "rb", _BUFFER_BYTES) as log:
            for data in log:
                if self.log.take(data):
                    loop.call_soon_threadsafe(self._news.set)
        loop.call_soon_threadsafe(self._news.set)

    # Looked at from outside

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss_bytes(self) -> int:
        """Return what it has resident."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    def cpu_s(self) -> float:
        """Return the processor time it took so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("latin-1").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def waited_s(self) -> float:
        """Return how long it was ready to run, and had no processor; 0.0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (FileNotFoundError, IndexError):
            return 0.0

    # The end

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self.process.terminate()

    async def ended(self) -> int:
        """Return its exit code when it has ended, and its log is read."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await self._reading
        return code

    async def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self._reading
