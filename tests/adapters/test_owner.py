"""micronode.adapters.owner: slots, deadlines, failures and what becomes of connections.

Each call is one attempt here, but where a test says otherwise; test_ownercall.py has the others.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IConsumer
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from micronode.adapters.owner import OwnerClient
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerReply
from tests.contracts.owner_client import OwnerClientContract
from tests.support.clients import make_client
from tests.support.measures import make_metrics, sample
from tests.support.network import MemoryNetwork, OwnerEnd, response
from tests.support.owners import StubOwnerClient, StubReply


@implementer(IBodyProducer)
class SpyBody:
    """A request body the test writes itself."""

    def __init__(self, length: int = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.events: list[str] = []
        self.consumer: IConsumer | None = None
        self.done: Deferred[None] = Deferred()

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self.events.append("start")
        self.consumer = consumer
        return self.done

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


class OwnerClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.metrics = make_metrics()
        self.client = make_client(self.network, metrics=self.metrics)

    def get(self, path: bytes = b"/x", **more: Any) -> Deferred[IOwnerReply]:
        return self.client.call(b"GET", path, **{"idempotent": False, **more})

    def refused(self, called: Deferred[Any], code: ErrorCode) -> NodeError:
        error = self.failureResultOf(called, NodeError).value
        self.assertIs(error.code, code)
        self.assertEqual(error.source, "index")
        self.assertNotIn("10.0.0.9", error.message)
        return error

    def outcomes(self) -> dict[str, float]:
        found = {}
        for outcome in (
            "ok",
            "client_error",
            "server_error",
            "unavailable",
            "timeout",
            "bad_gateway",
            "cancelled",
        ):
            count = sample(self.metrics, "owner_requests_total", owner="index", outcome=outcome)
            if count:
                found[outcome] = count
        return found

    def answered(self, end: OwnerEnd, called: Deferred[IOwnerReply], data: bytes) -> IOwnerReply:
        end.send(data)
        return self.successResultOf(called)

    # What is sent

    def test_request_as_it_is_sent(self) -> None:
        self.get(
            b"/search/a%2Fb",
            query=[("q", "a b&c"), ("limit", "3")],
            headers=[(b"x-request-id", b"r-1")],
        )
        lines = self.network.accept().heard().decode().split("\r\n")
        self.assertEqual(lines[0], "GET /search/a%2Fb?q=a+b%26c&limit=3 HTTP/1.1")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        self.assertEqual(
            fields,
            {
                "host": "10.0.0.9:5321",
                "accept-encoding": "identity",
                "x-micronode-deadline-ms": "5000",
                "x-request-id": "r-1",
            },
        )

    def test_what_must_not_be_sent(self) -> None:
        """The last gate; it says nothing of the owner, and nothing stays taken."""
        for more in ({"headers": [(b"x-evil", b"a\r\nInjected: 1")]}, {"headers": [(b"host", b"evil")]}):
            for _ in range(20):
                error = self.failureResultOf(self.get(idempotent=True, **more), NodeError).value
                self.assertIs(error.code, ErrorCode.INTERNAL)
                self.assertNotIn("evil", error.message)
        self.assertEqual((self.network.connects, self.client.inflight), (0, 0))
        self.assertEqual(self.outcomes(), {"cancelled": 40})
        self.assertNoResult(self.get())

    def test_prefix_of_the_url_stands_before_the_path(self) -> None:
        self.client = make_client(self.network, "http://10.0.0.9/owners/index/")
        self.get(b"/x")
        self.assertTrue(self.network.accept().heard().startswith(b"GET /owners/index/x HTTP/1.1\r\n"))
        self.assertEqual(self.network.destination(), ("10.0.0.9", 80))

    def test_unix_socket(self) -> None:
        self.client = make_client(self.network, "unix:/run/index.sock")
        called = self.get()
        end = self.network.accept()
        self.assertIn(b"Host: localhost\r\n", end.heard())
        self.assertEqual(self.network.reactor.unixClients[0][0], "/run/index.sock")
        self.assertEqual(self.answered(end, called, response(b"")).status, 200)

    # Heads and bodies

    def test_reply_at_the_head(self) -> None:
        called = self.get()
        end = self.network.accept()
        self.assertNoResult(called)
        end.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\nX-Thing: one\r\nX-Thing: two\r\n\r\n")
        reply = self.successResultOf(called)
        self.assertEqual((reply.status, reply.length), (404, 10))
        self.assertEqual(reply.header("x-THING"), "one")
        self.assertIsNone(reply.header("missing"))
        # The slot is held until the body was read.
        self.assertEqual(self.client.inflight, 1)
        reading = reply.read(100)
        end.send(b"0123456789")
        self.assertEqual(self.successResultOf(reading), b"0123456789")
        self.assertEqual(self.client.inflight, 0)
        self.assertEqual(self.outcomes(), {"client_error": 1})

    def test_unclean_header_value_is_unreadable(self) -> None:
        called = self.get()
        reply = self.answered(
            self.network.accept(), called, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: a\xffb\r\n\r\n"
        )
        self.assertIsNone(reply.header("etag"))

    def test_head_has_the_length_of_the_object_and_no_slot(self) -> None:
        called = self.client.call(b"HEAD", b"/o/x")
        reply = self.answered(
            self.network.accept(), called, b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
        )
        self.assertEqual(reply.length, 12345)
        self.assertEqual(self.client.inflight, 0)
        self.assertEqual(self.successResultOf(reply.read(10)), b"")

    def test_connection_is_used_again(self) -> None:
        for _ in range(3):
            called = self.get()
            reply = self.answered(self.network.serve(), called, response(b"abc"))
            self.assertEqual(self.successResultOf(reply.read(10)), b"abc")
        self.assertEqual(self.network.connects, 1)
        self.assertEqual(self.outcomes(), {"ok": 3})
        self.assertEqual(sample(self.metrics, "owner_latency_seconds_count", owner="index"), 3)

    def test_idle_connection_is_closed_before_the_owner_would(self) -> None:
        called = self.get()
        end = self.network.accept()
        self.answered(end, called, response(b""))
        self.network.reactor.advance(3.9)
        self.assertFalse(end.closed)
        self.network.reactor.advance(0.2)
        self.assertTrue(end.closed)

    def test_close_ends_idle_connections(self) -> None:
        called = self.get()
        end = self.network.accept()
        self.answered(end, called, response(b"")).discard()
        closing = self.client.close()
        self.assertTrue(end.closed)
        self.network.settle()
        self.successResultOf(closing)
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_connection_that_becomes_idle_after_close_is_closed(self) -> None:
        called = self.get()
        end = self.network.accept()
        self.successResultOf(self.client.close())
        self.answered(end, called, response(b""))
        self.assertTrue(end.closed)

    def test_cookies_are_not_kept(self) -> None:
        called = self.get()
        end = self.network.accept()
        self.answered(end, called, response(b"", "Set-Cookie: a=b"))
        end.heard()
        self.get()
        self.assertNotIn(b"cookie", end.heard().lower())

    def test_encoding_passes_through_untouched(self) -> None:
        called = self.get()
        reply = self.answered(
            self.network.accept(), called, response(b"\x1f\x8bnot gzip at all", "Content-Encoding: gzip")
        )
        self.assertEqual(reply.length, 17)
        self.assertEqual(self.successResultOf(reply.read(100)), b"\x1f\x8bnot gzip at all")

    def test_redirect_is_just_a_status(self) -> None:
        called = self.get()
        reply = self.answered(
            self.network.accept(), called, response(b"", "Location: http://10.0.0.1/", status="302 Found")
        )
        self.assertEqual(reply.status, 302)
        self.assertEqual(self.network.connects, 1)

    # The bound

    def test_one_call_more_is_refused_at_once(self) -> None:
        calls = [self.get(), self.get()]
        error = self.refused(self.get(), ErrorCode.OWNER_UNAVAILABLE)
        self.assertEqual(error.retry_after_ms, 1000)
        self.assertEqual(self.network.connects, 2)
        calls[0].cancel()
        self.failureResultOf(calls[0], CancelledError)
        self.assertNoResult(self.get())
        self.assertEqual(self.outcomes(), {"unavailable": 1, "cancelled": 1})

    # Deadlines

    def test_owner_that_says_nothing(self) -> None:
        called = self.get()
        end = self.network.accept()
        self.network.reactor.advance(4.9)
        self.assertNoResult(called)
        self.network.reactor.advance(0.2)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)
        self.assertEqual(self.outcomes(), {"timeout": 1})
        self.network.settle()
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_deadline_of_the_call_only_shortens(self) -> None:
        short, long = self.get(deadline_s=1.0), self.get(caller_s=100.0)
        self.network.reactor.advance(1.0)
        self.refused(short, ErrorCode.OWNER_TIMEOUT)
        self.assertNoResult(long)
        self.network.reactor.advance(4.0)
        self.refused(long, ErrorCode.OWNER_TIMEOUT)

    def test_deadline_stops_connecting(self) -> None:
        called = self.get()
        self.network.reactor.advance(5.0)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(self.network.reactor.connectors[0].stoppedConnecting)

    def test_reply_nobody_reads_is_aborted(self) -> None:
        called = self.get()
        end = self.network.accept()
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        self.successResultOf(called)
        self.network.reactor.advance(60.0)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)

    # Failures

    def test_refused_connection(self) -> None:
        for error in (None, DNSLookupError(), ConnectError(), OSError(24, "too many open files")):
            called = self.get()
            self.network.refuse(error)
            self.assertEqual(self.refused(called, ErrorCode.OWNER_UNAVAILABLE).retry_after_ms, 1000)
        self.assertEqual(self.client.inflight, 0)
        self.assertEqual(self.outcomes(), {"unavailable": 4})

    def test_connect_timeouts(self) -> None:
        for error in (TimeoutError(), TCPTimedOutError(), ConnectingCancelledError(None)):
            called = self.get()
            self.network.refuse(error)
            self.refused(called, ErrorCode.OWNER_TIMEOUT)

    def test_closed_and_reset_before_the_head(self) -> None:
        for data in (b"", b"HTTP/1.1 200 OK\r\nConte"):
            for cleanly in (True, False):
                called = self.get()
                end = self.network.accept()
                if data:
                    end.send(data)
                end.hang_up(cleanly=cleanly)
                self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(self.outcomes(), {"bad_gateway": 4})

    def test_what_is_not_http(self) -> None:
        for data in (
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            b"\x15\x03\x03\x00\x02\x02\x46\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n folded first: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: a\x00b\r\n\r\n",
        ):
            called = self.get()
            end = self.network.accept()
            end.send(data)
            self.refused(called, ErrorCode.BAD_GATEWAY)
            self.network.settle()
            self.assertTrue(end.closed, data)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.client.inflight, 0)

    def test_status_that_is_none(self) -> None:
        for status in ("999 What", "-5 What"):
            called = self.get()
            self.network.serve().send(response(b"abc", status=status))
            self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(self.client.inflight, 0)

    def test_endless_head_is_cut(self) -> None:
        called = self.get()
        end = self.network.accept()
        end.send(b"HTTP/1.1 200 OK\r\n")
        sent = 0
        while not end.aborted:
            end.send(b"X-Filler: " + b"y" * 1000 + b"\r\n")
            sent += 1012
            self.assertLess(sent, 100_000)
        self.network.settle()
        self.refused(called, ErrorCode.BAD_GATEWAY)

    def test_endless_interim_responses_are_cut(self) -> None:
        called = self.get()
        end = self.network.accept()
        sent = 0
        while not end.aborted:
            end.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            sent += 2500
            self.assertLess(sent, 100_000)
        self.network.settle()
        self.refused(called, ErrorCode.BAD_GATEWAY)

    def test_interim_response_is_skipped(self) -> None:
        called = self.get()
        end = self.network.accept()
        reply = self.answered(end, called, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + response(b"abc"))
        self.assertEqual(self.successResultOf(reply.read(10)), b"abc")

    def test_answer_larger_than_it_may_be(self) -> None:
        self.client = make_client(self.network, metrics=self.metrics, max_body=10)
        called = self.get()
        end = self.network.accept()
        end.send(response(b"", length=11))
        self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertTrue(end.aborted)

    def test_cancel_aborts(self) -> None:
        called = self.get()
        end = self.network.accept()
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)
        self.network.settle()
        self.assertEqual(self.outcomes(), {"cancelled": 1})
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_cancel_stops_connecting(self) -> None:
        called = self.get()
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertTrue(self.network.reactor.connectors[0].stoppedConnecting)

    # Connections that must not be used again

    def test_bytes_behind_the_answer_end_the_connection(self) -> None:
        called = self.get()
        end = self.network.accept()
        reply = self.answered(end, called, response(b"abc") + b"HTTP/1.1 200 OK\r\n")
        self.assertIs(self.failureResultOf(reply.read(10), NodeError).value.code, ErrorCode.BAD_GATEWAY)
        self.assertTrue(end.closed)
        self.get()
        self.assertEqual(self.network.connects, 2)

    def test_bytes_nobody_asked_for_end_the_connection(self) -> None:
        called = self.get()
        end = self.network.accept()
        self.answered(end, called, response(b""))
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        self.assertTrue(end.aborted)
        self.get()
        self.assertEqual(self.network.connects, 2)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_owners_that_close_after_the_answer(self) -> None:
        answers = (
            response(b"", "Connection: Close"),
            response(b"", "Connection: foo, close"),
            response(b"").replace(b"HTTP/1.1", b"HTTP/1.0"),
        )
        for count, answer in enumerate(answers, 1):
            called = self.get()
            self.assertEqual(self.network.connects, count)
            end = self.network.accept()
            self.answered(end, called, answer).discard()
            self.assertTrue(end.closed, answer)

    # A kept connection that was closed meanwhile

    def keep_one(self) -> OwnerEnd:
        """Make a call whose connection is kept."""
        called = self.get()
        end = self.network.serve()
        self.answered(end, called, response(b"")).discard()
        return end

    def test_kept_connection_that_the_owner_closed(self) -> None:
        stale = self.keep_one()
        called = self.get(b"/again", idempotent=True)
        stale.hang_up()
        self.assertNoResult(called)
        end = self.network.accept()
        self.assertIn(b"GET /again ", end.heard())
        reply = self.answered(end, called, response(b""))
        self.assertEqual(reply.status, 200)
        reply.discard()
        self.assertEqual(self.outcomes(), {"ok": 2})

    def test_at_once_only_the_first_time(self) -> None:
        stale = self.keep_one()
        called = self.get(idempotent=True, deadline_s=0.01)
        stale.hang_up()
        self.network.accept().hang_up()
        self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(self.network.connects, 2)

    def test_repetition_has_what_is_left_of_the_deadline(self) -> None:
        stale = self.keep_one()
        called = self.get(idempotent=True)
        self.network.reactor.advance(3.0)
        stale.hang_up()
        self.network.accept()
        self.network.reactor.advance(2.0)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)

    def test_never_repeated(self) -> None:
        stale = self.keep_one()
        posted = self.client.call(b"POST", b"/x")
        stale.hang_up()
        self.refused(posted, ErrorCode.BAD_GATEWAY)
        # The owner had begun to answer.
        stale = self.keep_one()
        called = self.get()
        stale.send(b"HTTP/1.1 2")
        stale.hang_up()
        self.refused(called, ErrorCode.BAD_GATEWAY)
        # A new connection.
        called = self.get()
        self.network.accept().hang_up()
        self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(self.network.connects, 3)

    # Several URLs

    def test_calls_go_where_fewer_are_under_way(self) -> None:
        self.client = make_client(self.network, "http://10.0.0.1:1", "http://10.0.0.2:2", concurrency=9)
        destinations = []
        for _ in range(4):
            self.get()
            destinations.append(self.network.destination())
        self.assertEqual(set(destinations[:2]), {("10.0.0.1", 1), ("10.0.0.2", 2)})
        self.assertEqual(set(destinations[2:]), {("10.0.0.1", 1), ("10.0.0.2", 2)})

    def test_next_url_where_one_does_not_connect(self) -> None:
        self.client = make_client(self.network, "http://10.0.0.1:1", "http://10.0.0.2:2")
        body = SpyBody()
        called = self.client.call(b"POST", b"/x", body=body)
        first = self.network.destination()
        self.network.refuse()
        self.assertNoResult(called)
        self.assertEqual({first, self.network.destination()}, {("10.0.0.1", 1), ("10.0.0.2", 2)})
        self.assertEqual(body.events, [])
        self.network.refuse()
        self.refused(called, ErrorCode.OWNER_UNAVAILABLE)
        self.assertEqual(self.network.connects, 2)

    def test_no_next_url_once_the_owner_was_reached(self) -> None:
        self.client = make_client(self.network, "http://10.0.0.1:1", "http://10.0.0.2:2")
        called = self.get()
        self.network.accept().hang_up()
        self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(self.network.connects, 1)

    def test_cancel_tries_no_next_url(self) -> None:
        self.client = make_client(self.network, "http://10.0.0.1:1", "http://10.0.0.2:2")
        called = self.get()
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertEqual(self.network.connects, 1)

    # Request bodies

    def post(self, body: SpyBody) -> tuple[Deferred[IOwnerReply], OwnerEnd]:
        called = self.client.call(b"POST", b"/o", body=body)
        return called, self.network.accept()

    def test_body_of_unknown_length_is_chunked(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        self.assertIn(b"Transfer-Encoding: chunked\r\n", end.heard())
        body.consumer.write(b"abc")
        body.consumer.write(b"")
        body.consumer.write(b"defg")
        body.done.callback(None)
        self.assertEqual(end.heard(), b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        self.assertEqual(self.answered(end, called, response(b"", status="201 Created")).status, 201)

    def test_body_of_known_length(self) -> None:
        body = SpyBody(4)
        called, end = self.post(body)
        self.assertIn(b"Content-Length: 4\r\n", end.heard())
        body.consumer.write(b"abcd")
        body.done.callback(None)
        self.assertEqual(end.heard(), b"abcd")
        self.answered(end, called, response(b""))

    def test_deadline_starts_when_the_body_was_sent(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        for _ in range(10):
            self.network.reactor.advance(4.0)
            body.consumer.write(b"x")
        self.assertNoResult(called)
        body.done.callback(None)
        self.network.reactor.advance(4.9)
        self.assertNoResult(called)
        self.network.reactor.advance(0.2)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(end.aborted)

    def test_no_connection_for_a_body_in_time(self) -> None:
        body = SpyBody()
        called = self.client.call(b"POST", b"/o", body=body)
        self.network.reactor.advance(4.9)
        self.assertNoResult(called)
        self.network.reactor.advance(0.1)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(self.network.reactor.connectors[0].stoppedConnecting)
        self.assertEqual((body.events, self.client.inflight), ([], 0))

    def test_latency_is_the_owners_and_not_the_uploads(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        self.network.reactor.advance(100.0)
        body.done.callback(None)
        self.network.reactor.advance(2.0)
        self.answered(end, called, response(b""))
        self.assertEqual(sample(self.metrics, "owner_latency_seconds_sum", owner="index"), 2.0)

    def test_an_owner_that_was_asked_to_wait(self) -> None:
        """It has so much longer, and how long it took is no measure of it."""
        called = self.get(wait_s=3.0)
        end = self.network.accept()
        self.assertIn(b"x-micronode-deadline-ms: 8000\r\n", end.heard())
        self.network.reactor.advance(7.9)
        self.answered(end, called, response(b""))
        self.assertEqual(sample(self.metrics, "owner_latency_seconds_count", owner="index"), 0)
        called = self.get(wait_s=3.0)
        self.network.reactor.advance(8.0)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)
        called = self.get(wait_s=3.0, deadline_s=4.0)
        self.network.reactor.advance(4.0)
        self.refused(called, ErrorCode.OWNER_TIMEOUT)

    def test_owner_that_takes_no_more(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        end.fill()
        self.network.reactor.advance(4.9)
        end.drain()
        self.network.reactor.advance(10.0)
        self.assertNoResult(called)
        end.fill()
        self.network.reactor.advance(5.0)
        self.refused(called, ErrorCode.OWNER_UNAVAILABLE)
        self.assertTrue(end.aborted)
        self.network.settle()
        self.assertEqual(body.events, ["start", "pause", "resume", "pause", "stop"])
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_body_that_fails(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        body.done.errback(NodeError(ErrorCode.TIMEOUT, "the request's body stopped coming"))
        self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.TIMEOUT)
        self.assertTrue(end.aborted)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancel_while_the_body_is_sent(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertTrue(end.aborted)
        self.network.settle()
        self.assertEqual(body.events, ["start", "stop"])
        # A producer that did not hear of it does no harm.
        body.done.callback(None)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_connection_lost_while_the_body_is_sent(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        end.hang_up(cleanly=False)
        self.refused(called, ErrorCode.BAD_GATEWAY)
        self.assertEqual(body.events, ["start", "stop"])

    def test_refusal_while_the_body_is_sent_cuts_it(self) -> None:
        for length in (UNKNOWN_LENGTH, 100):
            body = SpyBody(length)
            called, end = self.post(body)
            body.consumer.write(b"abc")
            end.heard()
            end.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too")
            self.assertEqual(body.events, ["start", "stop"])
            end.send(b" Large\r\nContent-Length: 3\r\n\r\nbig")
            reply = self.successResultOf(called)
            self.assertEqual(reply.status, 413)
            self.assertEqual(self.successResultOf(reply.read(10)), b"big")
            self.assertTrue(end.aborted)
            self.assertEqual(end.heard(), b"")
            self.network.settle()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.client.inflight, 0)

    def test_refused_body_writes_nothing_more(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        consumer = body.consumer
        end.heard()
        end.send(b"HTTP/1.1 503 No\r\n")
        consumer.write(b"more")
        body.done.callback(None)
        self.assertEqual(end.heard(), b"")
        end.send(b"Content-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(called).status, 503)

    def test_success_while_the_body_is_sent_waits_for_it(self) -> None:
        body = SpyBody()
        called, end = self.post(body)
        end.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        end.send(response(b"done", status="201 Created"))
        self.assertNoResult(called)
        body.consumer.write(b"abc")
        body.done.callback(None)
        reply = self.successResultOf(called)
        self.assertEqual(self.successResultOf(reply.read(10)), b"done")

    def test_garbage_while_the_body_is_sent(self) -> None:
        for garbage in (b"garbage\r\n", b"HTTP/1.1 2xx\r\n", b"x" * 70_000):
            body = SpyBody()
            called, end = self.post(body)
            end.send(garbage)
            self.network.settle()
            self.refused(called, ErrorCode.BAD_GATEWAY)
            self.assertEqual(body.events, ["start", "stop"])
        self.assertEqual(self.flushLoggedErrors(), [])

    # Probes

    def test_probe_of_a_live_owner(self) -> None:
        asked = self.client.probe(b"/readyz")
        end = self.network.accept()
        heard = end.heard().lower()
        self.assertIn(b"get /readyz http/1.1", heard)
        self.assertIn(b"accept-encoding: identity", heard)
        self.assertNotIn(b"gzip", heard)
        end.send(response(b"{}"))
        self.assertEqual(self.successResultOf(asked), "ok")
        self.assertEqual(self.outcomes(), {})

    def test_probe_whatever_the_url(self) -> None:
        for url, destination, host in (
            ("http://[::1]:5321", ("::1", 5321), b"Host: [::1]:5321\r\n"),
            ("http://index_owner:5321", ("index_owner", 5321), b"Host: index_owner:5321\r\n"),
            ("http://10.0.0.9/v1", ("10.0.0.9", 80), b"GET /v1/readyz "),
        ):
            network = MemoryNetwork()
            asked = make_client(network, url).probe(b"/readyz")
            self.assertEqual(network.destination(), destination)
            end = network.accept()
            self.assertIn(host, end.heard())
            end.send(response(b"{}"))
            self.assertEqual(self.successResultOf(asked), "ok", url)

    def test_probe_is_outside_the_bound(self) -> None:
        self.get(), self.get()
        self.client.probe(b"/readyz")
        self.assertEqual(self.network.connects, 3)

    def test_probe_of_owners_that_are_not_well(self) -> None:
        for answer in (
            response(b"{}", status="503 Unavailable"),
            response(b"", "Location: http://10.0.0.1/", status="302 Found"),
            response(b"x" * 70_000),
            response(b"", "Content-Encoding: gzip"),
            b"garbage\r\n\r\n",
        ):
            asked = self.client.probe(b"/readyz")
            end = self.network.accept()
            end.send(answer)
            self.network.settle()
            self.assertEqual(self.successResultOf(asked), "down", answer[:40])
            self.assertTrue(end.closed)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_probe_that_gets_no_answer(self) -> None:
        for sent in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"):
            asked = self.client.probe(b"/readyz")
            end = self.network.accept()
            if sent:
                end.send(sent)
            self.network.reactor.advance(2.0)
            self.network.settle()
            self.assertEqual(self.successResultOf(asked), "down")
            self.assertTrue(end.aborted)
        asked = self.client.probe(b"/readyz")
        self.network.refuse()
        self.assertEqual(self.successResultOf(asked), "down")
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])

    def test_probe_can_be_cancelled(self) -> None:
        asked = self.client.probe(b"/readyz")
        end = self.network.accept()
        asked.cancel()
        self.assertEqual(self.successResultOf(asked), "down")
        self.assertTrue(end.aborted)
        self.network.settle()
        self.assertEqual(self.network.reactor.getDelayedCalls(), [])


class OwnerClientContractTests(OwnerClientContract, SynchronousTestCase):
    acts_before = False

    def make_client(self) -> OwnerClient:
        self.network = MemoryNetwork()
        return make_client(self.network)

    def answer(self, status: int, fields: dict[str, str], body: bytes) -> None:
        lines = [f"{name}: {value}" for name, value in fields.items()]
        self.network.serve().send(response(body, *lines, status=f"{status} Status"))

    def refuse(self) -> None:
        self.network.refuse()


class StubOwnerClientContractTests(OwnerClientContract, SynchronousTestCase):
    acts_before = True

    def make_client(self) -> StubOwnerClient:
        self.client = StubOwnerClient()
        return self.client

    def answer(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.client.alive = status == 200
        self.client.reply = StubReply(status, body, **fields)

    def refuse(self) -> None:
        self.client.reply = NodeError(ErrorCode.OWNER_UNAVAILABLE, "gone", retry_after_s=1.0)
