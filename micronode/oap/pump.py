"""What one connection reads: input not yet decoded, events not yet handled, and why they wait.

Both only wait while nothing is to be handled: a stream without windows is full, too much control output
waits for the caller, or others have their turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from micronode.oap.wire.events import Event

#: Why nothing is handled. UPLOAD: an owner does not take a body. OUTPUT: the caller does not read.
#: MEMORY: the node holds too much, and nothing runs for this caller.
UPLOAD: Final = "upload"
OUTPUT: Final = "output"
MEMORY: Final = "memory"
#: The connection has had its share of this turn of the reactor.
TURN: Final = "turn"
#: Events of one connection that are handled in one turn. More than it may have streams by default, so that
#: callers hardly ever meet it; a read may hold a thousand STARTs that are refused at once, and everybody else
#: would wait for all of them.
MAX_EVENTS: Final = 128


class Pump:
    """Decodes what came and hands the events on, one at a time, until it is told to stop.

    :param decode: yields the events of one read; the core's ``receive``.
    :param handle: called with each event. It may add a reason, or :meth:`close` the pump.
    :param rest: called when :data:`MAX_EVENTS` were handled in one :meth:`run`; it adds a reason.
    :ivar running: whether :meth:`run` runs.
    :ivar reasons: why nothing is handled; empty while it is.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Iterator[Event]],
        handle: Callable[[Event], None],
        rest: Callable[[], None],
    ) -> None:
        self.running = False
        self.reasons: set[str] = set()
        self._decode = decode
        self._handle = handle
        self._rest = rest
        self._events: Iterator[Event] = iter(())
        self._input: deque[bytes] = deque()
        self._open = True

    @property
    def held(self) -> int:
        """Bytes that were read and not decoded."""
        return sum(map(len, self._input))

    def put(self, data: bytes) -> None:
        """Add what was read; :meth:`run` handles it."""
        self._input.append(data)

    def run(self) -> bool:
        """Handle what was read until there is no more, or a reason not to. Not while it runs.

        :return: whether anything was handled.
        """
        handled = 0
        reasons, handle = self.reasons, self._handle
        self.running = True
        try:
            while self._open and not reasons:
                for event in self._events:
                    handled += 1
                    handle(event)
                    if handled == MAX_EVENTS and self._open:
                        self._rest()
                    if reasons or not self._open:
                        break
                else:
                    if not self._input:
                        break
                    self._events = self._decode(self._input.popleft())
        finally:
            self.running = False
        return handled > 0

    def close(self) -> None:
        """Handle nothing more. What was not decoded is still counted by :attr:`held`."""
        self._open = False

    def clear(self) -> None:
        """Forget what there is."""
        self._events = iter(())
        self._input.clear()
