"""Timers of any length, of which hardly any runs out: those of calls to owners.

The reactor's own cost a busy node dear: each is an object that compares itself with others in Python. Here
they lie in a heap of tuples, which C compares, and one delayed call of the reactor does for all of them. One
that is stopped, or moved later, stays where it lies until its old time comes, or until most of the heap is
such. (Where all are as long, :mod:`micronode.concurrency.timeouts` needs no heap.)
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.concurrency.timer import EPSILON_S

#: So many that lie there for nothing are not worth a look.
_FEW: Final = 256


class Alarm:
    """One timer, from :meth:`Alarms.set` to when it rings or is stopped.

    :ivar lies_at_s: under which time it lies in the heap, in the clock's seconds.
    """

    __slots__ = ("_alarms", "_at_s", "_ring", "lies_at_s")

    def __init__(self, alarms: Alarms, at_s: float, ring: Callable[[], None]) -> None:
        self.lies_at_s = self._at_s = at_s
        self._alarms = alarms
        self._ring: Callable[[], None] | None = ring

    @property
    def is_set(self) -> bool:
        """Whether it will ring."""
        return self._ring is not None

    def move(self, seconds: float, ring: Callable[[], None] | None = None) -> bool:
        """Ring in *seconds* from now instead; False: it is not set, and will not.

        :param ring: to be called instead, if any.
        """
        if self._ring is None:
            return False
        if ring is not None:
            self._ring = ring
        self._at_s = self._alarms.clock.seconds() + seconds
        if self._at_s < self.lies_at_s:
            self._lie()
        return True

    def stop(self) -> None:
        """Do not ring. Harmless when repeated, or where it rang."""
        if self._ring is not None:
            self._ring = None
            self._alarms.stopped()

    def take_due(self, now: float) -> Callable[[], None] | None:
        """Return what is to be called now, and be set no more; None: it is not its time."""
        if self._at_s - now > EPSILON_S:
            self._lie()
            return None
        ring, self._ring = self._ring, None
        return ring

    def _lie(self) -> None:
        self.lies_at_s = self._at_s
        self._alarms.lay(self, self._at_s)


class Alarms:
    """See the module's docstring. Nothing of it is in the reactor while none is set."""

    __slots__ = ("_call", "_heap", "_laid", "_set", "_wakes_at_s", "clock")

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, Alarm]] = []
        #: How many were ever put there: no two are the same, and the first of a time is first.
        self._laid = 0
        self._set = 0
        self._call: IDelayedCall | None = None
        self._wakes_at_s = 0.0

    @property
    def running(self) -> int:
        """How many are set."""
        return self._set

    def set(self, seconds: float, ring: Callable[[], None]) -> Alarm:
        """Call *ring* in *seconds*, once."""
        at_s = self.clock.seconds() + seconds
        alarm = Alarm(self, at_s, ring)
        self._set += 1
        self.lay(alarm, at_s)
        return alarm

    # For an alarm

    def lay(self, alarm: Alarm, at_s: float) -> None:
        """Look at *alarm* at *at_s*, in the clock's seconds."""
        self._laid += 1
        heappush(self._heap, (at_s, self._laid, alarm))
        if self._call is None or at_s < self._wakes_at_s:
            self._wake()

    def stopped(self) -> None:
        """One that was set is not set any more."""
        self._set -= 1
        if not self._set:
            self._heap.clear()
            self._sleep()
        elif len(self._heap) > 2 * self._set + _FEW:
            self._heap = [each for each in self._heap if _counts(*each)]
            heapify(self._heap)

    # The delayed call

    def _wake(self) -> None:
        """Look at the first when its time comes."""
        self._sleep()
        self._wakes_at_s = at_s = self._heap[0][0]
        self._call = self.clock.callLater(max(0.0, at_s - self.clock.seconds()), self._look)

    def _sleep(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        self._call = None
        now = self.clock.seconds()
        try:
            while self._heap and self._heap[0][0] - now <= EPSILON_S:
                laid = heappop(self._heap)
                ring = laid[2].take_due(now) if _counts(*laid) else None
                if ring is not None:
                    self._set -= 1
                    # It may set and stop whatever it likes.
                    ring()
        finally:
            if not self._set:
                # One that rang before the time under which it lay, too, is all that there can be.
                self._heap.clear()
                self._sleep()
            elif self._heap and self._call is None:
                self._wake()


def _counts(at_s: float, _: int, alarm: Alarm) -> bool:
    """Whether *alarm* is to be looked at at *at_s*: it is set, and does not lie elsewhere."""
    return alarm.is_set and alarm.lies_at_s == at_s
