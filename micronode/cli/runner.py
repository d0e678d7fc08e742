"""Run the reactor around one thing that starts and stops: signals, exit code, a second Ctrl-C.

Signals are a matter of the whole process, so they are handled here and nowhere below ``cli``.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from micronode.cli import lookups
from micronode.cli.exits import CommandError, Exit, print_defect, print_error, say
from micronode.cli.hangup import take_hangup

log = Logger()


class Runner:
    """Starts something in the reactor and stops it on SIGTERM or SIGINT.

    A first signal stops in order, a second one without waiting for calls in flight, a third one at any
    price, with exit code 1. SIGHUP reloads, unless the terminal it was started from is gone; then it stops.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
        hurry: Callable[[], None],
        reload: Callable[[], None],
    ) -> None:
        """:param start: cancelled when a signal comes before it is done; may raise CommandError.
        :param stop: called once, also after a start that failed or was cancelled.
        :param hurry: makes a *stop* that is under way wait for nothing more.
        :param reload: called for SIGHUP, once *start* is done; what came before is made up for then.
        """
        self._reactor = reactor
        self._start = start
        self._stop = stop
        self._hurry = hurry
        self._reload = reload
        #: Whether it stops without a signal having asked for it.
        self._unasked = False
        self._hurried = False
        self._starting: Deferred[None] | None = None
        self._started = False
        #: Whether SIGHUP came before it had started.
        self._hung_up = False
        self._stopping = False
        #: Whether the stop is finished.
        self._over = False
        self._code: int = Exit.DONE

    def run(self) -> int:
        """Run the reactor until all is stopped.

        :return: the exit code.
        """
        lookups.install(self._reactor)
        self._terminal, self._hung_up = take_hangup(self._on_signal)
        self._reactor.callWhenRunning(self._begin)
        try:
            self._reactor.run()
        finally:
            # Too late to reload, and no reason to die of it on the way out.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
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
        Deferred.fromCoroutine(self._shutdown())

    def drained(self) -> None:
        """Stop in order: what runs has begun to stop by itself, as it was told by other means.

        The next signal is a first one still. (An orchestrator that drains a node first sends SIGTERM then.)
        """
        if not self._stopping:
            self._unasked = True
            self.finish(self._code)

    def _begin(self) -> None:
        # Twisted has put its own handlers in place by now; they would stop the reactor at once.
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        starting = Deferred.fromCoroutine(self._startup())
        if not starting.called:
            self._starting = starting

    async def _startup(self) -> None:
        try:
            await self._start()
            self._started = True
            if self._hung_up:
                self._signalled(signal.SIGHUP)
        except CancelledError:
            return  # a signal came first
        except CommandError as error:
            self._starting = None
            print_error(error)
            self.finish(error.code)
        except Exception:
            self._starting = None
            print_defect()
            self.finish(Exit.DEFECT)

    async def _shutdown(self) -> None:
        try:
            await self._stop()
        except Exception:
            self._code = Exit.DEFECT
            print_defect()
        self._over = True
        self._stop_reactor()

    def _on_signal(self, number: int, _frame: object) -> None:
        # Only hand it to the reactor: a Python signal handler runs between any two bytecodes.
        self._reactor.callFromThread(self._signalled, number)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP and not self._terminal.is_gone:
            if self._started:
                self._reload()
            else:
                self._hung_up = True
        elif not self._stopping:
            self.finish(self._code)
        elif self._unasked:
            self._unasked = False
        elif not self._hurried:
            self._hurried = True
            self._hurry()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """End what does not end by itself: that is no stop in order, and whoever waits for it is told."""
        if self._over:
            return
        self._code = self._code or Exit.FAILED
        say("a third signal: ended before the stop was finished")
        self._stop_reactor()

    def _stop_reactor(self) -> None:
        # A third signal may have been faster.
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()


def run_to_end(reactor: Any, act: Callable[[], Coroutine[Deferred[Any], Any, int]]) -> int:
    """Run the reactor until *act* is done.

    :param act: cancelled by SIGINT or SIGTERM; a second one does not wait for it.
    :return: what *act* returned, or 1 when it was cancelled. What it raised is raised.
    """
    outcome: list[int | Failure] = []

    def stop(result: int | Failure) -> None:
        outcome.append(result)
        with contextlib.suppress(ReactorNotRunning):
            reactor.stop()

    def begin() -> None:
        acting = Deferred.fromCoroutine(act())

        def signalled() -> None:
            # The next one ends the process as if nobody handled it.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            acting.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: reactor.callFromThread(signalled))
        acting.addBoth(stop)

    reactor.callWhenRunning(begin)
    reactor.run()
    result = outcome[0] if outcome else Exit.FAILED
    if isinstance(result, Failure):
        if result.check(CancelledError):
            return Exit.FAILED
        result.raiseException()
    return result
