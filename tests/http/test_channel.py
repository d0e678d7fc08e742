"""Tests for :mod:`micronode.http.channel`: raw bytes in, raw bytes out."""

from __future__ import annotations

import random
import re
import socket
import tempfile
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import Call, ResponseHead
from micronode.concurrency.hangup import LOOK_S
from micronode.concurrency.memory import Buffers
from micronode.errors import ErrorCode, NodeError
from micronode.http.limits import MAX_PIPELINED_BYTES, MAX_STEPS
from micronode.oap.wire.limits import LINGER_BYTES
from tests.contracts.sink import SpyProducer
from tests.http.support import Connection, Plane, StubDispatcher, Wire, get, post, read_answers, say
from tests.http.test_head import BAD, TOO_LARGE

_ID = re.compile(rb"[0-9a-f]{24}")


def without_ids(raw: bytes) -> bytes:
    return _ID.sub(b"ID", raw)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    return near, far


class ExchangeTests(SynchronousTestCase):
    """Requests and their answers."""

    def test_one_connection_serves_many(self) -> None:
        connection = Plane().connect()
        for _ in range(3):
            self.assertEqual(connection.send(get()).answer().body, b"hello")
        self.assertFalse(connection.closing)

    def test_whole_and_byte_by_byte_are_the_same(self) -> None:
        dialogue = (
            get("/app/search?q=x", "X-Request-ID: a")
            + post("/app/media", b"body", "Content-Type: text/x")
            + get("/nope")
            + get("/app/media", "Transfer-Encoding: chunked", method="POST")
            + b"3\r\nabc\r\n0\r\n\r\n"
            + get("/app/search?q=%ff")
            + get("/app/media/x", "Connection: close")
        )
        whole, trickled = Plane(), Plane()
        raw = whole.connect().send(dialogue).raw()
        self.assertEqual(without_ids(trickled.connect().trickle(dialogue).raw()), without_ids(raw))
        self.assertEqual([answer.status for answer in read_answers(raw)], [200, 200, 404, 200, 400, 200])
        for plane in (whole, trickled):
            bodies = [getattr(call.body, "data", None) for call in plane.dispatcher.calls]
            self.assertEqual(bodies, [None, b"body", b"abc", None])

    def test_close_is_honoured(self) -> None:
        for data in (get("/app/search?q=x", "Connection: close"), b"GET /app/search?q=x HTTP/1.0\r\n\r\n"):
            connection = Plane().connect().send(data)
            answer = connection.answer()
            self.assertEqual((answer.body, answer.fields["connection"]), (b"hello", "close"))
            self.assertTrue(connection.transport.disconnecting)
            connection.send(get())
            self.assertEqual(connection.raw(), b"")

    def test_empty_body_of_an_operation_that_takes_one(self) -> None:
        plane = Plane()
        plane.connect().send(get("/app/media", method="POST")).send(post("/app/media", b""))
        self.assertEqual([call.body.length for call in plane.dispatcher.calls], [0, 0])  # type: ignore[union-attr]

    def test_unix_peer_has_a_name(self) -> None:
        plane = Plane()
        plane.connect(Wire(peerAddress=UNIXAddress(None))).send(get())
        self.assertEqual(plane.log[0]["peer"], "unix")

    def test_continue_only_when_the_body_is_wanted(self) -> None:
        plane = Plane()
        expect = ("Content-Length: 4", "Expect: 100-continue")
        connection = plane.connect().send(get("/app/media", *expect, method="POST"))
        self.assertEqual(connection.raw(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(connection.send(b"body").answer().status, 200)
        for path in ("/nope", "/app/feed/x/ack", "/app/search"):
            connection = plane.connect().send(get(path, *expect, method="POST"))
            self.assertNotIn(b"100 Continue", connection.raw())

    def test_an_answer_that_broke_off_is_over_before_its_connection(self) -> None:
        def break_off(call: Call, sink: Any) -> None:
            sink.start(ResponseHead(length=10))
            sink.write(b"part")
            sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "the owner stalled"))

        connection = Plane(StubDispatcher(break_off)).connect().send(get())
        self.assertTrue(connection.aborted)
        connection.lose()
        self.assertEqual([line["status"] for line in connection.plane.log], [504])


