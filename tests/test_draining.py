"""What callers and owners see of a node that drains, in memory and on a clock."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from micronode import Config, make_node
from micronode.bus import StateChanged
from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, BodyRule, Operation
from micronode.concurrency.listening import ListenError
from micronode.concurrency.shutdown import ABORT_S, END_S, LAST_CALL_S, LOOK_S, Phase
from micronode.config.sources import Loaded
from micronode.draining import RETRY_MS
from micronode.facets.hosted import FacetSettings
from micronode.http.routes import Routes
from micronode.lifecycle import State
from micronode.node import NodeService
from micronode.oap.wire.frames import Control
from tests.facets.test_hosted import OwnFacet
from tests.facets.test_hosted import operation as own_operation
from tests.http.support import Wire, get, post, read_answers
from tests.http.test_events import read_stream
from tests.support.news import PROFILE, News
from tests.support.oap import CallerEnd, MemoryTransport, start
from tests.test_node import NodeCase

GRACE_S, DEADLINE_S = 10.0, 5.0
HTTP, ADMIN, OAP = 5310, 5311, 5312
OWN_PROFILE, NARROW_PROFILE = 0x7001, 0x7002


class Held:
    """A handler whose calls last until they are told to end.

    :ivar stubborn: whether they ignore that they are cancelled.
    """

    def __init__(self) -> None:
        self.stubborn = False
        self.cancelled = 0
        self.waiting: list[Deferred[None]] = []

    async def __call__(self, call: Call) -> Reply:
        while True:
            waits: Deferred[None] = Deferred()
            self.waiting.append(waits)
            try:
                await waits
            except CancelledError:
                self.cancelled += 1
                if not self.stubborn:
                    raise
            else:
                return Reply(head=ResponseHead(length=0))

    def release(self) -> None:
        """Answer every call."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)


def _narrow(handler: Held) -> Operation:
    """Return a write of a facet that serves one call at a time."""
    return own_operation(
        name="narrow.put",
        facet="narrow",
        method="POST",
        path="/app/narrow",
        profile=NARROW_PROFILE,
        op="put",
        access=Access.WRITE,
        body=BodyRule.STREAMED,
        max_body=100,
        handler=handler,
    )


class HttpCaller:
    """A caller over HTTP, in memory; it closes when it is told to."""

    def __init__(self, case: DrainingCase, data: bytes = b"") -> None:
        self.protocol = case.reactor.factories[HTTP].buildProtocol(None)
        # Behind a half-close it goes on taking what comes, and closes when it has to.
        self.transport: Any = MemoryTransport(case.reactor)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        if data:
            self.send(data)

    def send(self, data: bytes) -> HttpCaller:
        self.protocol.dataReceived(data)
        return self

    @property
    def answers(self) -> list[Any]:
        return read_answers(self.transport.value())

    @property
    def closing(self) -> bool:
        return bool(self.transport.closing)


class DrainingCase(NodeCase):
    """Has a node with calls that wait, ``/app/own``, and something to subscribe to."""

    def make(self, grace_s: float = GRACE_S, deadline_s: float = DEADLINE_S, **more: Any) -> NodeService:
        self.handler, self.news, self.narrow = Held(), News(), Held()
        drain = {"grace": f"{grace_s * 1000:.0f}ms", "deadline": f"{deadline_s * 1000:.0f}ms"}
        self.node_ = make_node(
            Config.from_mapping({"drain": drain, "timeouts": {"read": "60s", "body": "60s"}}),
            self.reactor,
            facets=[
                (OwnFacet("own", own_operation(handler=self.handler)), FacetSettings(timeout=3600.0)),
                (OwnFacet("narrow", _narrow(self.narrow)), FacetSettings(limit=1, queue=9, timeout=3600.0)),
                self.news,
            ],
            **more,
        )
        self.node_.startService()
        return self.node_

    def http(self, data: bytes = b"") -> HttpCaller:
        return HttpCaller(self, data)

    def oap(self) -> CallerEnd:
        protocol = self.reactor.factories[OAP].buildProtocol(None)
        end = CallerEnd(protocol, MemoryTransport(self.reactor), self.reactor)
        end.greet()
        return end

    def run_for(self, seconds: float) -> None:
        """Let time pass, in steps; sums of floats differ in their last digits."""
        until = self.reactor.seconds() + seconds + 1e-6
        while self.reactor.seconds() < until - 1e-9:
            self.reactor.advance(min(LOOK_S, until - self.reactor.seconds()))

    def readyz(self) -> int:
        return self.node_.probes.readyz()[0]

    @property
    def active(self) -> int:
        return self.node_.calls


