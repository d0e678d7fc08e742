"""Watching an owner, on a clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.adapters.health import INTERVAL_S, OwnerHealth
from micronode.bus import Event, EventBus, HealthChanged, Subscription
from micronode.interfaces import IReadinessCheck
from tests.contracts.readiness import ReadinessContract


class StubOwner:
    """An owner client of which only probe() is asked; it answers what the test says, or waits."""

    name = "index"

    def __init__(self) -> None:
        self.state: str | None = "ok"
        self.defect: Exception | None = None
        self.asked: list[bytes] = []
        self.waiting: Deferred[str] = Deferred()
        self.cancelled = 0

    def probe(self, path: bytes) -> Deferred[str]:
        self.asked.append(path)
        if self.defect is not None:
            raise self.defect
        if self.state is not None:
            return succeed(self.state)
        self.waiting = Deferred(self._cancel)
        return self.waiting

    def _cancel(self, _: Deferred[str]) -> None:
        self.cancelled += 1


async def heard(told: Subscription) -> list[Event]:
    """Return all events of a subscription that has ended."""
    return [event async for event in told]


class OwnerHealthTests(SynchronousTestCase):
    """OwnerHealth."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = StubOwner()
        self.bus = EventBus()
        self.told = self.bus.subscribe()
        self.crashed: list[tuple[str, str]] = []
        self.health = OwnerHealth(
            self.owner,  # type: ignore[arg-type]
            self.clock,
            self.bus,
            lambda *crash: self.crashed.append(crash),
        )
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def logged(self) -> list[tuple[Any, str, str]]:
        return [
            (event["log_level"], event["owner"], event["reason"])
            for event in self.events
            if event.get("log_format") == "owner_changed"
        ]

    def test_interface(self) -> None:
        verifyObject(IReadinessCheck, self.health)
        self.assertEqual(self.health.name, "index")

    def test_before_the_start(self) -> None:
        self.assertEqual(self.health.state(), "starting")
        self.assertEqual((self.owner.asked, self.clock.getDelayedCalls()), ([], []))

    def test_asks_at_once_and_again(self) -> None:
        self.health.startService()
        self.assertEqual(self.owner.asked, [b"/readyz"])
        self.assertEqual(self.health.state(), "ok")
        self.clock.advance(INTERVAL_S)
        self.clock.advance(INTERVAL_S)
        self.assertEqual(len(self.owner.asked), 3)

    def test_changes(self) -> None:
        """Only a change is news, and a first "ok" is none."""
        self.health.startService()
        self.clock.advance(INTERVAL_S)
        self.assertEqual(self.logged(), [])
        self.owner.state = "down"
        self.clock.advance(INTERVAL_S)
        self.assertEqual(self.health.state(), "down")
        self.clock.advance(INTERVAL_S)
        self.assertEqual(self.logged(), [(LogLevel.warn, "index", "down")])
        self.owner.state = "ok"
        self.clock.advance(INTERVAL_S)
        self.assertEqual(self.health.state(), "ok")
        self.assertEqual(self.logged()[1:], [(LogLevel.info, "index", "ok")])

    def test_down_from_the_start(self) -> None:
        self.owner.state = "down"
        self.health.startService()
        self.assertEqual(self.health.state(), "down")
        self.assertEqual(self.logged(), [(LogLevel.warn, "index", "down")])

    def test_one_question_at_a_time(self) -> None:
        self.owner.state = None
        self.health.startService()
        self.clock.pump([INTERVAL_S] * 5)
        self.assertEqual(len(self.owner.asked), 1)
        self.assertEqual(self.health.state(), "starting")
        self.owner.waiting.callback(True)
        self.clock.advance(INTERVAL_S)
        self.assertEqual(len(self.owner.asked), 2)

    def test_stop(self) -> None:
        self.health.startService()
        self.health.stopService()
        self.clock.advance(10 * INTERVAL_S)
        self.assertEqual(len(self.owner.asked), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_while_asking(self) -> None:
        """The question is taken back, and its end is neither news nor an unhandled error."""
        self.health.startService()
        self.owner.state = None
        self.clock.advance(INTERVAL_S)
        self.health.stopService()
        self.assertEqual(self.owner.cancelled, 1)
        self.assertEqual(self.health.state(), "ok")
        self.assertEqual(self.logged(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stopped_unstarted(self) -> None:
        self.health.stopService()
        self.assertEqual(self.owner.asked, [])

    def test_started_again(self) -> None:
        self.owner.state = None
        self.health.startService()
        self.health.stopService()
        self.owner.state = "ok"
        self.health.startService()
        self.assertEqual(self.health.state(), "ok")

    def test_a_probe_with_a_defect(self) -> None:
        """probe() never fails; should it do so, the owner counts as down and is asked again."""
        self.owner.state = None
        self.health.startService()
        self.owner.waiting.errback(ZeroDivisionError())
        self.assertEqual(self.health.state(), "down")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(INTERVAL_S)
        self.assertEqual(len(self.owner.asked), 2)

    def test_a_watch_with_a_defect(self) -> None:
        """It is told by name, the owner does not look well meanwhile, and it is asked again."""
        self.owner.defect = ZeroDivisionError()
        self.health.startService()
        self.assertEqual(self.health.state(), "down")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(
            [event["part"] for event in self.events if event.get("log_failure")], ["health of index"]
        )
        self.assertEqual([name for name, _ in self.crashed], ["health of index"])
        self.owner.defect = None
        self.clock.advance(INTERVAL_S)
        self.assertEqual(self.health.state(), "ok")

    def test_the_bus_is_told_of_each_change(self) -> None:
        self.health.startService()
        self.clock.advance(INTERVAL_S)
        self.owner.state = "down"
        self.clock.advance(INTERVAL_S)
        self.bus.close()
        told = self.successResultOf(Deferred.fromCoroutine(heard(self.told)))
        self.assertEqual(
            told,
            [
                HealthChanged(name="index", state="ok", previous="starting"),
                HealthChanged(name="index", state="down", previous="ok"),
            ],
        )


class ContractTests(ReadinessContract, SynchronousTestCase):
    def make_check(self, name: str) -> OwnerHealth:
        self.owner, self.clock = StubOwner(), Clock()
        self.owner.name = name
        health = OwnerHealth(self.owner, self.clock)  # type: ignore[arg-type]
        health.startService()
        return health

    def find(self, state: str) -> None:
        self.owner.state = state
        self.clock.advance(INTERVAL_S)
