"""SIGHUP of a process that is about to run a node: it waits until somebody can act on it.

By default it ends a process, and who reloads a service right after starting it would end it. Of the standard
library alone, since it has to be in place before the slow imports.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


class Terminal:
    """The terminal that the process was started from, if that matters: not below nohup. Made before SIGHUP
    is handled.
    """

    def __init__(self) -> None:
        self._matters = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and terminal_is_there()

    @property
    def is_gone(self) -> bool:
        """Whether there was one, and it has hung up."""
        return self._matters and not terminal_is_there()


def terminal_is_there() -> bool:
    """Whether the process has a controlling terminal; it has none any more after a hang-up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class _Held:
    """SIGHUP while it waits; what handles it meanwhile."""

    def __init__(self) -> None:
        #: A daemon's terminal is another matter than that of who started it.
        self._pid = os.getpid()
        self._terminal = Terminal()
        #: Whether it came.
        self.came = False

    def __call__(self, number: int, _frame: object) -> None:
        if self.terminal.is_gone:
            # Nothing has begun that would have to be ended in order, and nobody waits for it.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.came = True

    @property
    def terminal(self) -> Terminal:
        if self._pid != os.getpid():
            self._pid, self._terminal = os.getpid(), Terminal()
        return self._terminal


def hold_hangup() -> None:
    """Let SIGHUP wait from now on, until :func:`take_hangup`; where it is ignored or handled it stays so."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _Held())


def take_hangup(handler: Callable[..., object]) -> tuple[Terminal, bool]:
    """Handle SIGHUP with *handler* from now on.

    :return: the terminal that the process was started from, and whether there is one to be made up for.
    """
    held = signal.getsignal(signal.SIGHUP)
    terminal = held.terminal if isinstance(held, _Held) else Terminal()
    signal.signal(signal.SIGHUP, handler)
    return terminal, isinstance(held, _Held) and held.came