class GraceTests(DrainingCase):
    def test_not_ready_at_once_and_still_serving(self) -> None:
        node = self.make()
        kept = self.http(get("/app/own"))
        self.handler.release()
        node.stopService()
        self.assertEqual((self.readyz(), node.state, node.drain.phase), (503, State.DRAINING, Phase.GRACE))
        new = self.http(get("/app/own"))
        kept.send(get("/app/own"))
        self.handler.release()
        self.assertEqual([each.fields.get("connection") for each in kept.answers], [None, "close"])
        self.assertEqual([each.fields.get("connection") for each in new.answers], ["close"])
        self.assertEqual([each.status for each in new.answers + kept.answers], [200] * 3)

    def test_goaways_are_spread(self) -> None:
        node = self.make()
        ends = [self.oap() for _ in range(20)]
        self.run_for(2)
        node.stopService()
        told: list[float] = []
        back: list[int] = []
        begun = self.reactor.seconds()
        while self.reactor.seconds() < begun + GRACE_S:
            self.run_for(0.1)
            for end in ends:
                frames = end.heard()
                back += [frame.json["retry_after_ms"] for frame in frames]
                self.assertTrue(all(frame.code == Control.GOAWAY for frame in frames))
                told += [self.reactor.seconds() - begun] * len(frames)
        self.run_for(LAST_CALL_S)
        told += [GRACE_S + LAST_CALL_S] * sum(len(end.heard()) for end in ends)
        self.assertEqual(len(told), 20)
        early, late = (sum(at <= part * GRACE_S for at in told) for part in (0.25, 0.75))
        self.assertTrue(2 <= early <= 8 and late >= 12, told)
        # Nor do they all come back at once.
        self.assertGreater(len(set(back)), 1)
        self.assertTrue(all(RETRY_MS / 2 <= each <= RETRY_MS * 1.5 for each in back), back)

    def test_subscriptions_end_one_after_the_other(self) -> None:
        node = self.make()
        readers = [self.http(get(News.path)) for _ in range(8)]
        node.stopService()
        counts = []
        for _ in range(int(GRACE_S)):
            self.run_for(1)
            counts.append(sum(reader.closing for reader in readers))
        self.assertTrue(1 <= counts[3] <= 6 and counts[-1] >= 7, counts)
        self.run_for(0.1)
        streams = [read_stream(reader.transport.value()) for reader in readers]
        self.assertTrue(all(stream.whole and not stream.events.events for stream in streams))
        waits = {stream.events.retry_ms for stream in streams}
        self.assertGreater(len(waits), 4, "they do not all come back at the same moment")
        self.assertEqual(self.active, 0)

    def test_a_subscription_over_oap_ends_with_its_connection(self) -> None:
        node = self.make()
        end = self.oap()
        end.send(start(1, PROFILE, "watch", {}, flags=32))
        self.assertEqual(self.active, 1)
        node.stopService()
        self.run_for(GRACE_S)
        head, goaway, error = end.heard()
        self.assertEqual((head.code, goaway.code), (200, Control.GOAWAY))
        self.assertEqual((error.corr_id, error.json["code"]), (1, "draining"))
        self.assertEqual(error.json["retry_after_ms"], goaway.json["retry_after_ms"])
        self.assertTrue(2500 <= error.json["retry_after_ms"] <= 7500)

    def test_who_subscribes_meanwhile_is_served_and_ended(self) -> None:
        node = self.make()
        node.stopService()
        self.run_for(GRACE_S / 2)
        reader = self.http(get(News.path))
        self.assertEqual(read_stream(reader.transport.value()).head.status, 200)  # type: ignore[union-attr]
        self.run_for(GRACE_S / 2)
        self.assertTrue(read_stream(reader.transport.value()).whole)


