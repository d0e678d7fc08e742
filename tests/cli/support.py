"""Doubles for the command line: a reactor whose time and signals a test controls, captured output."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessExitedAlready, ReactorNotRunning
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.cli.calloptions import CallOptions

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ScriptReactor(Clock):
    """Runs its start-up calls, then a script; it is an error if that leaves it running."""

    def __init__(self, *script: Callable[[], object]) -> None:
        super().__init__()
        self.script = script
        self.stopped = False
        self.hooks: list[Callable[[], object]] = []
        self.spawned: list[dict[str, Any]] = []

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        self.hooks.append(function)

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        function(*args)

    def run(self) -> None:
        for step in (*self.hooks, *self.script):
            if not self.stopped:
                step()
        if not self.stopped:
            raise AssertionError("the reactor still runs")

    def stop(self) -> None:
        if self.stopped:
            raise ReactorNotRunning
        self.stopped = True

    def spawnProcess(self, protocol: Any, executable: str, args: Any, **kwargs: Any) -> SpyProcess:
        process = SpyProcess()
        self.spawned.append({"executable": executable, "args": list(args), "process": process, **kwargs})
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        protocol.makeConnection(process)
        return process


class SpyProcess:
    """Records the signals sent to a child."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.gone = False

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)


class FullStream(io.StringIO):
    """A stream that can pass on nothing; every flush fails once it holds something."""

    def __init__(self, number: int = errno.ENOSPC, reason: str = "no space") -> None:
        super().__init__()
        self.error = OSError(number, reason)

    def flush(self) -> None:
        if self.getvalue():
            raise self.error


def send(number: signal.Signals) -> Callable[[], None]:
    """Return a step that delivers a signal to whatever handles it."""

    def step() -> None:
        handler = signal.getsignal(number)
        assert callable(handler), f"nobody handles {number.name}"
        handler(number, None)

    return step


class CommandTestCase(SynchronousTestCase):
    """Captures the standard streams and keeps the process's signal handlers."""

    def setUp(self) -> None:
        super().setUp()
        for number in SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        # Whatever this run inherited, or a test before left: who ignores it is below nohup.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        self.err = io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    @property
    def printed(self) -> str:
        """What went to standard output."""
        return self.out.buffer.getvalue().decode("utf-8")

    @property
    def complained(self) -> str:
        """What went to standard error."""
        return self.err.getvalue()


def parsed(*argv: str) -> CallOptions:
    """Return the options of ``micronode call`` that *argv* are."""
    options = CallOptions()
    options.parse(argv)
    return options
