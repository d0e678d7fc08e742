"""micronode.adapters.ownercall: what is tried again and what never, and what is learnt of endpoints by it."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TCPTimedOutError
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.breaker import BreakerState
from micronode.adapters.endpoints import Health
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerReply
from tests.adapters.test_owner import SpyBody
from tests.support.clients import make_client
from tests.support.measures import make_metrics, sample
from tests.support.network import MemoryNetwork, OwnerEnd, response

ONE, TWO, THREE = "http://10.0.0.1:1", "http://10.0.0.2:2", "http://10.0.0.3:3"
#: Longer than any pause before another try.
PAUSE_S = 0.2
BUSY = "503 Service Unavailable"


class OwnerCallCase(SynchronousTestCase):
    urls: tuple[str, ...] = (ONE,)

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.metrics = make_metrics()
        self.client = self.make()

    def make(self, **changes: Any) -> Any:
        changes = {"concurrency": 100, **changes}
        return make_client(self.network, *self.urls, metrics=self.metrics, **changes)

    def tearDown(self) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])

    def get(self, **more: Any) -> Deferred[IOwnerReply]:
        return self.client.call(b"GET", b"/x", **more)

    def post(self, **more: Any) -> Deferred[IOwnerReply]:
        return self.client.call(b"POST", b"/x", **more)

    def pause(self) -> None:
        self.network.reactor.advance(PAUSE_S)

    def answered(self, end: OwnerEnd, called: Deferred[IOwnerReply]) -> None:
        end.send(response(b"fine"))
        reply = self.successResultOf(called)
        self.assertEqual((reply.status, self.successResultOf(reply.read(10))), (200, b"fine"))
        self.all_is_over()

    def refused(self, called: Deferred[Any], code: ErrorCode) -> NodeError:
        error = self.failureResultOf(called, NodeError).value
        self.assertIs(error.code, code)
        self.all_is_over()
        return error

    def all_is_over(self) -> None:
        self.network.settle()
        self.assertEqual(self.client.inflight, 0)
        self.assertEqual([each.in_flight for each in self.client.settings.endpoints], [0] * len(self.urls))

    def retries(self) -> float:
        return sample(self.metrics, "owner_retries_total", owner="index")

    def outcomes(self, outcome: str) -> float:
        return sample(self.metrics, "owner_requests_total", owner="index", outcome=outcome)

    def breaker_open(self) -> float:
        return sample(self.metrics, "owner_breaker_open", owner="index")


class RepeatableTests(OwnerCallCase):
    """What is sent again."""

    def test_a_connection_that_was_closed_unanswered(self) -> None:
        called = self.get()
        first = self.network.accept()
        first.hang_up(cleanly=False)
        self.assertNoResult(called)
        self.assertEqual(self.network.connects, 1, "not before the pause")
        self.assertEqual(self.client.inflight, 1, "the permit stays")
        self.pause()
        second = self.network.accept()
        self.assertEqual(first.heard(), second.heard().replace(b"4800", b"5000").replace(b"4799", b"5000"))
        self.answered(second, called)
        self.assertEqual((self.retries(), self.outcomes("ok")), (1, 1))
        self.assertEqual(self.outcomes("bad_gateway"), 0)

    def test_bytes(self) -> None:
        """They are sent again whole, and the owner's timeout runs from the beginning."""
        called = self.post(body=b"abc", idempotent=True)
        first = self.network.accept()
        self.assertIn(b"Content-Length: 3\r\n", first.heard())
        first.hang_up(cleanly=False)
        self.pause()
        second = self.network.accept()
        self.assertTrue(second.heard().endswith(b"\r\n\r\nabc"))
        self.answered(second, called)
        called = self.post(body=b"abc", idempotent=True)
        self.network.reactor.advance(5.0)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)

    def test_at_most_twice(self) -> None:
        called = self.get()
        for _ in range(3):
            self.network.accept().hang_up()
            self.pause()
        self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(self.network.connects, 3)
        self.assertEqual((self.retries(), self.outcomes("bad_gateway")), (2, 1))

    def test_no_connection(self) -> None:
        called = self.get()
        self.network.refuse()
        self.pause()
        self.answered(self.network.accept(), called)

    def test_no_connection_in_time(self) -> None:
        called = self.get()
        for _ in range(3):
            self.network.refuse(TCPTimedOutError())
            self.pause()
        self.refused(called, ErrorCode.OWNER_TIMEOUT)

    def test_no_answer_in_time_and_no_other_endpoint(self) -> None:
        called = self.get(deadline_s=12.0)
        end = self.network.accept()
        self.network.reactor.advance(5.0)
        self.assertTrue(end.aborted)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        self.assertEqual((self.network.connects, self.retries()), (1, 0))

    def test_no_answer_in_time_and_no_time_left(self) -> None:
        called = self.get()
        self.network.accept()
        self.network.reactor.advance(5.0)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        self.assertEqual((self.network.connects, self.retries()), (1, 0))

    def test_refusals_of_the_moment(self) -> None:
        for status in ("502 Bad Gateway", BUSY, "504 Gateway Timeout"):
            self.setUp()
            called = self.get()
            end = self.network.accept()
            end.send(response(b"no", status=status))
            self.assertNoResult(called)
            self.pause()
            self.assertEqual(self.network.connects, 1, "the kept connection is used again")
            self.answered(end, called)
            self.assertEqual((self.outcomes("ok"), self.outcomes("server_error")), (1, 0))

    def test_the_last_refusal_is_the_answer(self) -> None:
        called = self.get()
        end = self.network.accept()
        for _ in range(3):
            end.send(response(b"no", status=BUSY))
            self.pause()
        reply = self.successResultOf(called)
        self.assertEqual((reply.status, self.successResultOf(reply.read(10))), (503, b"no"))
        self.all_is_over()
        self.assertEqual(self.outcomes("server_error"), 1)

    def test_a_refusal_whose_body_does_not_end(self) -> None:
        called = self.get()
        end = self.network.accept()
        end.send(response(b"", status=BUSY, length=100))
        self.assertFalse(end.closed)
        self.pause()
        self.assertTrue(end.aborted)
        self.answered(self.network.accept(), called)

    def test_a_refusal_of_head_has_no_body(self) -> None:
        called = self.client.call(b"HEAD", b"/x")
        end = self.network.accept()
        end.send(response(b"", status=BUSY, length=5))
        self.pause()
        end.send(response(b"", length=7))
        self.assertEqual(self.successResultOf(called).length, 7)
        self.all_is_over()

    def test_one_that_says_so(self) -> None:
        called = self.post(idempotent=True)
        self.network.accept().hang_up()
        self.pause()
        self.answered(self.network.accept(), called)