class ClosingTests(DrainingCase):
    def test_idle_connections_have_a_second(self) -> None:
        node = self.make()
        idle, late = self.http(), self.http()
        stopped = node.stopService()
        self.run_for(GRACE_S)
        self.assertEqual(self.reactor.open, {ADMIN})
        self.assertEqual((idle.closing, node.drain.phase), (False, Phase.CLOSING))
        self.run_for(LAST_CALL_S / 2)
        late.send(get("/app/own"))
        self.run_for(LAST_CALL_S / 2)
        self.assertTrue(idle.transport.half_closed)
        self.assertFalse(late.closing)
        self.handler.release()
        self.assertEqual([each.status for each in late.answers], [200])
        idle.protocol.readConnectionLost()
        self.run_for(LOOK_S)
        self.successResultOf(stopped)

    def test_calls_in_flight_finish(self) -> None:
        node = self.make()
        http, oap = self.http(get("/app/own")), self.oap()
        oap.send(start(1, OWN_PROFILE, "say", {}))
        stopped = node.stopService()
        self.run_for(GRACE_S + DEADLINE_S - 0.1)
        self.assertNoResult(stopped)
        self.assertEqual(self.active, 2)
        self.handler.release()
        self.assertEqual([each.status for each in http.answers], [200])
        self.assertEqual([(each.corr_id, each.code) for each in oap.heard()][1:], [(1, 200)])
        for protocol in (http.protocol, oap.protocol):
            protocol.readConnectionLost()
        self.run_for(LOOK_S)
        self.successResultOf(stopped)
        self.assertEqual(self.handler.cancelled, 0)

    def test_a_body_that_is_on_its_way_is_still_taken(self) -> None:
        node = self.make()
        caller = self.http(post("/app/feed/x", b"x" * 100, "Idempotency-Key: 1")[:-50])
        node.stopService()
        self.run_for(GRACE_S + LAST_CALL_S + 0.5)
        caller.send(b"x" * 50)
        self.run_for(0)
        self.assertEqual(self.active, 1, "it is asked of its owner, like any other")


