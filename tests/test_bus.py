"""The event bus: order, bounds, and listeners that come, lag and go."""

from __future__ import annotations

import gc

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.bus import MAX_EVENTS, Event, EventBus, ServiceCrashed, StateChanged, Subscription


def crash(number: int) -> ServiceCrashed:
    return ServiceCrashed(name=f"part-{number}", reason="it broke")


class BusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lost = 0
        self.bus = EventBus(self._lagged)

    def _lagged(self) -> None:
        self.lost += 1

    def collect(self, subscription: Subscription, into: list[Event]) -> Deferred[None]:
        async def listen() -> None:
            async for event in subscription:
                into.append(event)

        return Deferred.fromCoroutine(listen())

    def test_everybody_hears_everything_in_order(self) -> None:
        heard: tuple[list[Event], list[Event]] = ([], [])
        for each in heard:
            self.collect(self.bus.subscribe(), each)
        events = [StateChanged(state="running", previous="starting"), crash(1), crash(2)]
        for event in events:
            self.bus.publish(event)
        self.assertEqual(heard, (events, events))

    def test_who_waits_is_told_at_once(self) -> None:
        heard: list[Event] = []
        self.collect(self.bus.subscribe(), heard)
        self.bus.publish(crash(1))
        self.assertEqual(heard, [crash(1)])

    def test_what_came_before_is_not_heard(self) -> None:
        self.bus.publish(crash(1))
        subscription = self.bus.subscribe()
        self.bus.close()
        heard: list[Event] = []
        self.successResultOf(self.collect(subscription, heard))
        self.assertEqual(heard, [])

    def test_the_oldest_are_lost(self) -> None:
        subscription = self.bus.subscribe()
        for number in range(MAX_EVENTS + 3):
            self.bus.publish(crash(number))
        self.assertEqual((self.lost, subscription.lagged), (3, 3))
        self.bus.close()
        heard: list[Event] = []
        self.successResultOf(self.collect(subscription, heard))
        self.assertEqual(heard, [crash(number) for number in range(3, MAX_EVENTS + 3)])

    def test_one_that_lags_costs_the_others_nothing(self) -> None:
        slow = self.bus.subscribe()
        heard: list[Event] = []
        self.collect(self.bus.subscribe(), heard)
        for number in range(MAX_EVENTS + 1):
            self.bus.publish(crash(number))
        self.assertEqual(len(heard), MAX_EVENTS + 1)
        self.assertEqual((self.lost, slow.lagged), (1, 1))

    def test_close_ends_the_iteration(self) -> None:
        subscription = self.bus.subscribe()
        heard: list[Event] = []
        listening = self.collect(subscription, heard)
        self.assertNoResult(listening)
        subscription.close()
        subscription.close()
        self.successResultOf(listening)
        self.bus.publish(crash(1))
        self.successResultOf(self.collect(subscription, heard))
        self.assertEqual(heard, [])

    def test_a_listener_may_leave_while_it_is_told(self) -> None:
        first, second = self.bus.subscribe(), self.bus.subscribe()
        heard: list[Event] = []

        async def once() -> None:
            async for _ in first:
                first.close()
                second.close()

        leaving = Deferred.fromCoroutine(once())
        listening = self.collect(second, heard)
        self.bus.publish(crash(1))
        self.successResultOf(leaving)
        self.successResultOf(listening)

    def test_a_cancelled_wait_loses_nothing(self) -> None:
        subscription = self.bus.subscribe()
        heard: list[Event] = []
        listening = self.collect(subscription, heard)
        listening.cancel()
        self.failureResultOf(listening, CancelledError)
        self.bus.publish(crash(1))
        subscription.close()
        self.successResultOf(self.collect(subscription, heard))
        self.assertEqual(heard, [crash(1)])

    def test_who_is_cancelled_for_good_leaves_nothing(self) -> None:
        for _ in range(10):
            listening = self.collect(self.bus.subscribe(), [])
            self.bus.publish(crash(1))
            listening.cancel()
            self.failureResultOf(listening, CancelledError)
        del listening
        gc.collect()
        for number in range(MAX_EVENTS + 1):
            self.bus.publish(crash(number))
        self.assertEqual(self.lost, 0)

    def test_who_waits_is_kept_though_nobody_else_does(self) -> None:
        heard: list[Event] = []
        self.collect(self.bus.subscribe(), heard)
        for number in range(2):
            gc.collect()
            self.bus.publish(crash(number))
        self.assertEqual(heard, [crash(0), crash(1)])

    def test_one_iteration_at_a_time(self) -> None:
        subscription = self.bus.subscribe()
        self.assertNoResult(self.collect(subscription, []))
        self.failureResultOf(self.collect(subscription, []), RuntimeError)

    def test_a_closed_bus(self) -> None:
        self.bus.close()
        self.successResultOf(self.collect(self.bus.subscribe(), []))
