"""Tests for the deadlines of :mod:`micronode.http.channel`."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.http.limits import Deadlines
from tests.contracts.sink import SpyProducer
from tests.http.support import Connection, Plane, StubDispatcher, get, say


class DeadlineTestCase(SynchronousTestCase):
    def assert_timed_out(self, connection: Connection) -> None:
        answer = connection.answer()
        self.assertEqual((answer.status, answer.json["code"]), (408, "timeout"))
        self.assertEqual(answer.fields["connection"], "close")
        self.assertTrue(connection.transport.half_closed)
        connection.plane.clock.advance(1.0)
        self.assertTrue(connection.transport.disconnecting)
        connection.lose()
        self.assertEqual(connection.plane.clock.getDelayedCalls(), [])
        self.assertEqual(connection.plane.sample("rejected_total", reason="timeout"), 1)

    def assert_closed_silently(self, connection: Connection) -> None:
        self.assertEqual(connection.raw(), b"")
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual(connection.plane.log, [])


class HeadDeadlineTests(DeadlineTestCase):
    """timeouts.read and http.idle."""

    def test_trickled_head(self) -> None:
        plane = Plane()
        connection = plane.connect()
        for byte in (b"G", b"E", b"T"):
            connection.send(byte)
            plane.clock.advance(1.6)
        self.assertEqual(connection.raw(), b"")
        plane.clock.advance(0.2)
        self.assert_timed_out(connection)

    def test_first_head_has_its_time_from_the_accept(self) -> None:
        plane = Plane()
        connection = plane.connect()
        plane.clock.advance(4.9)
        connection.send(get()[:-1])
        plane.clock.advance(0.1)
        self.assert_timed_out(connection)

    def test_silence_after_the_accept(self) -> None:
        plane = Plane()
        connection = plane.connect()
        plane.clock.advance(5.0)
        self.assert_closed_silently(connection)

    def test_a_reload_gives_it_more_time(self) -> None:
        plane = Plane()
        waiting, idle = plane.connect(), plane.connect().send(get())
        self.assertEqual(idle.answer().status, 200)
        deadlines = Deadlines(read_s=20.0, idle_s=100.0)
        plane.site.settings = attrs.evolve(plane.site.settings, deadlines=deadlines)
        for connection, at_s in ((waiting, 20.0), (idle, 100.0)):
            plane.clock.advance(at_s - plane.clock.seconds() - 0.1)
            self.assertFalse(connection.transport.disconnecting)
            plane.clock.advance(0.1)
            self.assertTrue(connection.transport.disconnecting)

    def test_later_heads_have_it_from_their_first_byte(self) -> None:
        plane = Plane()
        connection = plane.connect().send(get())
        self.assertEqual(connection.answer().status, 200)
        plane.clock.advance(60.0)
        connection.send(b"G")
        plane.clock.advance(4.9)
        self.assertEqual(connection.raw(), b"")
        connection.send(b"E")
        plane.clock.advance(0.1)
        self.assert_timed_out(connection)

    def test_empty_lines_buy_no_time(self) -> None:
        plane = Plane()
        connection = plane.connect().send(get())
        connection.raw()
        connection.send(b"\r\n")
        plane.clock.advance(5.0)
        self.assert_timed_out(connection)

    def test_idle_between_requests(self) -> None:
        plane = Plane()
        connection = plane.connect()
        for _ in range(3):
            connection.send(get())
            plane.clock.advance(74.0)
        connection.raw()
        plane.log.clear()
        plane.clock.advance(1.0)
        self.assert_closed_silently(connection)

    def test_no_deadline_of_ours_while_the_call_runs(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(get() + b"GET")
        plane.clock.pump([50.0] * 10)
        self.assertFalse(connection.closing)
        dispatcher.sinks[0].start(ResponseHead(length=0))
        dispatcher.sinks[0].finish()
        dispatcher.results[0].callback(None)
        self.assertEqual(connection.answer().status, 200)
        plane.clock.advance(4.9)
        self.assertFalse(connection.closing)
        plane.clock.advance(0.1)
        self.assert_timed_out(connection)


class BodyDeadlineTests(DeadlineTestCase):
    """timeouts.body, and a second for each 64 KiB."""

    def put(self, length: int) -> Connection:
        return Plane().connect().send(get("/app/media", f"Content-Length: {length}", method="POST"))

    def test_stalled_body(self) -> None:
        connection = self.put(5)
        connection.plane.clock.advance(9.9)
        connection.send(b"x")
        self.assertEqual(connection.raw(), b"")
        connection.plane.clock.advance(0.2)
        self.assert_timed_out(connection)
        self.assertEqual(connection.plane.log[0]["route"], "media.put")

    def test_size_earns_time(self) -> None:
        connection = self.put(1_000_000)
        connection.send(b"x" * 65_536 * 3)
        connection.plane.clock.advance(12.9)
        self.assertFalse(connection.closing)
        connection.plane.clock.advance(0.1)
        self.assert_timed_out(connection)

    def test_chunk_framing_earns_none(self) -> None:
        connection = Plane().connect().send(get("/app/media", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(10):
            connection.send(b"1;" + b"a" * 1000 + b"\r\nx\r\n")
            connection.plane.clock.advance(1.0)
        connection.plane.clock.advance(0.1)
        self.assert_timed_out(connection)

    def test_trickled_size_line_and_trailers(self) -> None:
        for begun, byte in ((b"1;", b"a"), (b"1\r\nx\r\n0\r\n", b"a: b\r\n")):
            chunked = get("/app/media", "Transfer-Encoding: chunked", method="POST")
            connection = Plane().connect().send(chunked + begun)
            for _ in range(10):
                connection.send(byte)
                connection.plane.clock.advance(0.999)
            self.assertEqual(connection.raw(), b"")
            connection.plane.clock.advance(0.1)
            self.assert_timed_out(connection)

    def test_continue_starts_no_new_deadline(self) -> None:
        expect = ("Content-Length: 5", "Expect: 100-continue")
        connection = Plane().connect().send(get("/app/media", *expect, method="POST"))
        self.assertEqual(connection.raw(), b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.plane.clock.advance(10.0)
        self.assert_timed_out(connection)


class WriteStallTests(DeadlineTestCase):
    """timeouts.write_stall."""

    def test_stalled_answer_is_aborted_and_its_call_cancelled(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(get())
        dispatcher.sinks[0].start(ResponseHead())
        connection.transport.fill()
        plane.clock.pump([7.5, 7.5, 7.5, 7.4])
        self.assertFalse(connection.aborted)
        plane.clock.advance(0.1)
        self.assertTrue(connection.aborted)
        self.assertEqual(dispatcher.cancelled, dispatcher.calls)
        self.assertEqual((plane.log[0]["status"], plane.log[0]["reason"]), (499, "slow_reader"))
        connection.lose()
        self.assertEqual(len(plane.log), 1)
        self.assertEqual(plane.clock.getDelayedCalls(), [])

    def test_caller_that_reads_in_time_is_left_alone(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(get())
        dispatcher.sinks[0].start(ResponseHead())
        for _ in range(10):
            connection.transport.fill()
            plane.clock.pump([7.0] * 4)
            connection.transport.drain()
            plane.clock.advance(50.0)
        self.assertFalse(connection.aborted)

    def test_producer_that_fills_the_buffer_at_once_is_watched_again(self) -> None:
        dispatcher = StubDispatcher()
        plane = Plane(dispatcher)
        connection = plane.connect().send(get())
        producer = SpyProducer()
        producer.resumeProducing = connection.transport.fill  # type: ignore[method-assign]
        dispatcher.sinks[0].start(ResponseHead())
        dispatcher.sinks[0].registerProducer(producer, True)
        connection.transport.fill()
        connection.transport.drain()
        self.assertEqual(producer.told, ["pause", "pause"])
        plane.clock.pump([7.5] * 4)
        self.assertTrue(connection.aborted)

    def test_time_to_read_an_answer_is_not_idle_time(self) -> None:
        plane = Plane()
        connection = plane.connect()

        def answer(call: object, sink: object) -> None:
            say(b"long")(call, sink)  # type: ignore[arg-type]
            connection.transport.fill()

        plane.dispatcher.answer = answer
        connection.send(get())
        for _ in range(4):
            plane.clock.advance(20.0)
            connection.transport.drain()
            connection.transport.fill()
        connection.transport.drain()
        self.assertFalse(connection.closing)
        plane.clock.advance(74.9)
        self.assertFalse(connection.closing)
        plane.clock.advance(0.1)
        self.assertTrue(connection.closing)

    def test_last_answer_nobody_reads(self) -> None:
        plane = Plane()
        connection = plane.connect().send(get("/app/search?q=x", "Connection: close"))
        self.assertFalse(connection.aborted)
        plane.clock.pump([7.5] * 4)
        self.assertTrue(connection.aborted)