class AbortTests(DrainingCase):
    def test_leftovers_are_told(self) -> None:
        node = self.make()
        waiting, half, oap = self.http(get("/app/own")), self.http(b"GET /app/o"), self.oap()
        oap.send(start(1, OWN_PROFILE, "say", {}))
        with capturedLogs() as events:
            stopped = node.stopService()
            self.run_for(GRACE_S + DEADLINE_S)
        [answer] = half.answers
        self.assertEqual((answer.status, answer.fields["connection"]), (503, "close"))
        self.assertEqual(json.loads(answer.body)["code"], "draining")
        self.assertIn("retry-after", answer.fields)
        [answer] = waiting.answers
        self.assertEqual((answer.status, answer.fields["connection"]), (504, "close"))
        told = json.loads(answer.body)
        self.assertEqual((told["code"], told["retryable"]), ("owner_timeout", True))
        self.assertIn("whether this was done is not known", told["message"])
        error = oap.heard()[-1]
        self.assertEqual((error.corr_id, error.code, error.json["code"]), (1, 504, "owner_timeout"))
        self.assertEqual(error.json["message"], told["message"])
        self.assertTrue(2500 <= error.json["retry_after_ms"] <= 7500)
        self.assertEqual((self.handler.cancelled, self.active), (2, 0))
        [event] = [event for event in events if event["log_format"] == "drain_deadline"]
        self.assertEqual((event["calls"], event["connections"]), (2, 3))
        self.run_for(ABORT_S)
        self.successResultOf(stopped)

    def test_who_waits_for_a_turn_is_told_that_nothing_was_done(self) -> None:
        """And nobody else is, through either door: what was admitted may have been done."""
        for hurries in (False, True):
            self.setUp()
            node = self.make()
            calls: list[tuple[HttpCaller, CallerEnd]] = []
            for _ in range(3):
                http, oap = self.http(post("/app/narrow", b"x")), self.oap()
                oap.send(start(1, NARROW_PROFILE, "put", {}))
                calls.append((http, oap))
            self.assertEqual((len(self.narrow.waiting), self.active), (1, 1))
            node.stopService()
            if hurries:
                node.hurry()
            self.run_for(GRACE_S + DEADLINE_S)
            over_http = [json.loads(http.answers[0].body)["code"] for http, _ in calls]
            over_oap = [oap.heard()[-1].json["code"] for _, oap in calls]
            self.assertEqual(over_http, ["owner_timeout", "draining", "draining"])
            self.assertEqual(over_oap, ["draining"] * 3)
            self.assertEqual(self.narrow.cancelled, 1, "no other came to its owner")

    def test_uploads_and_answers_on_their_way(self) -> None:
        """Over HTTP a body is whole before anything is done with it; over OAP/1 an owner may have some."""
        node = self.make()
        http = self.http(post("/app/narrow", b"x" * 50)[:-1])
        oap = self.oap()
        oap.send(start(1, NARROW_PROFILE, "put", {}, ended=False))
        self.assertEqual(self.active, 1)
        node.stopService()
        self.run_for(GRACE_S + DEADLINE_S)
        [answer] = http.answers
        self.assertEqual((answer.status, json.loads(answer.body)["code"]), (503, "draining"))
        self.assertEqual(oap.heard()[-1].json["code"], "owner_timeout")
        self.assertEqual((self.narrow.cancelled, self.active), (1, 0))

    def test_haste_tells_them_too(self) -> None:
        node = self.make()
        waiting = self.http(get("/app/own"))
        stopped = node.stopService()
        node.hurry()
        self.assertEqual([each.status for each in waiting.answers], [504])
        waiting.protocol.readConnectionLost()
        self.run_for(LOOK_S)
        self.successResultOf(stopped)

    def test_exits_in_time_whatever_is_in_the_way(self) -> None:
        """Callers that read and close nothing, calls that ignore their end, a reload that hangs."""

        class Hangs:
            """Sources that are read for ever, and do not let that be stopped."""

            async def __call__(self) -> Loaded:
                while True:
                    try:
                        await Deferred()
                    except CancelledError:
                        continue

        times = ((0.0, 0.0), (0.0, 2.0), (2.0, 0.0), (1.5, 0.5))
        for stubborn, (grace_s, deadline_s) in product((False, True), times):
            self.setUp()
            node = self.make(grace_s, deadline_s, read=Hangs())
            self.handler.stubborn = stubborn
            self.http()
            self.http(b"GET /app/o")
            self.http(get("/app/own"))
            self.http(get(News.path))
            unread = self.http(get("/app/own"))
            unread.transport.fill()
            oap = self.oap()
            oap.send(start(1, OWN_PROFILE, "say", {}), start(2, PROFILE, "watch", {}, flags=32))
            oap.transport.fill()
            reloaded = node.reload()
            stopped = node.stopService()
            self.assertEqual(self.successResultOf(reloaded).outcome, "draining")
            self.run_for(grace_s + deadline_s + END_S)
            self.successResultOf(stopped)
            self.assertEqual((node.state, self.reactor.open), (State.STOPPED, set()))
            self.assertEqual(self.active, 3 if stubborn else 0)
            if not stubborn:
                self.assertEqual(self.reactor.getDelayedCalls(), [], (grace_s, deadline_s))

    def test_an_owner_that_hangs_does_not_keep_it(self) -> None:
        node = self.make(0.0, 1.0)
        caller = self.http(get("/app/search?q=x"))
        self.reactor.tcpClients[-1][2].buildProtocol(None).makeConnection(Wire())
        self.assertEqual(self.active, 1)
        stopped = node.stopService()
        self.run_for(1.0)
        self.assertEqual([each.status for each in caller.answers], [504])
        self.run_for(END_S)
        self.successResultOf(stopped)
        self.assertEqual((self.active, self.reactor.getDelayedCalls()), (0, []))

    def test_defects_do_not_keep_it(self) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("a defect")

        for name in ("give_up", "abort_all", "last_call", "goaway"):
            self.setUp()
            node = self.make(0.0, 1.0)
            waiting = self.http(get("/app/own"))
            setattr(node._oap, name, fail)
            stopped = node.stopService()
            self.run_for(1.0 + END_S)
            self.successResultOf(stopped)
            self.assertEqual((node.state, self.reactor.open, self.active), (State.STOPPED, set(), 0))
            self.assertEqual([each.status for each in waiting.answers], [504], name)
            self.assertTrue(self.flushLoggedErrors(RuntimeError), name)

    def test_owners_pools_that_do_not_close_do_not_keep_it(self) -> None:
        node = self.make(0.0, 0.0)
        node._owners.close = Deferred  # type: ignore[method-assign]
        stopped = node.stopService()
        self.assertEqual(node.drain.phase, Phase.RELEASING)
        self.assertEqual(self.reactor.open, {ADMIN}, "the last to close")
        self.run_for(END_S)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.open, set())


