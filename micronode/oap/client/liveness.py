"""Whether the node is still there: a host that vanished says nothing, and TCP waits for many minutes.

``specs/oap-1.md`` section 3 gives this rule to the node; it serves the caller as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from micronode.oap.timers import Deadline
from micronode.oap.wire.caller_greeting import is_count

#: How long a node may be silent while it owes answers, where its HELLO does not say, in seconds; and how
#: long at the most, whatever it says.
_SILENCE_S: Final = 60.0
_MOST_S: Final = 600.0
#: How long it may take to say anything after a PING: twice what a node gives its callers.
_ECHO_S: Final = 10.0


class Liveness:
    """Watches one connection while answers are owed.

    :param ask: called without arguments to send a PING.
    :param lost: called without arguments when nothing was heard after one.
    """

    def __init__(self, clock: IReactorTime, *, ask: Callable[[], None], lost: Callable[[], None]) -> None:
        self._clock = clock
        self._ask = ask
        self._silence: Deadline | None = None
        self._echo = Deadline(clock, _ECHO_S, lost)

    def greeted(self, reply: Mapping[str, Any]) -> None:
        """Take what the node says of idle connections."""
        wish: Any = reply.get("idle_timeout_ms")
        seconds = min(wish / 1000, _MOST_S) if is_count(wish) and wish else _SILENCE_S
        self._silence = Deadline(self._clock, seconds, self._silent)

    def asked(self) -> None:
        """A stream was opened: an answer is owed."""
        if self._silence is not None and not (self._silence.running or self._echo.running):
            self._silence.start()

    def heard(self, *, owed: bool) -> None:
        """Take note of input.

        :param owed: whether answers are owed still.
        """
        self._echo.stop()
        if self._silence is not None:
            if owed:
                self._silence.start()
            else:
                # Not only stopped: a connection that owes nothing leaves nothing in the reactor.
                self._silence.close()

    def hold(self, hold: bool) -> None:
        """While we do not read, nobody is silent."""
        for deadline in (self._silence, self._echo):
            if deadline is not None:
                if hold:
                    deadline.hold()
                else:
                    deadline.release()

    def close(self) -> None:
        """Wait for nothing any more."""
        self._echo.close()
        if self._silence is not None:
            self._silence.close()
            self._silence = None

    def _silent(self) -> None:
        self._echo.start()
        self._ask()
