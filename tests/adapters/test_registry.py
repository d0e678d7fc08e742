"""Owners that come, change and go while they are called."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.endpoints import Health
from micronode.adapters.health import INTERVAL_S
from micronode.adapters.registry import Owners
from micronode.bus import EventBus, HealthChanged
from micronode.config.schema import Owner, Timeouts
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerReply
from tests.support.measures import make_metrics
from tests.support.network import MemoryNetwork, OwnerEnd, response

ONE = "http://10.0.0.1:1"
TWO = "http://10.0.0.2:2"


class OwnersCase(SynchronousTestCase):
    """A registry on a network in memory; unstarted, so that no health check is in the way."""

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.bus = EventBus()
        self.told = self.bus.subscribe()
        self.owners = Owners(self.network.reactor, make_metrics(), self.bus)

    def take(self, *, timeouts: Timeouts | None = None, **owners: Any) -> None:
        """Let these owners be in force, each a URL or the fields of an Owner."""
        given = {
            name: Owner(**(fields if isinstance(fields, dict) else {"url": (fields,)}))
            for name, fields in owners.items()
        }
        self.owners.commit(self.owners.prepare(given, timeouts or Timeouts()))()

    def call(self, name: str = "index") -> Deferred[IOwnerReply]:
        return self.owners.clients[name].call(b"GET", b"/")

    def answer(self, end: OwnerEnd, called: Deferred[IOwnerReply], body: bytes = b"{}") -> None:
        end.send(response(body))
        self.assertEqual(self.successResultOf(self.successResultOf(called).read(100)), body)

    def assert_unavailable(self, called: Deferred[IOwnerReply]) -> None:
        self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.OWNER_UNAVAILABLE)


class ChangeTests(OwnersCase):
    """An owner that changes."""

    def test_a_client_stays_and_so_does_its_connection(self) -> None:
        self.take(index=ONE)
        client = self.owners.clients["index"]
        called = self.call()
        self.answer(self.network.accept(), called)
        self.take(index={"url": (ONE,), "timeout": 1.0, "concurrency": 3})
        self.assertIs(self.owners.clients["index"], client)
        called = self.call()
        self.assertEqual(self.network.connects, 1, "the kept connection is used again")
        self.network.reactor.advance(1.0)
        self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.OWNER_TIMEOUT)

    def test_where_it_is_asked_how_it_is(self) -> None:
        def take(**health: str) -> None:
            self.owners.commit(self.owners.prepare({"index": Owner(url=(ONE,))}, Timeouts(), health=health))()

        self.owners.startService()
        self.addCleanup(self.owners.stopService)
        take(index="/up")
        end = self.network.accept()
        self.assertIn(b"GET /up HTTP/1.1\r\n", end.heard())
        end.send(response(b"", status="503 No"))
        self.network.settle()
        (endpoint,) = self.owners.clients["index"].settings.endpoints
        self.assertEqual((endpoint.health, self.owners.clients["index"].healthy), (Health.DOWN, 0))
        # Nobody asks any more: nobody knows, and its calls are all there is to go by.
        take(index="")
        self.assertEqual((endpoint.health, self.owners.clients["index"].healthy), (Health.UNKNOWN, 1))
        self.assertEqual(self.owners.health, {})
        before = self.network.connects
        self.network.reactor.advance(INTERVAL_S * 2)
        self.assertEqual(self.network.connects, before)
        take()
        self.assertIn(b"GET /readyz HTTP/1.1\r\n", self.network.accept().heard())

    def test_nothing_changes_before_the_commit(self) -> None:
        self.take(index=ONE)
        before = self.owners.clients["index"].settings
        self.owners.prepare({"index": Owner(url=(TWO,)), "storage": Owner(url=(TWO,))}, Timeouts())
        self.assertIs(self.owners.clients["index"].settings, before)
        self.assertEqual(list(self.owners.clients), ["index"])
        self.assertEqual(self.network.connects, 0)

    def test_a_url_is_added(self) -> None:
        self.take(index=ONE)
        first = self.owners.clients["index"].settings.agents
        self.take(index={"url": (ONE, TWO)})
        self.assertEqual(self.owners.clients["index"].settings.agents[:1], first)
        asked = set()
        for _ in range(2):
            self.call()
            asked.add(self.network.destination())
        self.assertEqual(asked, {("10.0.0.1", 1), ("10.0.0.2", 2)})

    def test_what_is_known_of_an_endpoint_stays_with_its_url(self) -> None:
        self.take(index={"url": (ONE, TWO)})
        one, two = self.owners.clients["index"].settings.endpoints
        one.health = Health.DOWN
        two.rest(5.0)
        called = self.call()
        self.take(index={"url": ("http://10.0.0.3:3", TWO, ONE), "concurrency": 7})
        three, *others = self.owners.clients["index"].settings.endpoints
        self.assertEqual(others, [two, one])
        self.assertEqual((three.health, three.in_flight), (Health.UNKNOWN, 0))
        self.assertEqual((one.health, two.rest_s, one.in_flight + two.in_flight), (Health.DOWN, 5.0, 1))
        called.cancel()
        self.failureResultOf(called)
        self.assertEqual(one.in_flight + two.in_flight, 0)

    def test_a_url_that_is_named_twice_is_one_endpoint(self) -> None:
        for _ in range(2):
            self.take(index={"url": (ONE, TWO, ONE)})
            self.assertEqual(len(self.owners.clients["index"].settings.endpoints), 2)

    def test_one_endpoint_is_let_in_again_where_the_good_one_goes(self) -> None:
        self.take(index={"url": (ONE, TWO)})
        one, two = self.owners.clients["index"].settings.endpoints
        for _ in range(5):
            one.judge(one.enter(), False, (one, two))
        self.assertTrue(one.outlier.ejected)
        self.take(index=ONE)
        self.assertFalse(one.outlier.ejected)

    def test_the_breaker_shows_what_is_there_now(self) -> None:
        self.take(index=ONE)
        client = self.owners.clients["index"]
        (one,) = client.settings.endpoints
        for _ in range(10):
            client.judge(one, one.enter(), False)
        shown = client.metrics.owner_breaker_open("index")
        self.assertEqual(shown.value, 1)
        self.take(index={"url": (ONE,), "concurrency": 3})
        self.assertEqual(shown.value, 1)
        self.take(index={"url": (ONE, TWO)})
        self.assertEqual(shown.value, 0)
        self.take(index=ONE)
        self.assertEqual(shown.value, 1)
        self.assert_unavailable(self.call())

    def test_the_breaker_of_one_that_is_no_more_is_not_shown_as_open(self) -> None:
        self.take(index=ONE)
        client = self.owners.clients["index"]
        (one,) = client.settings.endpoints
        for _ in range(10):
            client.judge(one, one.enter(), False)
        shown = client.metrics.owner_breaker_open("index")
        self.assertEqual(shown.value, 1)
        self.take()
        self.assertEqual(shown.value, 0)

    def test_breakers_without_a_series_of_their_own_are_counted_together(self) -> None:
        self.take(one={"url": (ONE,)}, two={"url": (TWO,)}, three={"url": (ONE,)})
        clients = self.owners.clients
        metrics = clients["one"].metrics
        for number in range(400):
            metrics.rejected(f"filler {number}")
        for name in ("one", "two"):
            (end,) = clients[name].settings.endpoints
            for _ in range(10):
                clients[name].judge(end, end.enter(), False)
        shown = metrics.owner_breaker_open("other")
        self.assertIs(metrics.owner_breaker_open("one"), shown)
        self.assertEqual(shown.value, 2)
        self.take(two={"url": (TWO,)}, three={"url": (ONE,)})
        self.assertEqual(shown.value, 1)

    def test_a_url_is_removed_with_a_call_in_flight(self) -> None:
        self.take(index=ONE)
        idle, busy = self.call(), self.call()
        ends = [self.network.accept(), self.network.accept()]
        self.answer(ends[0], idle)
        self.take(index=TWO)
        self.assertTrue(ends[0].closed, "an idle connection closes at once")
        self.assertFalse(ends[1].closed)
        called = self.call()
        self.assertEqual(self.network.destination(), ("10.0.0.2", 2))
        self.answer(self.network.accept(), called)
        self.answer(ends[1], busy)
        self.network.settle()
        self.assertTrue(ends[1].closed, "a busy one after its call")

    def test_a_call_that_has_yet_to_connect_keeps_the_agents_it_began_with(self) -> None:
        self.take(index={"url": (ONE, TWO)})
        called = self.call()
        first = self.network.destination()
        self.take(index="http://10.0.0.3:3")
        self.network.refuse()
        self.assertEqual({first, self.network.destination()}, {("10.0.0.1", 1), ("10.0.0.2", 2)})
        end = self.network.accept()
        self.answer(end, called)
        self.network.settle()
        self.assertTrue(end.closed)

    def test_a_url_that_comes_back(self) -> None:
        """Its old connections are on their way out; it gets new ones, and keeps these."""
        self.take(index=ONE)
        self.take(index=TWO)
        self.take(index=ONE)
        for _ in range(2):
            called = self.call()
            self.answer(self.network.serve(), called)
        self.assertEqual(self.network.connects, 1)

    def test_concurrency_shrinks_below_what_is_out(self) -> None:
        self.take(index=ONE)
        calls = [self.call() for _ in range(2)]
        ends = [self.network.accept() for _ in range(2)]
        self.take(index={"url": (ONE,), "concurrency": 1})
        self.assert_unavailable(self.call())
        self.answer(ends[0], calls[0])
        self.assert_unavailable(self.call())
        self.answer(ends[1], calls[1])
        self.assertNoResult(self.call())

    def test_as_many_idle_connections_are_kept_as_there_may_be_calls(self) -> None:
        self.take(index={"url": (ONE,), "concurrency": 1})
        for concurrency, kept in ((3, 3), (2, 2)):
            self.take(index={"url": (ONE,), "concurrency": 3})
            calls = [self.call() for _ in range(3)]
            self.network.settle()
            while len(self.network.accepted) < self.network.connects:
                self.network.accept()
            self.take(index={"url": (ONE,), "concurrency": concurrency})
            asked = [end for end in self.network.accepted if not end.lost and end.heard()]
            for end in asked:
                end.send(response(b"{}"))
            for called in calls:
                self.assertEqual(self.successResultOf(self.successResultOf(called).read(100)), b"{}")
            self.network.settle()
            self.assertEqual(sum(not end.lost for end in self.network.accepted), kept)

    def test_timeouts_of_callers_and_owners(self) -> None:
        self.take(index=ONE)
        self.take(index=ONE, timeouts=Timeouts(idle=7.0, stall=3.0))
        settings = self.owners.clients["index"].settings
        self.assertEqual((settings.idle_s, settings.stall_s), (7.0, 3.0))


class ComeAndGoTests(OwnersCase):
    """Owners as a whole."""

    def setUp(self) -> None:
        super().setUp()
        self.owners.startService()

    def probed(self) -> OwnerEnd:
        """Answer the health check that waits."""
        end = self.network.accept()
        end.send(response(b""))
        self.network.settle()
        return end

    def told_of(self) -> list[Any]:
        self.bus.close()

        async def heard() -> list[Any]:
            return [event async for event in self.told]

        return self.successResultOf(Deferred.fromCoroutine(heard()))

    def test_one_appears(self) -> None:
        self.take(index=ONE)
        self.probed()
        self.take(index=ONE, mailbox=TWO)
        self.assertEqual(self.network.destination(), ("10.0.0.2", 2), "its health is asked at once")
        self.probed()
        states = {name: health.state() for name, health in self.owners.health.items()}
        self.assertEqual(states, {"index": "ok", "mailbox": "ok"})

    def test_one_vanishes_with_a_call_in_flight(self) -> None:
        self.take(index=ONE, mailbox=TWO)
        self.probed()
        self.probed()
        client = self.owners.clients["mailbox"]
        called = self.call("mailbox")
        end = self.network.accept()
        self.take(index=ONE)
        self.assertEqual((list(self.owners.clients), list(self.owners.health)), (["index"], ["index"]))
        self.assertFalse(end.closed)
        tried = self.network.connects
        self.network.reactor.advance(INTERVAL_S)
        self.assertEqual(self.network.connects, tried + 1, "only the other one is asked for its health")
        self.answer(end, called)
        self.network.settle()
        self.assertTrue(end.closed)
        self.assertEqual(client.inflight, 0)
        self.assertEqual(self.told_of()[-1], HealthChanged(name="mailbox", state="disabled", previous="ok"))

    def test_one_comes_back_while_calls_of_before_are_under_way(self) -> None:
        """One count of them, not two."""
        self.take(mailbox={"url": (ONE,), "concurrency": 1})
        self.probed()
        called = self.call("mailbox")
        end = self.network.accept()
        self.take()
        self.take(mailbox={"url": (ONE,), "concurrency": 1})
        self.assert_unavailable(self.call("mailbox"))
        self.answer(end, called)
        self.assertNoResult(self.call("mailbox"))

    def test_one_that_comes_back_keeps_connections_again(self) -> None:
        self.take(index=ONE)
        self.probed()
        self.take()
        self.network.reactor.advance(INTERVAL_S)
        self.take(index=ONE)
        self.probed()
        tried = self.network.connects
        for _ in range(2):
            called = self.call()
            self.answer(self.network.serve(), called)
        self.assertEqual(self.network.connects, tried + 1)

    def test_the_node_stops_while_one_is_going(self) -> None:
        self.take(index=ONE)
        self.probed()
        self.answer_one()
        self.take()
        closed = self.owners.close()
        self.assertNoResult(closed)
        self.network.reactor.advance(1.0)
        self.successResultOf(closed)
        self.owners.stopService()
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def answer_one(self) -> None:
        called = self.call()
        self.answer(self.network.accept(), called)
