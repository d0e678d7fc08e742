"""The reference owner services as a child process of ``micronode dev``.

Two pipes tie them together: on one the child reports its addresses once it is ready; the other is
never written to, and its end tells the child that the node has gone, even by SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from micronode.cli.exits import CommandError, Exit
from micronode.config.schema import OWNER_NAMES

#: Descriptors in the child.
_REPORT_FD: Final = 3
_PARENT_FD: Final = 4
#: The report is one short line of JSON.
_MAX_REPORT_BYTES: Final = 4096
#: From SIGTERM to SIGKILL.
_STOP_S: Final = 5.0
#: Exit codes of the child that say why it did not start; the same is true of the whole command then.
_TELLING: Final = (Exit.USAGE, Exit.UNAVAILABLE, Exit.CONFIG)


class OwnersChild(ProcessProtocol):
    """One child process, from :meth:`spawn` to :meth:`stop`."""

    def __init__(self, reactor: Any, lost: Callable[[str], None]) -> None:
        """:param lost: called once with how the child ended, if nobody asked it to after it was ready."""
        self._reactor = reactor
        self._lost = lost
        self._report = b""
        self._ready: Deferred[dict[str, str]] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self._asked = False

    def spawn(self, arguments: Sequence[str]) -> Deferred[dict[str, str]]:
        """Start the child, with further *arguments* for ``micronode owners``.

        :return: a Deferred that fires with the URLs by owner's name when it is ready, and fails with
            CommandError when it ends before that.
        """
        command = [sys.executable, "-m", "micronode", "owners"]
        # Who reports where it is takes free ports.
        command += ["--report-fd", str(_REPORT_FD), "--parent-fd", str(_PARENT_FD), *arguments]
        nothing = os.open(os.devnull, os.O_RDONLY)
        # A terminal's Ctrl-C and hang-up go to every process on it. They are meant for the node, which
        # ends the child in its turn: blocked signals stay blocked in the new program.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
        try:
            self._reactor.spawnProcess(
                self,
                sys.executable,
                command,
                env=None,
                childFDs={0: nothing, 1: 2, 2: 2, _REPORT_FD: "r", _PARENT_FD: "w"},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(nothing)
        return self._ready

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != _REPORT_FD or self._ready.called:
            return
        self._report += data
        line, newline, _ = self._report.partition(b"\n")
        if not newline and len(line) <= _MAX_REPORT_BYTES:
            return
        try:
            urls = json.loads(line)
            self._ready.callback({name: str(urls[name]) for name in OWNER_NAMES})
        except (ValueError, KeyError, TypeError):
            self._ready.errback(CommandError(Exit.DEFECT, f"the owner services reported {line[:80]!r}"))

    def processEnded(self, reason: Failure) -> None:
        how = _how_it_ended(reason)
        self._ended.callback(None)
        if not self._ready.called:
            code = getattr(reason.value, "exitCode", None)
            end = Exit(code) if code in _TELLING else Exit.FAILED
            message = f"the owner services {how} before they were ready; their own lines above say why"
            self._ready.errback(CommandError(end, message))
        elif not self._asked:
            self._lost(how)

    async def stop(self) -> None:
        """End the child: SIGTERM, after a while SIGKILL; returns when it is reaped."""
        self._asked = True
        if self.transport is None or self._ended.called:
            return
        self._send("TERM")
        timer = self._reactor.callLater(_STOP_S, self._send, "KILL")
        await self._ended
        if timer.active():
            timer.cancel()

    def kill(self) -> None:
        """End the child at once; nobody waits for it."""
        self._asked = True
        self._send("KILL")

    def _send(self, name: str) -> None:
        if self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess(name)


def _how_it_ended(reason: Failure) -> str:
    number = getattr(reason.value, "signal", None)
    if number is not None:
        return f"were ended by {signal.Signals(number).name}"
    return f"ended with exit code {getattr(reason.value, 'exitCode', None)}"
