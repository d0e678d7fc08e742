"""The drain: in which order a node stops, what each part of it waits for, and for how long at most.

A machine of phases on a clock; it knows no reactor, no socket and no call. What has to be done in a phase is
an :class:`Effects`, handed in; which phase follows which is one table, :data:`MOVES`, and the diagram of
``docs/diagrams`` is drawn from it. ``docs/architecture.rst``, "Stopping", tells what each phase is for.

Why it decides from what is the case, and not from a queue of events: its effects call back in (a subscriber
of the bus asks for haste while it is told that the drain begins), and an event that was meant for one phase
must not end the next. So an input notes something, and the machine looks: is there a reason to move on?

Nothing can keep it from its end. Each phase has its deadline, an effect that fails is logged and counts as
done, and what comes after the deadline takes :data:`END_S` at most, so that a node is gone within grace,
deadline and a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from micronode.concurrency.timer import EPSILON_S

_log = Logger()

#: Seconds after the grace in which what still comes on an open connection is served, as the last on it.
LAST_CALL_S: Final = 1.0
#: Seconds for callers to be told that their calls are cut, and for cancelled calls to let their owners go.
ABORT_S: Final = 0.5
#: Seconds for the owners' pools and whatever else runs beside the calls.
RELEASE_S: Final = 0.2
#: Seconds for the admin plane's last answers.
LEAVE_S: Final = 0.1
#: What all of it may take when the deadline is over.
END_S: Final = ABORT_S + RELEASE_S + LEAVE_S
#: Seconds between two looks at whether anything is left to wait for.
LOOK_S: Final = 0.02
#: By so many seconds a phase may begin late without the end of all being later.
_LATE_S: Final = 0.05


class Phase(Enum):
    """Where in its drain a node is; the value is what status and log show."""

    #: Nobody has asked for a drain.
    SERVING = "serving"
    #: Not ready, and still serving, so that whoever sends it callers notices (``drain.grace``).
    GRACE = "grace"
    #: The listeners are closed; what comes on connections that are there is served (:data:`LAST_CALL_S`).
    CLOSING = "closing"
    #: Idle connections are closed; calls in flight finish (what is left of ``drain.deadline``).
    FINISHING = "finishing"
    #: Calls that did not finish are cancelled, and their callers told.
    ABORTING = "aborting"
    #: What connections are left are dropped; the owners' pools are closed.
    RELEASING = "releasing"
    #: The admin plane is closed.
    LEAVING = "leaving"
    STOPPED = "stopped"


class Given(Enum):
    """Why a phase is over."""

    BEGIN = "begin"
    HURRY = "hurry"
    NOTHING_LEFT = "nothing left"
    TIME_PASSED = "time passed"


#: Which phase follows. A pair that is not here changes nothing: haste does not shorten what comes after the
#: deadline, and the grace is not for those who are connected already but for those who may yet come.
MOVES: Final[Mapping[tuple[Phase, Given], Phase]] = MappingProxyType(
    {
        (Phase.SERVING, Given.BEGIN): Phase.GRACE,
        (Phase.GRACE, Given.HURRY): Phase.CLOSING,
        (Phase.GRACE, Given.TIME_PASSED): Phase.CLOSING,
        (Phase.CLOSING, Given.HURRY): Phase.FINISHING,
        (Phase.CLOSING, Given.NOTHING_LEFT): Phase.FINISHING,
        (Phase.CLOSING, Given.TIME_PASSED): Phase.FINISHING,
        (Phase.FINISHING, Given.HURRY): Phase.ABORTING,
        (Phase.FINISHING, Given.NOTHING_LEFT): Phase.RELEASING,
        (Phase.FINISHING, Given.TIME_PASSED): Phase.ABORTING,
        (Phase.ABORTING, Given.NOTHING_LEFT): Phase.RELEASING,
        (Phase.ABORTING, Given.TIME_PASSED): Phase.RELEASING,
        (Phase.RELEASING, Given.NOTHING_LEFT): Phase.LEAVING,
        (Phase.RELEASING, Given.TIME_PASSED): Phase.LEAVING,
        (Phase.LEAVING, Given.NOTHING_LEFT): Phase.STOPPED,
        (Phase.LEAVING, Given.TIME_PASSED): Phase.STOPPED,
    }
)


class Effects(Protocol):
    """What a drain does to a node. Each method is called once, when the phase begins that it is named after.

    One that returns a Deferred is waited for, as long as its phase may last; its result does not matter.
    What one raises is logged, and the drain goes on. None of them may wait.
    """

    def grace(self, seconds: float) -> Deferred[None] | None:
        """Say to everybody that the node goes away, some now and some later, within *seconds*."""

    def closing(self, seconds: float) -> Deferred[None] | None:
        """Take who waits to be accepted, and close the listeners but that of the admin plane.

        :param seconds: what is left for that.
        """

    def finishing(self) -> Deferred[None] | None:
        """Close idle connections, and each other one when its calls are over; take no more calls."""

    def aborting(self) -> Deferred[None] | None:
        """Cancel the calls that are left, and tell their callers."""

    def releasing(self) -> Deferred[None] | None:
        """Drop the connections that are left, close the owners' pools, stop whatever else runs."""

    def leaving(self) -> Deferred[None] | None:
        """Close the admin plane, when its last answers are out."""

    def stopped(self) -> Deferred[None] | None:
        """Take note that all is over."""

    def left(self, phase: Phase) -> int:
        """Return how many calls and connections *phase* has still to wait for.

        Asked every :data:`LOOK_S` in CLOSING, FINISHING, ABORTING (calls, callers) and LEAVING (the admin's).
        """


