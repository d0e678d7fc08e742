"""All orders of every world hold; and each defect that is put into the real objects is found.

``python -m tests.interleavings`` does the same without a test, and lets a schedule that broke happen again.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import Call
from micronode.calls.dispatcher import Dispatcher
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.shutdown import Drain, Phase
from micronode.concurrency.timeouts import Timeouts
from micronode.config.reloader import Reloader
from micronode.errors import NodeError
from micronode.http.site import HttpSite
from micronode.interfaces import IResponseSink
from tests.interleavings import calls, doors, reloads
from tests.interleavings.explorer import BrokenError, explore, replay
from tests.interleavings.worlds import WORLDS

#: How many orders there are of all worlds together, at least.
LEAST = 100_000


class HoldsTests(SynchronousTestCase):
    """Every order of every world."""

    def explore(self, name: str) -> None:
        world = WORLDS[name]
        # Where coverage is measured, it learns nothing from the ten thousandth order, and doubles the time.
        trace = sys.gettrace()
        sys.settrace(None)
        try:
            count = explore(world.make, name=name)
        finally:
            sys.settrace(trace)
        print(f"{name}: {count} schedules", end=" ")
        self.assertGreaterEqual(count, world.least)

    def test_there_are_enough(self) -> None:
        self.assertGreaterEqual(sum(world.least for world in WORLDS.values()), LEAST)


def _add(name: str) -> None:
    def test(self: HoldsTests) -> None:
        self.explore(name)

    setattr(HoldsTests, f"test_{name.replace('-', '_')}", test)


for _name in WORLDS:
    _add(_name)


# Defects


class TwiceReleased(Gate):
    """Gives two permits back for one, where there are two."""

    __slots__ = ()

    def release(self, held_s: float | None = None) -> None:
        self.in_use = max(0, self.in_use - 2)


class LostWhenShrunk(Gate):
    """Gives none back while more are out than there are: a shrunk limit."""

    __slots__ = ()

    def release(self, held_s: float | None = None) -> None:
        if self.in_use <= self.limit:
            super().release()


class ForgetsWhenItGrows(Gate):
    """Lets nobody in who waits when there are more permits."""

    __slots__ = ()

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit


class LastFirst(Gate):
    """Lets in who came last."""

    __slots__ = ()

    def wait(self) -> Deferred[None]:
        waiter = super().wait()
        if waiter in self._waiters:
            self._waiters.move_to_end(waiter, last=False)
        return waiter


class NeverRefusing(Dispatcher):
    """Forgets that the node drains."""

    def drain(self) -> None:
        super().drain()
        self._refusals.draining = False


class DoneTooEarly(Dispatcher):
    """Says that a call is over when its caller leaves, and not when its owner is let go of."""

    def dispatch(self, call: Call, sink: IResponseSink) -> Deferred[None]:
        running = super().dispatch(call, sink)

        def leave(told: Deferred[None]) -> None:
            running.cancel()
            over(None)

        def over(_: None) -> None:
            if not told.called:
                told.callback(None)

        told: Deferred[None] = Deferred(leave)
        running.addCallback(over)
        return told


class KeepsTimer(Timeouts):
    """Leaves its delayed call in the reactor."""

    __slots__ = ()

    def remove(self, late: Callable[[], None]) -> None:
        self._ends.pop(late, None)


class KeepingTimers(Dispatcher):
    """Has such timeouts."""

    def _adopt(self, serving: Any) -> None:
        super()._adopt(serving)
        self._timeouts = {length: KeepsTimer(self._clock, length) for length in self._timeouts}


class ForgetsACall(Drain):
    """Cancels nobody when its deadline is over."""

    def _do(self, phase: Phase) -> None:
        if phase is not Phase.ABORTING:
            super()._do(phase)
        else:
            self._doing = False


class Stuck(Drain):
    """Does not look again after haste was made in the grace."""

    def hurry(self) -> None:
        in_grace = self.phase is Phase.GRACE
        super().hurry()
        if in_grace and self._timer is not None:
            self._timer.cancel()


class TellsThatNothingWasDone(HttpSite):
    """Tells everybody the same when the deadline of a drain is over."""

    def give_up(self, error: NodeError, cut: NodeError) -> None:
        super().give_up(error, error)


class ForgetsWhoWaits(Dispatcher):
    """Leaves those that wait for their turn to the doors."""

    def drain(self) -> None:
        queued, self._queued = self._queued, {}
        super().drain()
        self._queued = queued


class TellsNobody(Reloader):
    """Forgets who waits for a reload that a drain ended."""

    def stop(self) -> None:
        self._next = None
        super().stop()


class DefectTests(SynchronousTestCase):
    """An explorer that finds nothing might not look."""

    def tearDown(self) -> None:
        # Calls that never ended end now, in nobody's world.
        gc.collect()
        self.flushLoggedErrors()

    def find(self, make: Callable[[], Any], said: str) -> BrokenError:
        error = self.assertRaises(BrokenError, explore, make, most=50_000)
        self.assertIn(said, str(error))
        # The same again, from what was printed.
        again = self.assertRaises(BrokenError, replay, make, error.schedule)
        self.assertEqual(again.schedule, error.schedule)
        return error

    def with_gate(self, gate: Callable[[int], Gate]) -> Callable[[], calls.Calls]:
        return calls.make(callers=2, limit=2, limits=(1,), ends=("answer", "leave"), gate=gate)

    def test_a_permit_that_is_released_twice(self) -> None:
        self.find(self.with_gate(TwiceReleased), "permits are out")

    def test_a_permit_that_a_smaller_limit_loses(self) -> None:
        error = self.find(self.with_gate(LostWhenShrunk), "permits are out")
        self.assertIn("reload to 1", error.schedule)

    def test_a_waiter_that_is_forgotten(self) -> None:
        make = calls.make(callers=2, limit=1, queue=1, limits=(2,), gate=ForgetsWhenItGrows)
        error = self.find(make, "1 wait although there are permits")
        self.assertIn("reload to 2", error.schedule)

    def test_a_queue_that_is_none(self) -> None:
        self.find(calls.make(callers=3, limit=1, queue=2, gate=LastFirst), "is admitted before")

    def test_a_dispatcher_that_does_not_refuse(self) -> None:
        self.find(
            calls.make(callers=2, slow=1, limit=2, dispatcher=NeverRefusing),
            "admitted although the node drains",
        )

    def test_a_call_that_is_over_too_early(self) -> None:
        # With an owner that lets go at once there is no difference.
        make = calls.make(callers=1, slow=1, dispatcher=DoneTooEarly)
        self.find(make, "permits are out")

    def test_a_timer_that_is_left(self) -> None:
        self.find(calls.make(callers=1, dispatcher=KeepingTimers), "left in the reactor")

    def test_a_drain_that_forgets_a_call(self) -> None:
        self.find(calls.make(callers=1, drain=ForgetsACall, timeout_s=9.0), "not over when all is")

    def test_a_drain_that_gets_stuck(self) -> None:
        error = self.find(calls.make(callers=1, slow=1, hurries=True, drain=Stuck), "the drain")
        self.assertIn("hurry", error.schedule)

    def test_a_reload_that_nobody_hears_of(self) -> None:
        self.find(reloads.make(callers=1, reloads=2, reloader=TellsNobody), "were told")

    def test_a_call_that_was_with_its_owner_and_is_told_that_nothing_was_done(self) -> None:
        make = doors.make(http=1, oap=0, timeout_s=9.0, site=TellsThatNothingWasDone)
        self.find(make, "told draining: that nothing was done")

    def test_a_call_that_never_was_and_is_told_that_it_may_have_been_done(self) -> None:
        make = calls.make(callers=2, slow=2, queue=1, timeout_s=9.0, dispatcher=ForgetsWhoWaits)
        self.find(make, "never was with its owner")

    def test_a_drain_that_cuts_callers_off_at_the_door(self) -> None:
        self.find(doors.make(http=1, oap=0, drain=ForgetsACall, timeout_s=9.0), "not over when all is")