class LifeTests(DrainingCase):
    def test_stop_before_the_start(self) -> None:
        node = self.node()
        self.successResultOf(node.stopService())
        self.assertEqual(node.state, State.STOPPED)
        error = self.assertRaises(RuntimeError, node.startService)
        self.assertIn("not started again", str(error))
        self.assertEqual(self.reactor.open, set())

    def test_stop_after_a_start_that_failed(self) -> None:
        self.reactor.taken.add(HTTP)
        node = self.node()
        self.assertRaises(ListenError, node.startService)
        self.successResultOf(node.stopService())
        self.assertEqual((node.state, self.reactor.getDelayedCalls()), (State.STOPPED, []))

    def test_stop_between_the_two_halves_of_a_start(self) -> None:
        node = self.node()
        node.privilegedStartService()
        self.successResultOf(node.stopService())
        self.assertEqual((node.state, self.reactor.open), (State.STOPPED, set()))

    def test_stop_by_who_hears_of_the_start(self) -> None:
        node = self.node(drain={"grace": "0s"})
        stopped: list[Deferred[None]] = []

        async def listen() -> None:
            async for event in node.bus.subscribe():
                if isinstance(event, StateChanged) and event.state == "running":
                    stopped.append(node.stopService())

        Deferred.fromCoroutine(listen())
        node.startService()
        self.reactor.advance(0)
        self.successResultOf(stopped[0])
        self.assertEqual((node.state, self.reactor.getDelayedCalls()), (State.STOPPED, []))

    def test_stopping_twice_and_again(self) -> None:
        node = self.make()
        first, second = node.stopService(), node.stopService()
        self.assertIsNot(first, second)
        first.cancel()
        self.failureResultOf(first)
        self.run_for(GRACE_S)
        self.successResultOf(second)
        self.successResultOf(node.stopService())

    def test_a_stopped_node_is_not_started_again(self) -> None:
        node = self.make(0.0)
        self.successResultOf(node.stopService())
        self.assertRaises(RuntimeError, node.privilegedStartService)

    def test_a_drain_that_is_posted(self) -> None:
        """Below its authentication, which lets nobody in yet."""
        for grace_s in (0.0, GRACE_S):
            self.setUp()
            node = self.make(grace_s)
            self.assertEqual(self.ask_to_drain().status, 401)
            self.assertEqual(node.state, State.RUNNING)
            site = node._parts.admin
            routes = [
                attrs.evolve(route, prepare=lambda request: {}) for route in site.routes._by_name.values()
            ]
            site.settings = attrs.evolve(site.settings, routes=Routes(routes))
            self.assertEqual(self.ask_to_drain().json, {"state": "draining"})
            self.assertEqual((node.state, self.readyz()), (State.DRAINING, 503))
            self.run_for(grace_s + END_S)
            self.assertEqual(node.state, State.STOPPED)

    def ask_to_drain(self) -> Any:
        protocol, transport = self.connect(ADMIN)
        protocol.dataReceived(post("/api/v1/drain", b""))
        [answer] = read_answers(transport.value())
        protocol.connectionLost(Failure(ConnectionDone()))
        return answer

    def test_phases_are_told(self) -> None:
        node = self.make()
        self.http(get("/app/own"))
        self.assertIsNone(node.status.as_dict()["drain"])
        with capturedLogs() as events:
            node.stopService()
            self.run_for(1)
            self.assertEqual(node.status.as_dict()["drain"], {"phase": "grace", "left_s": 9.0})
            self.run_for(GRACE_S + DEADLINE_S + END_S)
        phases = [
            (event["phase"], event["calls"], event["connections"])
            for event in events
            if event["log_format"] == "drain_phase"
        ]
        self.assertEqual(
            [phase for phase, *_ in phases], ["closing", "finishing", "aborting", "releasing", "leaving"]
        )
        self.assertEqual(phases[0][1:], (1, 1))
