"""Tests for :mod:`micronode.http.site`: what the node holds, and how requests are accounted for."""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from tests.http.support import Plane, StubDispatcher, get, post, say


class FactoryTests(SynchronousTestCase):
    """The factory itself."""

    def test_provides_the_interfaces(self) -> None:
        site = Plane().site
        verifyObject(IProtocolFactory, site)
        verifyObject(IProtocolNegotiationFactory, site)

    def test_http2_is_not_offered(self) -> None:
        self.assertEqual(Plane().site.acceptableProtocols(), [b"http/1.1"])

    def test_counts_connections(self) -> None:
        plane = Plane()
        first, second = plane.connect(), plane.connect()
        self.assertEqual(plane.site.connections, 2)
        first.lose()
        second.lose()
        self.assertEqual(plane.site.connections, 0)
        self.assertEqual(plane.clock.getDelayedCalls(), [])


class DrainTests(SynchronousTestCase):
    """close_idle() and abort_all()."""

    def test_idle_connections_close_at_once(self) -> None:
        plane = Plane()
        fresh, kept = plane.connect(), plane.connect().send(get())
        plane.site.close_idle()
        self.assertTrue(fresh.closing)
        self.assertTrue(kept.closing)

    def test_running_answer_is_the_last(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(get() * 2)
        plane.site.close_idle()
        self.assertFalse(connection.closing)
        sink = dispatcher.sinks[0]
        sink.start(ResponseHead(length=2))
        sink.write(b"ok")
        sink.finish()
        answer = connection.answer()
        self.assertEqual((answer.body, answer.fields["connection"]), (b"ok", "close"))
        self.assertTrue(connection.closing)
        self.assertEqual(len(dispatcher.calls), 1)

    def test_answer_already_begun_ends_before_the_close(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(get())
        sink = dispatcher.sinks[0]
        sink.start(ResponseHead(length=2))
        plane.site.close_idle()
        sink.write(b"ok")
        self.assertFalse(connection.closing)
        sink.finish()
        self.assertEqual(connection.answer().body, b"ok")
        # Its head said nothing about closing; the next look at the connection does it.
        self.assertTrue(connection.closing)

    def test_request_in_arrival_is_still_served(self) -> None:
        plane = Plane(StubDispatcher(say(b"stored")))
        connection = plane.connect()
        request = post("/app/media", b"x" * 100)
        connection.send(request[:20])
        plane.site.close_idle()
        connection.send(request[20:120])
        self.assertFalse(connection.closing)
        connection.send(request[120:])
        answer = connection.answer()
        self.assertEqual((answer.body, answer.fields["connection"]), (b"stored", "close"))
        self.assertTrue(connection.closing)

    def test_abort_drops_and_cancels(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        idle, busy = plane.connect(), plane.connect().send(get())
        plane.site.abort_all()
        self.assertTrue(idle.aborted)
        self.assertTrue(busy.aborted)
        busy.lose()
        self.assertEqual(dispatcher.cancelled, dispatcher.calls)


class AccountTests(SynchronousTestCase):
    """Metrics and the access log: one event a request."""

    def test_good_request(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(post("/app/media", b"12345", "X-Request-ID: r-1"))
        sink = dispatcher.sinks[0]
        plane.clock.advance(0.25)
        sink.start(ResponseHead(status=201, length=3))
        plane.clock.advance(0.25)
        sink.write(b"abc")
        sink.finish()
        self.assertEqual(
            plane.log,
            [
                {
                    "request_id": "r-1",
                    "route": "media.put",
                    "status": 201,
                    "latency_ms": 500.0,
                    "peer": "192.168.1.1",
                    "facet": "media",
                }
            ],
        )
        labels = {"route": "media.put", "method": "POST"}
        self.assertEqual(plane.sample("http_requests_total", **labels, status="201"), 1)
        self.assertEqual(plane.sample("request_latency_seconds_sum", **labels), 0.5)
        self.assertEqual(plane.sample("request_first_byte_seconds_sum", **labels), 0.25)
        self.assertEqual(plane.sample("bytes_total", ingress="http", direction="in"), 5)
        self.assertEqual(plane.sample("bytes_total", ingress="http", direction="out"), 3)
        connection.lose()
        self.assertEqual(len(plane.log), 1)

    def test_unknown_routes_and_methods_share_a_label(self) -> None:
        plane = Plane()
        plane.connect().send(get("/nope", method="BREW")).send(b"\0")
        self.assertEqual([line["route"] for line in plane.log], ["other", "other"])
        self.assertEqual(plane.sample("http_requests_total", route="other", method="OTHER", status="404"), 1)
        self.assertEqual(plane.sample("http_requests_total", route="other", method="OTHER", status="400"), 1)

    def test_own_refusals_are_counted_and_the_dispatchers_are_not(self) -> None:
        plane = Plane(StubDispatcher(lambda call, sink: sink.fail(NodeError(ErrorCode.BUSY, "full"))))
        plane.connect().send(get())
        plane.connect().send(post("/app/feed/x", b"x" * 11))
        plane.connect().send(b"GET /" + b"a" * 20_000)
        for reason, count in (("busy", 0), ("body_too_large", 1), ("head_too_large", 1), ("timeout", 0)):
            self.assertEqual(plane.sample("rejected_total", reason=reason), count, reason)
        self.assertEqual([line["reason"] for line in plane.log], ["busy", "body_too_large", "head_too_large"])

    def test_log_holds_neither_query_nor_path(self) -> None:
        plane = Plane()
        plane.connect().send(get("/app/search?q=private")).send(get("/private"))
        self.assertNotIn("private", repr(plane.log))
