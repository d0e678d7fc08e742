"""The reading side of a transport: stopped, started, and watched for the caller's end while it is stopped.

A Twisted transport that does not read looks at its socket for nothing at all, so it sees no reset behind
what it does not read, and a caller that has gone would keep its slot until something is written to it.
So while reading is stopped the descriptor is asked, ten times a second. What a FIN means is the protocol's
to say: behind one an OAP/1 caller is owed what it asked whole, over HTTP it has gone. It is told of as soon
as the kernel has it, also behind data that is not read. One that has no room there does not come; then only
writing tells, since the kernel of a caller that has gone answers with a reset.

The other question to a descriptor is a client's, before it uses a connection again: :class:`Pending`.
"""

from __future__ import annotations

import select  # poll() with a timeout of 0 does not block.
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two looks.
LOOK_S: Final = 0.1
#: Seconds to the look behind a question: the answer of a caller nearby is there by then.
SOON_S: Final = 0.01
#: Looks between two questions: whoever goes is then found out within 300 ms.
ASK_LOOKS: Final = 2
#: The connection is gone both ways: a reset, an error, or a Unix socket whose other end is closed.
_GONE: Final = select.POLLHUP | select.POLLERR
#: Nothing more will come from the other end.
_ENDED: Final = getattr(select, "POLLRDHUP", 0)  # Linux has it


def was_reset(transport: Any) -> bool:
    """Ask the descriptor of *transport* for an error that nobody has read from it; False where there is none.

    That both directions are closed is none: what the kernel has of them may still be on its way.
    """
    poll = select.poll()
    try:
        poll.register(transport.fileno(), 0)
    except (AttributeError, ValueError):
        return False
    return any(events & select.POLLERR for _, events in poll.poll(0))


class Intake:
    """Stops and starts the reading of *transport*.

    :param clock: times the looks.
    :param lost: called without arguments when the connection is gone; only while reading is stopped. It
        may start it or end the connection.
    :param ended: called without arguments when the other end has shut down its writing side; as *lost*.
    :param ask: called without arguments every :data:`ASK_LOOKS` looks of one stop; it may write something,
        which a caller that has gone resets.
    """

    __slots__ = ("_ask", "_call", "_clock", "_ended", "_looks", "_lost", "_transport", "paused")

    def __init__(
        self,
        clock: IReactorTime,
        transport: Any,
        *,
        lost: Callable[[], None],
        ended: Callable[[], None] | None = None,
        ask: Callable[[], None] | None = None,
    ) -> None:
        self.paused = False
        self._ask = ask
        self._looks = 0
        self._clock = clock
        self._transport = transport
        self._lost = lost
        self._ended = ended
        self._call: IDelayedCall | None = None

    def pause(self, *, look: bool = True) -> None:
        """Read nothing until :meth:`resume`.

        :param look: whether to find out who goes meanwhile; not for those of whom there are many, and for
            whom nothing runs.
        """
        if not self.paused:
            self.paused = True
            self._transport.pauseProducing()
        if look and self._call is None:
            self._schedule()

    def resume(self) -> None:
        """Read.

        The timer stays: an upload may stop and start a thousand times a second.
        """
        if self.paused:
            self.paused = False
            self._looks = 0
            self._transport.resumeProducing()

    def look_soon(self) -> None:
        """Look before it is time: something was written that a caller which has gone resets."""
        if self.paused and self._call is not None:
            self._call.reset(SOON_S)

    def close(self) -> None:
        """Look no more: the transport is gone, or about to be."""
        self.paused = False
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _schedule(self) -> None:
        self._call = self._clock.callLater(LOOK_S, self._look)

    def _look(self) -> None:
        self._call = None
        if not self.paused:
            return
        self._looks += 1
        found = self._found()
        if found & _GONE:
            self._lost()
        elif found and self._ended is not None:
            self._ended()
        elif self._ask is not None and self._looks % ASK_LOOKS == 0:
            self._ask()
        if self.paused and self._call is None:
            self._schedule()

    def _found(self) -> int:
        """Ask the descriptor for what has ended; 0 where there is none."""
        poll = select.poll()
        try:
            # What is in _GONE is told unasked.
            poll.register(self._transport.fileno(), _ENDED)
        except (AttributeError, ValueError):
            return 0
        return sum(events for _, events in poll.poll(0))


class Pending:
    """Whether bytes, or the end, wait in the socket of *transport*, of which the reactor has not told yet.

    A transport without a descriptor, one in memory, has nothing waiting.
    """

    __slots__ = ("_poll",)

    def __init__(self, transport: Any) -> None:
        self._poll: select.poll | None = select.poll()
        try:
            self._poll.register(transport.fileno(), select.POLLIN | select.POLLRDHUP)
        except (AttributeError, ValueError):
            self._poll = None

    def is_there(self) -> bool:
        """Ask the descriptor, which must not be closed yet."""
        return self._poll is not None and bool(self._poll.poll(0))