class RefusalTests(SynchronousTestCase):
    """Answers from the head, and what becomes of the connection."""

    def test_without_a_body_the_connection_goes_on(self) -> None:
        connection = Plane().connect()
        for path, method, status in (
            ("/nope", "GET", 404),
            ("/app/search", "POST", 405),
            ("/app/search", "GET", 400),
        ):
            connection.send(get(path, method=method))
            self.assertEqual(connection.answer().status, status)
        self.assertEqual(connection.send(get()).answer().status, 200)

    def test_with_a_body_outstanding_it_lingers_and_closes(self) -> None:
        for data, status in (
            (post("/nope", b""), 404),
            (get("/nope", "Content-Length: 5", method="POST"), 404),
            (get("/app/search", "Content-Length: 5", method="POST"), 405),
            (get("/app/feed/x", "Content-Length: 50", method="POST"), 413),
            (get("/app/search?q=x", "Content-Length: 5"), 413),
            (get("/app/search?q=x", "Transfer-Encoding: chunked"), 413),
            (get("/app/media", "Content-Length: 5", "Content-Encoding: br", method="POST"), 415),
        ):
            plane = Plane()
            connection = plane.connect().send(data)
            answer = connection.answer()
            self.assertEqual(answer.status, status)
            closes = b"Content-Length: 0" not in data
            self.assertEqual(answer.fields.get("connection"), "close" if closes else None)
            self.assertEqual(connection.transport.half_closed, closes)
            self.assertFalse(connection.transport.disconnecting)
            self.assertEqual(plane.dispatcher.calls, [])

    def refused(self) -> Connection:
        connection = Plane().connect().send(get("/nope", "Content-Length: 9999999", method="POST"))
        self.assertEqual(connection.answer().status, 404)
        return connection

    def test_lingering_ends_with_time(self) -> None:
        connection = self.refused()
        connection.send(get())
        connection.plane.clock.advance(0.9)
        self.assertFalse(connection.transport.disconnecting)
        connection.plane.clock.advance(0.1)
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual(connection.raw(), b"")

    def test_lingering_ends_with_bytes(self) -> None:
        connection = self.refused()
        connection.send(b"x" * LINGER_BYTES)
        self.assertFalse(connection.transport.disconnecting)
        connection.send(b"x")
        self.assertTrue(connection.transport.disconnecting)

    def test_lingering_ends_with_the_caller(self) -> None:
        connection = self.refused()
        connection.lose()
        self.assertEqual(connection.plane.clock.getDelayedCalls(), [])
        self.assertEqual(len(connection.plane.log), 1)

    def test_chunked_body_over_the_cap(self) -> None:
        connection = Plane().connect().send(get("/app/feed/x", "Transfer-Encoding: chunked", method="POST"))
        self.assertEqual(connection.raw(), b"")
        connection.send(b"8\r\n12345678\r\n3\r\n")
        answer = connection.answer()
        self.assertEqual((answer.status, answer.json["code"]), (413, "body_too_large"))
        self.assertTrue(connection.transport.half_closed)
        self.assertEqual(connection.plane.dispatcher.calls, [])

    def test_what_is_no_request(self) -> None:
        for name, data in BAD.items():
            for connection in (Plane().connect().send(data), Plane().connect().trickle(data)):
                answer = connection.answer()
                self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"), name)
                self.assertEqual(answer.fields["connection"], "close", name)
                self.assertTrue(connection.transport.half_closed, name)
                self.assertEqual(connection.plane.dispatcher.calls, [], name)

    def test_answer_to_head_has_no_body_whatever_is_wrong(self) -> None:
        for data, status in (
            (b"HEAD /app/media/x HTTP/1.1\r\n\r\n", 400),
            (get("/app/media/x", "Content-Length: 5", method="HEAD"), 413),
            (get("/app/media/x", "A: " + "a" * 20_000, method="HEAD"), 431),
        ):
            connection = Plane().connect().send(data)
            (answer,) = connection.answers(heads=[0])
            self.assertEqual((answer.status, answer.fields["connection"]), (status, "close"))
            (line,) = connection.plane.log
            self.assertEqual(line["status"], status)

    def test_what_is_too_large(self) -> None:
        for name, data in TOO_LARGE.items():
            answer = Plane().connect().send(data).answer()
            self.assertEqual((answer.status, answer.json["code"]), (431, "head_too_large"), name)

    def test_smuggled_request_is_not_served(self) -> None:
        plane = Plane()
        plane.connect().send(
            get("/app/media", "Content-Length: 4", "Transfer-Encoding: chunked", method="POST")
            + b"0\r\n\r\n"
            + get("/app/search?q=smuggled")
        )
        self.assertEqual(plane.dispatcher.calls, [])

    def test_garbage_never_raises_and_never_reaches_the_dispatcher(self) -> None:
        source = random.Random(2)
        for _ in range(300):
            plane = Plane()
            connection = plane.connect()
            connection.send(source.randbytes(source.randrange(1, 200)))
            for answer in connection.answers():
                self.assertEqual(answer.json["code"], "bad_request")
            connection.lose()
            self.assertEqual(plane.dispatcher.calls, [])
            self.assertEqual(plane.clock.getDelayedCalls(), [])


