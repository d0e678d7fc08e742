"""Run the reactor around one thing that starts and stops: signals, exit code, a second Ctrl-C.

Signals are a matter of the whole process, so they are handled here and nowhere below ``cli``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from micronode.cli.exits import CommandError, Exit


class Runner:
    """Starts something in the reactor and stops it on SIGTERM or SIGINT.

    A first signal stops in order, a second one at once. SIGHUP does not end the process (reloading
    comes in a later release) unless the terminal it was started from is gone.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
        abort: Callable[[], None] = lambda: None,
    ) -> None:
        """:param start: cancelled when a signal comes before it is done; may raise CommandError.
        :param stop: called once, also after a start that failed or was cancelled.
        :param abort: throw away, without waiting, what *stop* would end in order.
        """
        self._reactor = reactor
        self._start = start
        self._stop = stop
        self._abort = abort
        self._starting: Deferred[None] | None = None
        self._stopping = False
        self._code: int = Exit.DONE
        self._has_terminal = _terminal_is_there()

    def run(self) -> int:
        """Run the reactor until all is stopped.

        :return: the exit code.
        """
        hangup = signal.getsignal(signal.SIGHUP)
        if hangup is signal.SIG_IGN:
            # nohup: a terminal that goes is meant not to matter.
            self._has_terminal = False
        signal.signal(signal.SIGHUP, self._on_signal)
        self._reactor.callWhenRunning(self._begin)
        try:
            self._reactor.run()
        finally:
            signal.signal(signal.SIGHUP, hangup)
        return self._code

    def finish(self, code: int, message: str | None = None) -> None:
        """Stop in order and end with *code*; the first call counts.

        :param message: one line for standard error.
        """
        if self._stopping:
            return
        self._stopping = True
        self._code = code
        if message is not None:
            say(message)
        if self._starting is not None:
            self._starting.cancel()
        stopping = Deferred.fromCoroutine(_as_coroutine(self._stop))
        stopping.addErrback(self._defect)
        stopping.addBoth(lambda _: self._stop_reactor())

    def _begin(self) -> None:
        # Twisted has put its own handlers in place by now; they would stop the reactor at once.
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        self._starting = Deferred.fromCoroutine(_as_coroutine(self._start))
        self._starting.addErrback(self._start_failed)

    def _start_failed(self, failure: Failure) -> None:
        if self._stopping:
            return  # cancelled by us
        if failure.check(CommandError):
            print(failure.value, file=sys.stderr, flush=True)
            self.finish(failure.value.code)
        else:
            self._defect(failure)
            self.finish(self._code)

    def _defect(self, failure: Failure) -> None:
        self._code = Exit.DEFECT
        failure.printTraceback(file=sys.stderr)
        say("this is a defect of micronode; please report it with the lines above")

    def _on_signal(self, number: int, _frame: object) -> None:
        # Only hand it to the reactor: a Python signal handler runs between any two bytecodes.
        self._reactor.callFromThread(self._signalled, number)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            if not self._has_terminal or _terminal_is_there():
                say(
                    "reload by SIGHUP is not available yet in this release; restart to read the configuration"
                )
                return
        if self._stopping:
            self._abort()
            self._stop_reactor()
        else:
            self.finish(self._code)

    def _stop_reactor(self) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            pass  # a second signal was faster


def say(line: str) -> None:
    """Print one line for people on standard error; a closed one is no reason to fail."""
    try:
        print(f"micronode: {line}", file=sys.stderr, flush=True)
    except OSError:
        pass


async def _as_coroutine(function: Callable[[], Awaitable[None]]) -> None:
    await function()


def _terminal_is_there() -> bool:
    """Whether the process has a controlling terminal; it has none any more after a hang-up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
