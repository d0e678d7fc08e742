"""Noticing that the parent has died, however it died: its end of a pipe closes."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class ParentWatch:
    """Reads the inherited descriptor *fd* until its end, then calls *on_end* once."""

    def __init__(self, reactor: IReactorFDSet, fd: int, on_end: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._on_end = on_end
        os.set_blocking(fd, False)
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Name this in Twisted's log."""
        return "parent"

    def doRead(self) -> None:
        """See whether the pipe has ended; what it says otherwise does not matter."""
        try:
            if os.read(self._fd, 4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close()
        self._on_end()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw the pipe hang up, or is shutting down."""
        if self._fd >= 0:
            self._close()
            self._on_end()

    def _close(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._fd)
        self._fd = -1