class HalfCloseTests(SynchronousTestCase):
    """A caller that shuts its writing side down, or closes: it has gone, and what is said reaches it."""

    def half_close(self, dispatcher: StubDispatcher, data: bytes) -> Connection:
        connection = Plane(dispatcher).connect().send(data)
        connection.channel.readConnectionLost()
        return connection

    def assert_gone(self, connection: Connection, *statuses: int) -> None:
        """Nothing runs, nothing is held, and the log has *statuses*."""
        dispatcher = connection.plane.dispatcher
        self.assertTrue(all(result.called for result in dispatcher.results))
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual([line["status"] for line in connection.plane.log], list(statuses))
        # Whatever its handler still does is nobody's any more.
        before = connection.transport.value()
        for sink in dispatcher.sinks:
            sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "too late"))
        self.assertEqual(connection.transport.value(), before)
        connection.lose()
        self.assertEqual(connection.plane.clock.getDelayedCalls(), [])
        self.assertEqual([line["status"] for line in connection.plane.log], list(statuses))

    def test_provides_the_interface(self) -> None:
        verifyObject(IHalfCloseableProtocol, Plane().connect().channel)

    def test_answers_that_are_written_still_arrive(self) -> None:
        connection = self.half_close(StubDispatcher(say(b"hello")), get() * 2)
        self.assertEqual([answer.body for answer in connection.answers()], [b"hello", b"hello"])
        self.assertEqual((connection.transport.disconnecting, connection.aborted), (True, False))

    def test_call_is_cancelled(self) -> None:
        for asked in (get(), post("/app/media", b"hello")):
            dispatcher = StubDispatcher()
            connection = self.half_close(dispatcher, asked)
            self.assertEqual(dispatcher.cancelled, dispatcher.calls)
            self.assertEqual((len(dispatcher.calls), connection.raw(), connection.aborted), (1, b"", False))
            self.assert_gone(connection, 499)

    def test_answer_that_has_begun_is_cut(self) -> None:
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect().send(get())
        dispatcher.sinks[0].start(ResponseHead())
        dispatcher.sinks[0].write(b"part, ")
        connection.channel.readConnectionLost()
        self.assertEqual(len(dispatcher.cancelled), 1, "at once, and not when the connection is lost")
        self.assertTrue(connection.aborted, "a clean end would make the part look whole")

    def test_request_that_is_not_whole_is_dropped(self) -> None:
        dispatcher = StubDispatcher()
        connection = self.half_close(dispatcher, get("/app/media", "Content-Length: 5", method="POST") + b"x")
        self.assertEqual((connection.raw(), dispatcher.calls), (b"", []))
        self.assertEqual((connection.transport.disconnecting, connection.aborted), (True, False))
        self.assertEqual([line["status"] for line in connection.plane.log], [499])

    def test_what_is_pipelined_is_not_begun(self) -> None:
        for rest in (b"", b"GET / HT", get("/app/media", "Content-Length: 5", method="POST") + b"x"):
            dispatcher = StubDispatcher()
            connection = self.half_close(dispatcher, get() * 3 + rest)
            self.assertEqual((len(dispatcher.calls), len(dispatcher.cancelled)), (1, 1))
            self.assert_gone(connection, 499)

    def test_answers_in_a_full_transport_still_leave(self) -> None:
        connection = Plane(StubDispatcher(say(b"hello"))).connect().send(get())
        connection.transport.fill()
        connection.send(get())
        connection.channel.readConnectionLost()
        self.assertEqual([answer.body for answer in connection.answers()], [b"hello"])
        # There was much: it is not left to the kernel alone.
        self.assertEqual((connection.transport.half_closed, connection.aborted), (True, False))
        connection.channel.writeConnectionLost()
        self.assertTrue(connection.transport.disconnecting)

    def test_is_seen_behind_what_is_not_read(self) -> None:
        """Where the transport looks for nothing: the descriptor is asked."""
        for over_tcp in (True, False):
            near, far = tcp_pair() if over_tcp else socket.socketpair()
            self.addCleanup(near.close)
            self.addCleanup(far.close)
            dispatcher = StubDispatcher()
            connection = Plane(dispatcher).connect()
            connection.transport.fileno = near.fileno
            connection.send(get() + get() * MAX_PIPELINED_BYTES)
            self.assertEqual(connection.transport.producerState, "paused")
            far.send(b"unread")
            connection.plane.clock.advance(LOOK_S)
            self.assertEqual(dispatcher.cancelled, [])
            far.shutdown(socket.SHUT_WR)
            connection.plane.clock.advance(LOOK_S)
            self.assertEqual(dispatcher.cancelled, dispatcher.calls)
            self.assertEqual(len(dispatcher.calls), 1)
            self.assert_gone(connection, 499)

    def test_body_of_a_request_gives_its_memory_back(self) -> None:
        plane = Plane(buffers=(buffers := Buffers(None, Clock())))
        connection = plane.connect().send(post("/app/media", bytes(1000))[:-1])
        self.assertGreaterEqual(buffers.held, 999)
        connection.channel.readConnectionLost()
        self.assertEqual(buffers.held, 0)

    def test_unfinished_head_and_silence_are_closed(self) -> None:
        for begun in (b"", b"\r\n", b"GET / HT"):
            connection = self.half_close(StubDispatcher(), begun)
            self.assertEqual(connection.raw(), b"")
            self.assertTrue(connection.transport.disconnecting)
            self.assertEqual(connection.plane.log, [])

    def test_lingering_is_over(self) -> None:
        connection = self.half_close(StubDispatcher(), get("/nope", "Content-Length: 9", method="POST"))
        connection.channel.writeConnectionLost()
        self.assertEqual(connection.answer().status, 404)
        self.assertTrue(connection.transport.disconnecting)
        connection.lose()
        self.assertEqual(connection.plane.clock.getDelayedCalls(), [])


