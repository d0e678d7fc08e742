"""The circuit breaker of one endpoint: one that mostly fails is left alone, then tried with one call.

Why it is there beside the deadlines: a call that waits for a dead owner holds a slot, a permit of its
facet and a caller's patience until its deadline; one that is refused at once holds nothing, and an owner
that is overloaded gets the quiet in which it may recover. The three states and their names are Michael
Nygard's (*Release It!*, 2007); that failures are weighed as a share of enough calls in a short time, and not
counted in a row, lets neither a lone failure of a busy owner nor an idle night open it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from micronode.adapters.pause import Pause
from micronode.adapters.window import Window

#: Calls that must have ended within :data:`WINDOW_S`, and how many of a hundred of them failed, to open it.
LEAST_CALLS: Final = 10
FAILED_PERCENT: Final = 50
WINDOW_S: Final = 1.0
#: Seconds to the first try; a caller's Retry-After is as long.
OPEN_S: Final = 1.0
#: Seconds between two tries at an endpoint that stays dead: what its return may cost in time.
LONGEST_OPEN_S: Final = 30.0
#: Seconds in which the one call that is let through decides; then another one is let through beside it.
#: It may be an upload that takes as long as its caller likes, while everybody else is refused.
PROBE_S: Final = 2.0


class BreakerState(Enum):
    """Whether calls are let through."""

    CLOSED = "closed"
    #: None is.
    OPEN = "open"
    #: One is, and it decides; another one every :data:`PROBE_S`.
    HALF_OPEN = "half open"


class Pass:
    """What a call that was let through holds until it has been judged.

    :ivar judged: whether it was.
    """

    __slots__ = ("era", "judged")

    def __init__(self, era: int) -> None:
        #: Which time between two openings or closings it began in; what comes of it is news only then.
        self.era = era
        self.judged = False


class Breaker:
    """See the module's docstring.

    :param seconds: tells the time.
    :ivar is_closed: whether calls are let through as they come.
    """

    __slots__ = ("_era", "_pause", "_probe", "_probing", "_seen", "is_closed")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seen = Window(seconds, WINDOW_S)
        self._pause = Pause(seconds, OPEN_S, LONGEST_OPEN_S)
        self.is_closed = True
        self._era = 0
        #: The latest call that was let through to decide, until it is judged.
        self._probe: Pass | None = None
        self._probing = Pause(seconds, PROBE_S, PROBE_S)

    @property
    def state(self) -> BreakerState:
        """Which state it is in now: OPEN becomes HALF_OPEN as time passes."""
        if self.is_closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._pause.left_s > 0 else BreakerState.HALF_OPEN

    @property
    def admits(self) -> bool:
        """Whether a call is let through now."""
        if self.is_closed:
            return True
        return self._pause.left_s <= 0 and (self._probe is None or self._probing.left_s <= 0)

    @property
    def wait_s(self) -> float:
        """Seconds before a call may be let through; 0 where that depends on no time."""
        return 0.0 if self.is_closed else self._pause.left_s

    def enter(self) -> Pass:
        """Let a call through; whoever got the pass sees to it that it is judged, once the call is over.

        :raises RuntimeError: it admits none.
        """
        if self.is_closed:
            return Pass(self._era)
        if not self.admits:
            raise RuntimeError("the breaker is open")
        entered = self._probe = Pass(self._era)
        self._probing.begin()
        return entered

    def answered(self, entered: Pass) -> None:
        """The call got the head of a good answer. It goes on, and nobody need wait for its body's end."""
        if entered.era == self._era and not self.is_closed:
            self._close()
            entered.era = self._era

    def judge(self, entered: Pass, well: bool | None) -> None:
        """The call is over. The first judgement counts.

        :param well: None where its end says nothing of the endpoint: its caller has left, for one.
        """
        if entered.judged:
            return
        entered.judged = True
        if entered.era != self._era:
            # Something was decided since.
            return
        if not self.is_closed:
            if entered is self._probe:
                self._probe = None
            if well is not None:
                self._close() if well else self._open()
        elif well is not None:
            self._seen.add()
            if not well:
                self._seen.mark()
                seen = self._seen
                if seen.all >= LEAST_CALLS and seen.marked * 100 >= seen.all * FAILED_PERCENT:
                    self._open()

    def _open(self) -> None:
        self.is_closed = False
        self._era += 1
        self._probe = None
        self._pause.begin()

    def _close(self) -> None:
        self.is_closed = True
        self._era += 1
        self._probe = None
        self._seen.clear()