class NeverTests(OwnerCallCase):
    """What is sent once."""

    def once(self, called: Deferred[IOwnerReply], code: ErrorCode) -> None:
        self.network.reactor.advance(0.0)
        self.refused(called, code)
        self.assertEqual((self.network.connects, self.retries()), (1, 0))
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_what_has_no_time(self) -> None:
        """Nobody would hear of what came of it."""
        for times in ({"caller_s": 0.0}, {"caller_s": -1.0}, {"deadline_s": 0.0}):
            error = self.refused(self.post(**times), ErrorCode.OWNER_TIMEOUT)
            self.assertIn("in time", error.message)
        self.assertEqual((self.network.connects, self.outcomes("timeout")), (0, 3))

    def test_a_write(self) -> None:
        for act in (
            lambda: self.network.accept().hang_up(),
            lambda: self.network.refuse(),
            lambda: self.network.accept().hang_up(cleanly=False),
        ):
            self.setUp()
            called = self.post()
            act()
            self.once(called, self.failure_code(called))

    def failure_code(self, called: Deferred[IOwnerReply]) -> ErrorCode:
        result: list[Any] = []
        called.addErrback(lambda failure: (result.append(failure.value.code), failure)[1])
        return result[0]  # type: ignore[no-any-return]

    def test_a_refused_write(self) -> None:
        called = self.post()
        self.network.accept().send(response(b"", status=BUSY))
        self.assertEqual(self.successResultOf(called).status, 503)

    def test_a_get_that_writes(self) -> None:
        called = self.get(idempotent=False)
        self.network.accept().hang_up()
        self.once(called, ErrorCode.BAD_GATEWAY)

    def test_a_body(self) -> None:
        body = SpyBody()
        called = self.post(idempotent=True, body=body)
        self.network.accept().hang_up()
        self.once(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(body.events, ["start", "stop"])

    def test_bytes_that_write(self) -> None:
        for more in ({}, {"idempotent": False}):
            called = self.post(body=b"abc", **more)
            self.network.accept().hang_up()
            self.once(called, ErrorCode.BAD_GATEWAY)
            self.setUp()

    def test_an_answer_that_had_begun(self) -> None:
        called = self.get()
        end = self.network.accept()
        end.send(b"HTTP/1.1 2")
        end.hang_up()
        self.once(called, ErrorCode.BAD_GATEWAY)

    def test_a_body_that_breaks_off(self) -> None:
        called = self.get()
        end = self.network.accept()
        end.send(response(b"abc", length=10))
        reading = self.successResultOf(called).read(10)
        end.hang_up()
        self.refused(reading, ErrorCode.BAD_GATEWAY)
        self.assertEqual((self.network.connects, self.retries()), (1, 0))

    def test_what_is_not_http(self) -> None:
        called = self.get()
        self.network.accept().send(b"SSH-2.0\r\n\r\n")
        self.network.settle()
        self.once(called, ErrorCode.BAD_GATEWAY)

    def test_other_statuses(self) -> None:
        for status in (404, 429, 500, 501, 505):
            self.setUp()
            called = self.get()
            self.network.accept().send(response(b"", status=f"{status} No"))
            self.assertEqual(self.successResultOf(called).status, status)
            self.assertEqual(self.retries(), 0)

    def test_a_caller_that_left(self) -> None:
        called = self.get()
        end = self.network.accept()
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertTrue(end.aborted)
        self.pause()
        self.assertEqual((self.network.connects, self.outcomes("cancelled")), (1, 1))
        self.all_is_over()

    def test_a_caller_that_left_in_the_pause(self) -> None:
        for leaves_a_body in (False, True):
            self.setUp()
            called = self.get()
            end = self.network.accept()
            if leaves_a_body:
                end.send(response(b"", status=BUSY, length=100))
            else:
                end.hang_up()
            called.cancel()
            self.failureResultOf(called, CancelledError)
            self.assertEqual(end.aborted, leaves_a_body)
            self.assertEqual(self.outcomes("cancelled"), 1)
            self.all_is_over()
            self.pause()
            self.assertEqual(self.network.connects, 1)
            self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_a_request_that_fails_at_once(self) -> None:
        """A defect; it takes nothing with it."""
        self.patch(self.client.settings.endpoints[0].agent, "_host", None)
        error = self.failureResultOf(self.get()).value
        self.assertNotIsInstance(error, NodeError)
        self.all_is_over()

    def test_no_room_for_a_connection(self) -> None:
        """The node's own bound, since some are being closed yet: no word about the owner."""
        self.client = self.make(concurrency=20)
        for agent in self.client.settings.agents:
            agent.keep(-8)
        for _ in range(20):
            error = self.refused(self.post(), ErrorCode.OWNER_UNAVAILABLE)
            self.assertIn("connections", error.message)
        self.assertEqual((self.network.connects, self.breaker_open()), (0, 0))

    def test_more_than_the_budget_has(self) -> None:
        calls = [self.get() for _ in range(30)]
        for _ in calls:
            self.network.accept().hang_up()
        over = [each for each in calls if each.called]
        self.assertEqual((len(over), self.retries()), (30 - 9, 9))
        for each in over:
            self.failureResultOf(each, NodeError)


class RetryAfterTests(OwnerCallCase):
    def refuse(self, *fields: str, **more: Any) -> tuple[Deferred[IOwnerReply], OwnerEnd]:
        called = self.get(**more)
        end = self.network.serve()
        end.send(response(b"", *fields, status=BUSY))
        return called, end

    def test_not_before_it_is_over(self) -> None:
        called, end = self.refuse("Retry-After: 1", deadline_s=10.0)
        end.heard()
        self.network.reactor.advance(0.99)
        self.assertEqual(end.heard(), b"")
        self.network.reactor.advance(1.02)
        self.assertIn(b"GET /x ", end.heard())
        self.answered(end, called)

    def test_longer_than_there_is_time(self) -> None:
        for said in ("5", "3600"):
            self.setUp()
            called, _ = self.refuse(f"Retry-After: {said}")
            reply = self.successResultOf(called)
            self.assertEqual((reply.status, reply.header("retry-after")), (503, said))
            self.assertEqual(self.retries(), 0)

    def test_one_nobody_can_read(self) -> None:
        called, _ = self.refuse("Retry-After: soon")
        self.assertEqual(self.successResultOf(called).status, 503)

    def test_one_that_is_not_even_text(self) -> None:
        """What an owner sends must not raise: the call would never end, nor its permit be given back."""
        for status in (BUSY, "429 Too Many Requests"):
            self.setUp()
            called = self.get()
            head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nRetry-After: ".encode("ascii")
            self.network.accept().send(head + b"\xff\r\n\r\n")
            reply = self.successResultOf(called)
            self.assertEqual((reply.status, self.retries()), (int(status[:3]), 0))
            self.assertEqual(self.successResultOf(reply.read(1)), b"")
            self.all_is_over()

    def test_another_endpoint_is_asked_meanwhile(self) -> None:
        self.urls = (ONE, TWO)
        self.client = self.make()
        called, first = self.refuse("Retry-After: 3")
        where = self.network.destination()
        self.pause()
        self.assertNotEqual(self.network.destination(), where)
        self.answered(self.network.accept(), called)
        # And so is it by the calls that follow.
        first.heard()
        for _ in range(5):
            called = self.get()
            self.answered(self.network.serve(), called)
        self.assertEqual(first.heard(), b"")

    def test_of_too_many_requests(self) -> None:
        self.urls = (ONE, TWO)
        self.client = self.make()
        called = self.get()
        self.network.accept().send(response(b"", "Retry-After: 3", status="429 Too Many Requests"))
        self.assertEqual(self.successResultOf(called).status, 429)
        self.assertEqual(sorted(each.rest_s for each in self.client.settings.endpoints), [0.0, 3.0])


class SeveralEndpointsTests(OwnerCallCase):
    urls = (ONE, TWO, THREE)

    def test_another_one_is_tried(self) -> None:
        called = self.get()
        places = []
        for _ in range(2):
            places.append(self.network.destination())
            self.network.accept().hang_up()
            self.pause()
        places.append(self.network.destination())
        self.assertEqual(len(set(places)), 3)
        self.answered(self.network.accept(), called)

    def test_whatever_it_is_it_moves_on_where_nothing_connects(self) -> None:
        called = self.post()
        places = {self.network.destination()}
        for _ in range(2):
            self.network.refuse()
            places.add(self.network.destination())
        self.assertEqual(len(places), 3)
        self.answered(self.network.accept(), called)
        self.assertEqual((self.retries(), self.outcomes("ok"), self.outcomes("unavailable")), (0, 1, 0))

    def test_each_once(self) -> None:
        called = self.post()
        for _ in range(3):
            self.network.refuse()
        self.refused(called, ErrorCode.OWNER_UNAVAILABLE)
        self.assertEqual(self.network.connects, 3)

    def test_after_each_a_read_is_tried_again(self) -> None:
        called = self.get()
        for _ in range(3):
            self.network.refuse()
        self.assertNoResult(called)
        self.pause()
        self.answered(self.network.accept(), called)
        self.assertEqual(self.retries(), 1)

    def test_no_answer_in_time(self) -> None:
        called = self.get(deadline_s=12.0)
        places = {self.network.destination()}
        for _ in range(2):
            end = self.network.accept()
            self.network.reactor.advance(5.0)
            self.assertTrue(end.aborted)
            self.pause()
            places.add(self.network.destination())
        self.network.accept()
        self.assertEqual(len(places), 3)
        self.assertNoResult(called)
        self.network.reactor.advance(1.7)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        self.assertEqual(self.outcomes("timeout"), 1)

    def test_not_once_something_was_sent(self) -> None:
        called = self.post()
        self.network.accept().hang_up()
        self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(self.network.connects, 1)

    def test_health_checks_of_each(self) -> None:
        asked = self.client.probe(b"/readyz")
        for status in ("200 OK", BUSY, "200 OK"):
            self.network.accept().send(response(b"", status=status))
        self.assertEqual(self.successResultOf(asked), "degraded")
        health = [each.health for each in self.client.settings.endpoints]
        self.assertEqual(health, [Health.UP, Health.DOWN, Health.UP])
        self.assertEqual(self.client.healthy, 2)
        for _ in range(6):
            self.get()
            self.assertNotEqual(self.network.destination(), ("10.0.0.2", 2))

    def test_health_check_that_the_node_had_no_connection_for(self) -> None:
        """A reload has lowered the number of calls while there are more: no word about the endpoints."""
        for _ in range(3 * 9):
            self.get()
        asked = self.client.probe(b"/readyz")
        for _ in range(3 * 10):
            end = self.network.accept()
            if b"/readyz" in end.heard():
                end.send(response(b""))
        self.assertEqual(self.successResultOf(asked), "ok")
        for agent in self.client.settings.agents:
            agent.keep(1)
            while agent.connections < 9:
                agent.exchange(b"GET", b"/x", ()).head.addErrback(lambda _: None)
        self.assertEqual(self.successResultOf(self.client.probe(b"/readyz")), "ok")
        self.assertEqual([each.health for each in self.client.settings.endpoints], [Health.UP] * 3)

    def test_an_endpoint_that_keeps_failing_sits_out(self) -> None:
        one, two, _ = self.client.settings.endpoints
        self.client.settings = attrs.evolve(self.client.settings, endpoints=(one, two))
        self.urls = (ONE, TWO)
        failed = 0
        for _ in range(200):
            called = self.post()
            end = self.network.accept()
            if self.network.destination() == ("10.0.0.1", 1):
                end.hang_up()
                self.failureResultOf(called, NodeError)
                failed += 1
            else:
                end.send(response(b"", "Connection: close"))
                self.successResultOf(called).discard()
            self.network.reactor.advance(0.01)
        self.assertEqual(failed, 5)
        self.assertTrue(one.outlier.ejected)
        self.assertFalse(two.outlier.ejected)


class BreakerTests(OwnerCallCase):
    def break_off(self, times: int) -> None:
        for _ in range(times):
            called = self.post()
            self.network.accept().hang_up()
            self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.BAD_GATEWAY)

    def test_open(self) -> None:
        self.break_off(9)
        self.assertEqual(self.breaker_open(), 0)
        self.break_off(1)
        self.assertEqual(self.breaker_open(), 1)
        connects = self.network.connects
        for method in (b"GET", b"POST"):
            error = self.refused(self.client.call(method, b"/x"), ErrorCode.OWNER_UNAVAILABLE)
            self.assertEqual(error.retry_after_ms, 1000)
        self.assertEqual((self.network.connects, self.outcomes("unavailable")), (connects, 2))

    def test_one_call_decides(self) -> None:
        self.break_off(10)
        self.network.reactor.advance(1.0)
        probe, other = self.get(), self.get()
        self.assertIs(self.failureResultOf(other, NodeError).value.code, ErrorCode.OWNER_UNAVAILABLE)
        self.assertEqual(self.breaker_open(), 1)
        self.answered(self.network.accept(), probe)
        self.assertEqual(self.breaker_open(), 0)
        called = self.get()
        self.answered(self.network.serve(), called)

    def test_one_call_decides_badly(self) -> None:
        self.break_off(10)
        self.network.reactor.advance(1.0)
        self.break_off(1)
        error = self.refused(self.get(), ErrorCode.OWNER_UNAVAILABLE)
        self.assertEqual(error.retry_after_ms, 2000)
        self.assertEqual(self.breaker_open(), 1)

    def test_the_head_of_an_answer_closes_it(self) -> None:
        self.break_off(10)
        self.network.reactor.advance(1.0)
        called = self.get()
        self.network.accept().send(response(b"", length=10**9))
        self.assertEqual(self.breaker_open(), 0)
        self.successResultOf(called).abort()

    def test_a_retry_that_finds_it_open(self) -> None:
        waiting = self.get()
        self.network.accept().hang_up()
        self.break_off(9)
        self.assertEqual(self.breaker_open(), 1)
        self.pause()
        self.refused(waiting, ErrorCode.BAD_GATEWAY)

    def test_what_says_nothing_of_the_owner(self) -> None:
        def by_the_caller() -> None:
            called = self.get(caller_s=0.1)
            self.network.accept()
            self.network.reactor.advance(0.1)
            self.refused(called, ErrorCode.OWNER_TIMEOUT)

        def after_too_little() -> None:
            called = self.get(deadline_s=0.1)
            self.network.accept()
            self.network.reactor.advance(0.08)
            called.cancel()
            self.failureResultOf(called, CancelledError)

        def in_a_wait() -> None:
            called = self.get(deadline_s=0.1, wait_s=0.08)
            self.network.accept()
            self.network.reactor.advance(0.099)
            called.cancel()
            self.failureResultOf(called, CancelledError)

        def in_an_upload() -> None:
            called = self.post(body=SpyBody(), deadline_s=0.1)
            self.network.accept()
            self.network.reactor.advance(0.1)
            called.cancel()
            self.failureResultOf(called, CancelledError)

        def body() -> None:
            sent = SpyBody()
            called = self.post(body=sent)
            self.network.accept()
            sent.done.errback(NodeError(ErrorCode.TIMEOUT, "the request's body stopped coming"))
            self.refused(called, ErrorCode.TIMEOUT)

        def shorter() -> None:
            sent = SpyBody(3)
            called = self.post(body=sent)
            self.network.accept()
            sent.done.callback(None)
            self.refused(called, ErrorCode.INTERNAL)

        def broken() -> None:
            sent = SpyBody()
            called = self.post(body=sent)
            self.network.accept()
            sent.done.errback(ZeroDivisionError())
            self.refused(called, ErrorCode.INTERNAL)

        def left() -> None:
            called = self.get()
            self.network.accept()
            called.cancel()
            self.failureResultOf(called, CancelledError)

        def unknown() -> None:
            called = self.post()
            end = self.network.accept()
            end.send(response(b"", "Connection: close", status="404 Not Found"))
            self.successResultOf(called).discard()

        for act in (
            by_the_caller,
            after_too_little,
            in_a_wait,
            in_an_upload,
            body,
            shorter,
            broken,
            left,
            unknown,
        ):
            self.setUp()
            for _ in range(30):
                act()
            self.assertEqual(self.breaker_open(), 0, act.__name__)

    def test_what_does(self) -> None:
        def status() -> None:
            called = self.post()
            self.network.serve().send(response(b"", status="500 Oops"))
            self.assertEqual(self.successResultOf(called).status, 500)

        def cut() -> None:
            called = self.get()
            end = self.network.serve()
            end.send(response(b"", length=10))
            reading = self.successResultOf(called).read(10)
            end.hang_up()
            self.failureResultOf(reading, NodeError)

        def slow() -> None:
            called = self.get(deadline_s=0.05, caller_s=100.0)
            self.network.accept()
            self.network.reactor.advance(0.05)
            self.refused(called, ErrorCode.OWNER_TIMEOUT)

        def almost() -> None:
            """As behind another owner, which took some milliseconds of the facet's timeout."""
            called = self.get(deadline_s=0.05, caller_s=0.046)
            self.network.accept()
            self.network.reactor.advance(0.046)
            self.refused(called, ErrorCode.OWNER_TIMEOUT)

        def cancelled() -> None:
            """As by the facet's timeout, which began to run before policy was asked."""
            called = self.get(deadline_s=0.05)
            self.network.accept()
            self.network.reactor.advance(0.049)
            called.cancel()
            self.failureResultOf(called, CancelledError)

        def cancelled_behind_a_body() -> None:
            sent = SpyBody()
            called = self.post(body=sent, deadline_s=0.05)
            self.network.accept()
            self.network.reactor.advance(0.03)
            sent.done.callback(None)
            self.network.reactor.advance(0.049)
            called.cancel()
            self.failureResultOf(called, CancelledError)

        for act in (status, cut, slow, almost, cancelled, cancelled_behind_a_body):
            self.setUp()
            for _ in range(10):
                self.assertEqual(self.breaker_open(), 0, act.__name__)
                act()
            self.assertEqual(self.breaker_open(), 1, act.__name__)
            self.assertEqual(self.outcomes("cancelled"), 0)

    def test_kept_connections_that_were_closed(self) -> None:
        """Twenty idle ones of an owner that restarts are no twenty failures."""
        calls = [self.get() for _ in range(20)]
        ends = [self.network.accept() for _ in calls]
        for called, end in zip(calls, ends, strict=True):
            end.send(response(b""))
            self.successResultOf(called).discard()
        calls = [self.post() for _ in range(2)]
        for end in reversed(ends):
            end.hang_up()
        for called in calls:
            self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.BAD_GATEWAY)
        (endpoint,) = self.client.settings.endpoints
        self.assertFalse(endpoint.outlier.due)
        self.assertIs(endpoint.breaker.state, BreakerState.CLOSED)


