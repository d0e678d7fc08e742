"""Tests for :mod:`micronode.http.site`: what the node holds, and how requests are accounted for."""

from __future__ import annotations

import gzip
import os
import socket

from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.calls.outcome import cut
from micronode.calls.refusals import draining
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode, NodeError
from micronode.http.site import app_settings
from tests.http.support import Plane, StubDispatcher, Timeouts, Wire, get, post, say


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

    def test_idle_connections_close_in_a_moment(self) -> None:
        plane = Plane()
        fresh, kept = plane.connect(), plane.connect().send(get())
        plane.site.close_idle()
        late = plane.connect()
        plane.clock.advance(0.9)
        self.assertEqual([each.closing for each in (fresh, kept, late)], [False] * 3)
        plane.clock.advance(0.1)
        self.assertEqual([each.closing for each in (fresh, kept, late)], [True] * 3)
        self.assertEqual(fresh.answers(), [], "nobody asked anything")

    def test_what_comes_in_that_moment_is_served_and_the_last(self) -> None:
        plane = Plane(StubDispatcher(say(b"ok")))
        connection = plane.connect().send(get())
        connection.answer()
        plane.site.last_answers()
        plane.site.close_idle()
        plane.clock.advance(0.9)
        connection.send(get())
        answer = connection.answer()
        self.assertEqual((answer.body, answer.fields["connection"]), (b"ok", "close"))
        self.assertTrue(connection.closing)

    def test_what_is_there_unread_at_its_end_is_served(self) -> None:
        for end in ("close_idle", "give_up"):
            plane = Plane(StubDispatcher(say(b"ok")))
            near, far = socket.socketpair()
            with near, far:
                wire = Wire()
                wire.fileno = near.fileno  # type: ignore[attr-defined]
                connection = plane.connect(wire)
                far.sendall(b"G")
                plane.site.close_idle()
                if end == "give_up":
                    plane.site.give_up(draining(), cut(5))
                plane.clock.advance(1)
                plane.clock.advance(0.1)
                self.assertFalse(connection.closing, end)
                near.recv(1)
                connection.send(get())
                self.assertEqual(connection.answer().fields["connection"], "close")
                self.assertTrue(connection.closing, end)

    def test_what_comes_after_it_is_read_and_not_answered(self) -> None:
        """Its caller sees the connection's end; a reset could be of any request."""
        plane = Plane(StubDispatcher(say(b"ok")))
        connection = plane.connect().send(get())
        connection.answer()
        plane.site.close_idle()
        plane.clock.advance(1)
        self.assertTrue(connection.transport.half_closed)
        self.assertFalse(connection.transport.disconnecting)
        connection.send(get())
        self.assertEqual(connection.answers(), [])
        plane.clock.advance(1)
        self.assertTrue(connection.transport.disconnecting)

    def test_answers_are_the_last_while_connections_are_still_waited_for(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        idle, begun, waiting = plane.connect(), plane.connect().send(get()), plane.connect().send(get())
        sinks = dispatcher.sinks
        sinks[0].start(ResponseHead(length=2))
        plane.site.last_answers()
        for connection in (idle, begun, waiting):
            self.assertFalse(connection.closing)
        for sink in sinks:
            sink.start(ResponseHead(length=2))
            sink.write(b"ok")
            sink.finish()
        # One that was told that it may ask again may.
        self.assertEqual((begun.closing, waiting.closing), (False, True))
        self.assertNotIn("connection", begun.answer().fields)
        self.assertEqual(waiting.answer().fields["connection"], "close")
        for connection, count in ((idle, 3), (plane.connect(), 4)):
            connection.send(get())
            self.assertEqual(len(sinks), count)
            sinks[-1].start(ResponseHead(length=0))
            sinks[-1].finish()
            self.assertEqual(connection.answer().fields["connection"], "close")
            self.assertTrue(connection.closing)

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
        # Its head said nothing about closing, so another request may be on its way.
        self.assertFalse(connection.closing)
        plane.clock.advance(1)
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

    def test_given_up_calls_are_told_before_they_are_cancelled(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        waiting, begun = plane.connect().send(get()), plane.connect().send(get())
        dispatcher.sinks[1].start(ResponseHead(length=2))
        body, head, idle = plane.connect(), plane.connect(), plane.connect()
        body.send(post("/app/media", b"x" * 100)[:-1])
        head.send(b"GET /app/")
        plane.site.give_up(draining(), cut(5))
        self.assertCountEqual(dispatcher.cancelled, dispatcher.calls)
        answer = waiting.answer()
        self.assertEqual((answer.status, answer.fields["connection"]), (504, "close"))
        self.assertEqual(answer.json["code"], "owner_timeout", "it was dispatched: who knows what was done")
        self.assertTrue(waiting.closing)
        for connection in (body, head):
            answer = connection.answer()
            self.assertEqual((answer.status, answer.fields["connection"]), (503, "close"))
            self.assertEqual((answer.json["code"], answer.fields["retry-after"]), ("draining", "5"))
            self.assertTrue(connection.closing)
        self.assertTrue(begun.aborted, "a part must not look like the whole")
        self.assertTrue(idle.closing)
        self.assertEqual(idle.answers(), [])

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

    def test_log_has_what_an_owner_answered(self) -> None:
        error = NodeError(ErrorCode.BAD_GATEWAY, "odd", source="index", owner_status=500)
        plane = Plane(StubDispatcher(lambda call, sink: sink.fail(error)))
        plane.connect().send(get())
        [line] = plane.log
        self.assertEqual((line["status"], line["owner"], line["owner_status"]), (502, "index", 500))

    def test_log_holds_neither_query_nor_path(self) -> None:
        plane = Plane()
        plane.connect().send(get("/app/search?q=private")).send(get("/private"))
        self.assertNotIn("private", repr(plane.log))


class SettingsTests(SynchronousTestCase):
    """Other routes and deadlines while callers are connected."""

    def setUp(self) -> None:
        self.dispatcher = StubDispatcher(say(b"stored"))
        self.plane = Plane(self.dispatcher)
        self.connection = self.plane.connect()

    def configure(self, *, idle_s: float = 75.0, ratio: int = 10, **timeouts: float) -> None:
        self.plane.site.settings = app_settings(
            self.dispatcher,
            self.dispatcher.table,
            timeouts=Timeouts(**timeouts),
            idle_s=idle_s,
            decompress_ratio=ratio,
        )

    def switch_off(self) -> None:
        """Serve nothing any more."""
        self.dispatcher.table = OperationTable(())
        self.configure()

    def status(self) -> int:
        return self.connection.answer().status

    def test_the_next_request_takes_the_new_routes(self) -> None:
        self.connection.send(get())
        self.assertEqual(self.status(), 200)
        self.switch_off()
        self.connection.send(get())
        self.assertEqual(self.status(), 404)

    def test_a_request_keeps_the_routes_of_its_head(self) -> None:
        whole = post("/app/media", b"12345")
        self.connection.send(whole[:-2])
        self.switch_off()
        self.connection.send(whole[-2:])
        self.assertEqual((self.status(), len(self.dispatcher.calls)), (200, 1))

    def test_a_request_keeps_the_decompression_of_its_head(self) -> None:
        body = gzip.compress(os.urandom(4_000) + bytes(6_000))
        whole = post("/app/media", body, "Content-Encoding: gzip")
        self.connection.send(whole[:-2])
        self.configure(ratio=2)
        self.connection.send(whole[-2:])
        self.assertEqual(self.status(), 200)
        self.connection.send(whole)
        self.assertEqual(self.status(), 413)

    def test_a_body_keeps_its_deadline(self) -> None:
        whole = post("/app/media", b"12345")
        self.connection.send(whole[:-2])
        self.configure(body=1.0)
        self.plane.clock.advance(9.0)
        self.assertEqual(self.connection.raw(), b"")
        self.connection.send(whole[-2:])
        self.assertEqual(self.status(), 200)
        self.connection.send(whole[:-2])
        self.plane.clock.advance(1.1)
        self.assertEqual(self.status(), 408)

    def test_the_wait_for_a_request_takes_the_new_time_when_it_is_looked_at(self) -> None:
        self.connection.send(get())
        self.connection.raw()
        self.configure(idle_s=100.0)
        self.plane.clock.advance(76.0)
        self.assertFalse(self.connection.closing, "it has got more time")
        self.plane.clock.advance(24.0)
        self.assertTrue(self.connection.closing)

    def test_less_time_counts_from_the_next_request_on(self) -> None:
        self.configure(idle_s=5.0)
        self.connection.send(get())
        self.connection.raw()
        self.plane.clock.advance(5.0)
        self.assertTrue(self.connection.closing)

    def test_a_head_that_is_on_its_way(self) -> None:
        self.connection.send(b"GET /app")
        self.configure(read=20.0)
        self.plane.clock.advance(19.0)
        self.assertEqual(self.connection.raw(), b"")
        self.plane.clock.advance(1.0)
        self.assertEqual(self.status(), 408)

    def test_a_caller_that_does_not_read(self) -> None:
        """The time it has is that of the request whose answer it does not take."""
        for before_s, after_s in ((30.0, 2.0), (2.0, 30.0)):
            self.setUp()
            self.configure(write_stall=before_s)
            self.connection.send(get())
            self.configure(write_stall=after_s)
            self.connection.transport.fill()
            self.plane.clock.pump([0.5] * 8)
            self.assertEqual(self.connection.aborted, before_s == 2.0)
