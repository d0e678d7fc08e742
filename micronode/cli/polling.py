"""The reactor of a process of our own: Twisted's on epoll, with nothing between it and what is ready.

Its clock only goes on. Twisted's is the machine's, and when that is set back by an hour, whatever was put off
to the next turn waits for an hour: the answers of a whole turn, and all that come after them.

Twisted's asks every descriptor for a prefix for the log, and puts that into a context, before it reads from
it or writes to it: nine calls a request for what only the legacy log shows, which this process does not have.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any


def install() -> None:
    """Make it this process's reactor, where there is epoll and no reactor yet."""
    if "twisted.internet.reactor" in sys.modules:
        return
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        return
    from twisted.internet.main import installReactor
    from twisted.python import log

    log_error: Callable[[], None] = log.err

    class PollingReactor(EPollReactor):
        """See the module's docstring."""

        seconds = staticmethod(monotonic)

        def doPoll(self, timeout: float | None) -> None:
            selectables: dict[int, Any] = self._selectables
            try:
                found = self._poller.poll(-1 if timeout is None else timeout, len(selectables))
            except OSError as error:
                if error.errno == errno.EINTR:
                    return
                raise
            work: Callable[..., object] = self._doReadOrWrite
            for descriptor, event in found:
                selectable = selectables.get(descriptor)
                if selectable is not None:
                    try:
                        work(selectable, descriptor, event)
                    except Exception:
                        # What a protocol does when its connection is lost; the rest is seen to in there.
                        log_error()

        doIteration = doPoll

    installReactor(PollingReactor())  # type: ignore[no-untyped-call]


def steady(reactor: Any) -> None:
    """Let the clock of *reactor*, which others chose, only go on, too; where it times something, it stays."""
    if not reactor.getDelayedCalls():
        reactor.seconds = monotonic