class QueueTests(OwnerCallCase):
    """Where there is one; configuration has no word for it yet."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.make(concurrency=1, queue=1, wait_s=2.0)

    def test_waits_for_its_turn(self) -> None:
        first, second = self.get(), self.get()
        error = self.failureResultOf(self.get(), NodeError).value
        self.assertEqual((error.code, error.bound), (ErrorCode.OWNER_UNAVAILABLE, "owner_full"))
        self.assertEqual(self.network.connects, 1)
        end = self.network.accept()
        end.send(response(b""))
        self.successResultOf(first).discard()
        self.assertEqual(self.network.connects, 1)
        self.answered(end, second)
        self.assertEqual((self.outcomes("ok"), self.outcomes("unavailable")), (2, 1))

    def test_so_long_and_no_longer(self) -> None:
        first, second = self.get(), self.get()
        self.network.reactor.advance(2.0)
        self.assertIs(self.failureResultOf(second, NodeError).value.code, ErrorCode.OWNER_UNAVAILABLE)
        self.assertNoResult(first)

    def test_no_longer_than_there_is_time(self) -> None:
        self.get()
        called = self.get(deadline_s=1.0)
        self.network.reactor.advance(1.0)
        self.failureResultOf(called, NodeError)

    def test_the_wait_is_part_of_the_time(self) -> None:
        first, second = self.get(), self.get(deadline_s=3.0)
        self.network.reactor.advance(1.0)
        end = self.network.accept()
        end.heard()
        end.send(response(b""))
        self.successResultOf(first).discard()
        self.assertIn(b"X-Micronode-Deadline-Ms: 2000\r\n", end.heard().title().replace(b"-ms", b"-Ms"))
        self.network.reactor.advance(2.0)
        self.refused(second, ErrorCode.OWNER_TIMEOUT)

    def test_cancelled(self) -> None:
        first, second = self.get(), self.get()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.outcomes("cancelled"), 1)
        self.answered(self.network.accept(), first)