class Drain:
    """The drain of one node. It begins once, and ends.

    Its inputs are :meth:`begin`, :meth:`hurry`, :meth:`look` and the clock; each is harmless at any time,
    from within an effect, too.

    :ivar phase: where it is.
    :ivar hurried: whether somebody asked for haste.
    """

    def __init__(
        self, clock: IReactorTime, effects: Effects, *, entered: Callable[[Phase], None] | None = None
    ) -> None:
        """:param entered: told of each phase when it begins, before its effect."""
        self.phase = Phase.SERVING
        self.hurried = False
        self._clock = clock
        self._effects = effects
        self._entered = entered
        self._begun = False
        self._seconds: dict[Phase, float] = {}
        #: When the phase is over at the latest, in the clock's seconds.
        self._until_s = 0.0
        #: When ``drain.deadline`` is over; known when the grace is.
        self._deadline_s = 0.0
        #: Whether the effect of the phase is not done yet.
        self._doing = False
        self._moving = False
        self._timer: IDelayedCall | None = None
        self._waiters: list[Deferred[None]] = []

    # Inputs

    def begin(self, grace_s: float, deadline_s: float) -> None:
        """Begin to drain. Who asks again changes nothing.

        :param grace_s: seconds from not ready to closed listeners.
        :param deadline_s: seconds from there until calls in flight are cancelled.
        """
        if not self._begun:
            self._begun = True
            self._seconds = {Phase.GRACE: grace_s, Phase.FINISHING: deadline_s}
        self.look()

    def hurry(self) -> None:
        """Wait for no calls any more; before :meth:`begin`, it is remembered."""
        self.hurried = True
        self.look()

    def look(self) -> None:
        """Go on if there is a reason to. It looks by itself, too; who knows of one need not wait for that."""
        if self._moving:
            return
        self._moving = True
        try:
            while (given := self._given()) is not None:
                self._enter(MOVES[self.phase, given], self._began_at(given))
        finally:
            self._moving = False
        self._schedule()
        # Behind that: whoever is told finds nothing of it in the reactor.
        while self._waiters and self.phase is Phase.STOPPED:
            self._waiters.pop(0).callback(None)

    # What is told

    def when_stopped(self) -> Deferred[None]:
        """Return a Deferred that fires (None) when all is over. It never fails; cancelling it is harmless."""
        if self.phase is Phase.STOPPED:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    @property
    def left_s(self) -> float:
        """How many seconds the phase may last yet."""
        if self.phase in (Phase.SERVING, Phase.STOPPED):
            return 0.0
        return max(0.0, self._until_s - self._clock.seconds())

    # The machine

    def _given(self) -> Given | None:
        """Return why the phase is over; None: it is not."""
        phase = self.phase
        if phase is Phase.SERVING:
            return Given.BEGIN if self._begun else None
        if phase is Phase.STOPPED:
            return None
        if self.hurried and (phase, Given.HURRY) in MOVES:
            return Given.HURRY
        if (phase, Given.NOTHING_LEFT) in MOVES and not self._doing and not self._left():
            return Given.NOTHING_LEFT
        return Given.TIME_PASSED if self._until_s - self._clock.seconds() <= EPSILON_S else None

    def _left(self) -> int:
        try:
            return self._effects.left(self.phase)
        except Exception:
            # Then its time decides.
            _log.failure("drain_effect", phase=self.phase.value)
            return 1

    def _began_at(self, given: Given) -> float:
        """Return when a phase begins that follows because of *given*: if by time, when that was to pass."""
        now = self._clock.seconds()
        # A clock that was looked at late must not make all of it longer, nor a phase too short for its work.
        return max(self._until_s, now - _LATE_S) if given is Given.TIME_PASSED else now

    def _enter(self, phase: Phase, began_s: float) -> None:
        self.phase = phase
        if phase is Phase.CLOSING:
            self._deadline_s = began_s + self._seconds[Phase.FINISHING]
        self._until_s = self._ends_at(phase, began_s)
        if self._entered is not None:
            try:
                self._entered(phase)
            except Exception:
                _log.failure("drain_effect", phase=phase.value)
        self._do(phase)

    def _ends_at(self, phase: Phase, began_s: float) -> float:
        if phase is Phase.GRACE:
            return began_s + self._seconds[phase]
        if phase is Phase.CLOSING:
            return min(began_s + LAST_CALL_S, self._deadline_s)
        if phase is Phase.FINISHING:
            return self._deadline_s
        return began_s + _LENGTHS.get(phase, 0.0)

    def _do(self, phase: Phase) -> None:
        """Begin what the phase is for."""
        self._doing = True
        effect = getattr(self._effects, phase.value)
        if phase in (Phase.GRACE, Phase.CLOSING):
            done = maybeDeferred(effect, 0.0 if self.hurried else self.left_s)
        else:
            done = maybeDeferred(effect)
        done.addErrback(lambda failure: _log.failure("drain_effect", failure=failure, phase=phase.value))
        done.addCallback(self._done, phase)

    def _done(self, result: object, phase: Phase) -> None:
        if self.phase is phase:
            self._doing = False
            self.look()

    def _schedule(self) -> None:
        """Look again when the phase is over, and often where it may be over before."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self.phase in (Phase.SERVING, Phase.STOPPED):
            return
        wait_s = self.left_s
        if (self.phase, Given.NOTHING_LEFT) in MOVES:
            wait_s = min(wait_s, LOOK_S)
        self._timer = self._clock.callLater(wait_s, self.look)


_LENGTHS: Final[Mapping[Phase, float]] = MappingProxyType(
    {Phase.ABORTING: ABORT_S, Phase.RELEASING: RELEASE_S, Phase.LEAVING: LEAVE_S}
)