class MemoryTests(SynchronousTestCase):
    """Bodies and pipelined requests in memory, and not too much of them."""

    def test_bodies_never_touch_a_file(self) -> None:
        def refuse(*args: object, **named: object) -> object:
            raise AssertionError("a file was asked for")

        for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp", "mkdtemp"):
            self.patch(tempfile, name, refuse)
        body = b"x" * 1_048_576
        plane = Plane()
        connection = plane.connect()
        connection.send(post("/app/media", body))
        connection.send(get("/app/media", "Transfer-Encoding: chunked", method="POST"))
        connection.send(b"100000\r\n" + body + b"\r\n0\r\n\r\n")
        self.assertEqual([answer.status for answer in connection.answers()], [200, 200])
        self.assertEqual([call.body.data for call in plane.dispatcher.calls], [body, body])  # type: ignore[union-attr]

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """And none is begun before the one before has given its permit back, which it may need."""
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect()
        connection.send(b"".join(get(f"/app/search?q={n}") for n in range(5)))
        for number in range(5):
            say(b"%d" % number)(dispatcher.calls[number], dispatcher.sinks[number])
            self.assertEqual(len(dispatcher.calls), number + 1)
            dispatcher.results[number].callback(None)
        self.assertEqual([answer.body for answer in connection.answers()], [b"0", b"1", b"2", b"3", b"4"])

    def test_pipelined_requests_leave_turns_to_others(self) -> None:
        """What is answered at once is not answered all at once."""
        count = 5 * MAX_STEPS + 3
        for data in (
            get("/nope"),
            get(),
            post("/app/media", b"x"),
            get("/app/search?q=x", "X: " + "x" * 900),
        ):
            plane = Plane()
            connection = plane.connect().send(data * count)
            answered = len(connection.answers())
            self.assertLessEqual(answered, MAX_STEPS)
            paused = len(data) * (count - MAX_STEPS) > MAX_PIPELINED_BYTES
            self.assertEqual(connection.transport.producerState, "paused" if paused else "producing")
            # What comes meanwhile has its turn behind; another connection has its own.
            connection.send(b"")
            self.assertEqual(connection.raw(), b"")
            self.assertEqual(plane.connect().send(get()).answer().status, 200)
            plane.clock.advance(0)
            self.assertEqual(answered + len(connection.answers()), count)
            self.assertEqual(connection.transport.producerState, "producing")
            # It is idle now, under that deadline.
            plane.clock.advance(74.9)
            self.assertFalse(connection.closing)
            plane.clock.advance(0.2)
            self.assertTrue(connection.closing)

    def test_who_goes_has_no_turn_any_more(self) -> None:
        for leave in (Connection.lose, lambda each: each.channel.abort()):
            plane = Plane()
            connection = plane.connect().send(get() * 100)
            connection.raw()
            leave(connection)
            plane.clock.advance(0)
            self.assertEqual((connection.raw(), len(plane.dispatcher.calls)), (b"", MAX_STEPS))

    def test_half_close_ends_a_pipeline_that_waits_for_its_turn(self) -> None:
        plane = Plane()
        connection = plane.connect().send(get() * 100)
        connection.channel.readConnectionLost()
        self.assertEqual([answer.status for answer in connection.answers()], [200] * MAX_STEPS)
        self.assertEqual((connection.transport.disconnecting, connection.aborted), (True, False))
        connection.lose()
        self.assertEqual(plane.clock.getDelayedCalls(), [])

    def test_who_waits_for_a_turn_does_not_idle(self) -> None:
        plane = Plane()
        connection = plane.connect().send(get() * 100)
        self.assertIsNone(connection.channel.idle_since_s)
        connection.channel.reap()
        plane.clock.advance(0)
        self.assertEqual(len(connection.answers()), 100)
        self.assertIsNotNone(connection.channel.idle_since_s)

    def test_a_refusal_in_the_pipeline_ends_it(self) -> None:
        for number in (MAX_STEPS - 1, MAX_STEPS, MAX_STEPS + 1):
            plane = Plane()
            connection = plane.connect().send(get() * number + b"GET\r\n" + get() * 100)
            plane.clock.advance(0)
            self.assertEqual([each.status for each in connection.answers()], [200] * number + [400])
            plane.clock.advance(1)
            connection.lose()
            self.assertEqual((connection.raw(), plane.clock.getDelayedCalls()), (b"", []))

    def test_pipelining_is_bounded(self) -> None:
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect().send(get())
        padded = get("/app/search?q=x", "X-Padding: " + "a" * 8000)
        connection.send(padded * 2)
        self.assertEqual(connection.transport.producerState, "producing")
        connection.send(padded)
        self.assertEqual(connection.transport.producerState, "paused")
        say(b"1")(dispatcher.calls[0], dispatcher.sinks[0])
        dispatcher.results[0].callback(None)
        self.assertEqual(connection.transport.producerState, "producing")
        self.assertEqual(len(dispatcher.calls), 2)

    def test_large_pipelined_body_flows_once_its_turn_comes(self) -> None:
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect().send(get() + post("/app/media", b"x" * 500_000)[:60_000])
        self.assertEqual(connection.transport.producerState, "paused")
        say(b"1")(dispatcher.calls[0], dispatcher.sinks[0])
        dispatcher.results[0].callback(None)
        self.assertEqual(connection.transport.producerState, "producing")
        connection.send(b"x" * 500_000)
        self.assertEqual(len(dispatcher.calls[1].body.data), 500_000)  # type: ignore[union-attr]

    def test_requests_wait_while_answers_are_not_read(self) -> None:
        plane = Plane()
        connection = plane.connect()
        connection.transport.fill()
        connection.send(get() * 3)
        self.assertEqual(plane.dispatcher.calls, [])
        connection.send(get("/app/search?q=x", "X-Padding: " + "a" * 9000) * 2)
        self.assertEqual(connection.transport.producerState, "paused")
        connection.transport.drain()
        self.assertEqual(connection.transport.producerState, "producing")
        self.assertEqual(len(connection.answers()), 5)

    def test_full_transport_stops_the_pipeline_in_the_middle(self) -> None:
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect()

        def answer(call: object, sink: object) -> None:
            say(b"hello")(call, sink)  # type: ignore[arg-type]
            if len(dispatcher.calls) == 2:
                connection.transport.fill()

        dispatcher.answer = answer
        connection.send(get() * 5)
        self.assertEqual(len(dispatcher.calls), 2)
        connection.transport.drain()
        self.assertEqual(len(connection.answers()), 5)

    def test_reading_goes_on_during_a_call_so_that_a_loss_is_seen(self) -> None:
        connection = Plane(StubDispatcher()).connect().send(get())
        connection.transport.fill()
        self.assertEqual(connection.transport.producerState, "producing")

    def test_slow_caller_pauses_the_owner(self) -> None:
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect().send(get())
        producer = SpyProducer()
        dispatcher.sinks[0].start(ResponseHead())
        dispatcher.sinks[0].registerProducer(producer, True)
        connection.transport.fill()
        connection.transport.drain()
        connection.transport.fill()
        self.assertEqual(producer.told, ["pause", "resume", "pause"])
