"""A connection: HELLO, errors and their lingering close, deadlines, half-close, drain."""

from __future__ import annotations

import random
import socket

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.concurrency.hangup import LOOK_S
from micronode.oap.leaving import PATIENCE_S, QUIET_S, WATCH_S
from micronode.oap.pump import MAX_EVENTS
from micronode.oap.wire.frames import ACK_REQ, END, EVENT, RESP, START, Control, encode_frame
from micronode.oap.wire.limits import LINGER_BYTES, LINGER_S
from tests.support.oap import CallerEnd, Dispatched, StubNode, body, cancel, hello, put, start, subscribe
from tests.support.vectors import family


def ping(payload: bytes = b"are you there") -> bytes:
    return encode_frame(EVENT, Control.PING, 0, 7, payload)


def echo(call: Dispatched) -> None:
    call.answer(b"answer")


class Greeting(SynchronousTestCase):
    def test_interface(self) -> None:
        verifyObject(IHalfCloseableProtocol, StubNode().connect().protocol)

    def test_reply_tells_what_is_served(self) -> None:
        node = StubNode(max_inflight=9, max_frame=8192, idle=12.5)
        end = node.connect(greet=False)
        end.send(hello(ext=["x"], accept=["zstd"]))
        [frame] = end.heard()
        self.assertEqual((frame.flags, frame.code, frame.app, frame.corr_id), (RESP, 200, 0, 0))
        self.assertEqual(
            frame.json,
            {
                "max_frame": 8192,
                "max_inflight": 9,
                "flags_supported": 255,
                "versions": [1],
                "transports": ["tcp"],
                "max_chunk": 8192 - 38,
                "ack_window": 131072,
                "conn_window": 1048576,
                "ext": [],
                "server": "micronode/0.1",
                "idle_timeout_ms": 12500,
                "pq": {"mode": "off", "kex": "none"},
            },
        )

    def test_anything_else_first_ends_the_connection(self) -> None:
        for first in (start(1), ping(), cancel(1)):
            with self.subTest(first=first.hex()):
                end = StubNode().connect(greet=False)
                end.send(first)
                [error] = end.heard()
                self.assertEqual((error.code, error.json["code"]), (400, "bad_hello"))
                self.assertTrue(end.transport.half_closed)


class DecodeErrors(SynchronousTestCase):
    def check(self, name: str, expected: str, pieces: list[bytes]) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1))
        end.heard()
        for piece in pieces:
            if not end.transport.closing:
                end.send(piece)
        frames = end.heard()
        self.assertEqual(len(frames), 1, name)
        error = frames[0]
        self.assertEqual((error.flags, error.app, error.corr_id), (RESP | END, 0, 0), name)
        self.assertEqual(error.json["code"], expected, name)
        self.assertTrue(error.json["request_id"])
        self.assertTrue(end.transport.half_closed, name)
        node.clock.advance(LINGER_S)
        node.clock.advance(0)
        self.assertTrue(end.transport.lost, name)
        self.assertEqual(node.count("oap_rejects_total", reason=expected), 1)
        self.assertEqual(node.factory.connections, 0)
        # Nothing of it stays behind.
        self.assertEqual([call for call in node.clock.getDelayedCalls() if call.active()], [])

    def test_every_vector_whole_and_byte_by_byte(self) -> None:
        vectors = [vector for vector in family("decode_error") if vector.get("micronode_error")]
        self.assertGreater(len(vectors), 14)
        for vector in vectors:
            with self.subTest(name=vector["name"]):
                data = bytes.fromhex(vector["hex"])
                self.check(vector["name"], vector["micronode_error"], [data])
                self.check(
                    vector["name"],
                    vector["micronode_error"],
                    [data[at : at + 1] for at in range(min(len(data), 64))] + [data[64:]],
                )

    def test_random_bytes_leave_the_node_serving(self) -> None:
        rng = random.Random(5312)
        node = StubNode(echo)
        for number in range(10_000):
            end = node.connect(greet=number % 2 == 0)
            end.transport.clear()
            junk = rng.randbytes(rng.randrange(1, 120))
            if number % 3 == 0:
                # Past the first checks: a true length, version and direction.
                junk = (38 + len(junk)).to_bytes(4, "big") + b"\0\1\0" + bytes([rng.randrange(256)]) + junk
            end.send(junk)
            if number % 5 == 0:
                end.half_close()
            end.hang_up()
            # The transport's own end; thousands of those on one clock take longer than the node.
            node.clock.advance(0.0)
        self.assertEqual(node.factory.connections, 0)
        end = node.connect()
        end.send(start(1))
        self.assertEqual([frame.code for frame in end.heard()], [200, 206, 200])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(node.count("oap_streams"), 0)

    def test_good_frames_before_the_bad_one_are_served(self) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1), start(2), bytes(64))
        self.assertEqual([frame.corr_id for frame in end.heard()], [1, 1, 1, 2, 2, 2, 0])

    def test_connection_error_cancels_what_runs(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1), put(2))
        end.send(bytes(64))
        self.assertEqual([frame.corr_id for frame in end.heard()], [0])
        self.assertEqual([call.cancelled for call in node.calls], [True, True])
        self.assertEqual(node.count("oap_streams"), 0)


class Lingering(SynchronousTestCase):
    def broken(self, node: StubNode) -> CallerEnd:
        end = node.connect()
        end.send(hello())
        return end

    def test_second_hello_is_an_error_of_the_connection(self) -> None:
        end = self.broken(StubNode())
        [error] = end.heard()
        self.assertEqual((error.corr_id, error.json["code"]), (0, "bad_sequence"))

    def test_input_is_discarded_for_a_moment(self) -> None:
        node = StubNode()
        end = self.broken(node)
        end.heard()
        end.send(start(9))
        self.assertEqual((node.calls, end.heard()), ([], []))
        self.assertFalse(end.transport.disconnecting)
        node.clock.advance(LINGER_S)
        self.assertTrue(end.transport.disconnecting)

    def test_no_more_than_a_mebibyte_is_discarded(self) -> None:
        end = self.broken(StubNode())
        end.send(bytes(LINGER_BYTES))
        self.assertFalse(end.transport.disconnecting)
        end.send(b"x")
        self.assertTrue(end.transport.disconnecting)

    def test_caller_that_closes_too_ends_it(self) -> None:
        end = self.broken(StubNode())
        end.half_close()
        self.assertTrue(end.transport.disconnecting)


class Churn(SynchronousTestCase):
    def test_cancels_before_a_head_end_the_connection(self) -> None:
        node = StubNode()
        end = node.connect()
        for corr_id in range(1, 257):
            end.send(start(corr_id), cancel(corr_id))
        self.assertEqual({frame.code for frame in end.heard()}, {499})
        end.send(start(257), start(258), cancel(257))
        self.assertEqual([frame.code for frame in end.heard()], [499, Control.GOAWAY])
        self.assertTrue(end.transport.half_closed)
        self.assertTrue(node.calls[-1].cancelled)


class ControlFrames(SynchronousTestCase):
    def test_ping_is_echoed(self) -> None:
        end = StubNode().connect()
        end.send(ping(b"payload"))
        [pong] = end.heard()
        self.assertEqual((pong.flags, pong.code, pong.corr_id, pong.payload), (EVENT, 200, 7, b"payload"))

    def test_ignored_frames_are_counted(self) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1, ended=False), body(1, b"late", app=0x0402, ended=True))
        end.send(encode_frame(EVENT, 250, 0, 0, b""))
        self.assertEqual(node.count("oap_rejects_total", reason="closed"), 1)
        self.assertEqual(node.count("oap_rejects_total", reason="event"), 1)
        self.assertFalse(end.transport.closing)

    def test_frames_are_counted_by_kind(self) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1), ping())
        kinds = {kind: node.count("oap_frames_total", direction="in", kind=kind) for kind in KINDS}
        self.assertEqual(kinds, {"hello": 1, "start": 1, "data": 0, "end": 0, "event": 1, "error": 0})
        kinds = {kind: node.count("oap_frames_total", direction="out", kind=kind) for kind in KINDS}
        self.assertEqual(kinds, {"hello": 1, "start": 1, "data": 1, "end": 1, "event": 1, "error": 0})


KINDS = ("hello", "start", "data", "end", "event", "error")


class HalfClose(SynchronousTestCase):
    def test_answers_still_come_and_then_it_closes(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1), start(2))
        end.half_close()
        self.assertFalse(end.transport.closing)
        node.calls[1].answer(b"two")
        self.assertFalse(end.transport.closing)
        node.calls[0].answer(b"one")
        [ping, *frames] = end.heard()
        self.assertEqual((ping.flags, ping.code, ping.corr_id), (EVENT, Control.PING, 0))
        self.assertEqual([frame.corr_id for frame in frames], [2, 2, 2, 1, 1, 1])
        self.assertTrue(end.transport.disconnecting)

    def test_who_is_owed_an_answer_is_asked_until_it_has_it(self) -> None:
        """The system of one that has left, and not only half-closed, answers with a reset: that is seen."""
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        end.half_close()
        self.assertEqual(len(end.heard()), 1)
        self.assertEqual(end.transport.producerState, "paused")
        for _ in range(6):
            node.clock.advance(LOOK_S)
        self.assertEqual({frame.code for frame in end.heard()}, {Control.PING})
        self.assertFalse(end.transport.closing)
        node.calls[0].answer(b"one")
        node.clock.advance(1.0)
        self.assertEqual([frame.corr_id for frame in end.heard()], [1, 1, 1])
        end.transport.lose()
        self.assertEqual([call for call in node.clock.getDelayedCalls() if call.active()], [])

    def test_idle_connection_closes_at_once(self) -> None:
        end = StubNode().connect()
        end.half_close()
        self.assertTrue(end.transport.disconnecting)

    def test_answered_at_once_closes_too(self) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1))
        end.half_close()
        self.assertEqual(len(end.heard()), 3)
        self.assertTrue(end.transport.disconnecting)

    def test_unfinished_request_is_refused(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(put(1), body(1, b"some"))
        end.half_close()
        [error] = end.heard()
        self.assertEqual((error.corr_id, error.json["code"]), (1, "bad_request"))
        self.assertTrue(node.calls[0].cancelled)
        self.assertTrue(end.transport.disconnecting)

    def test_end_inside_a_frame_is_counted(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1)[:20])
        end.half_close()
        node.clock.advance(0)
        self.assertTrue(end.transport.lost)
        self.assertEqual(node.count("oap_rejects_total", reason="truncated"), 1)


class Gone(SynchronousTestCase):
    def test_calls_are_cancelled_and_nothing_is_left(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1), put(2), body(2, b"part"))
        node.calls[0].sink.start(ResponseHead())
        self.assertEqual((node.count("oap_connections"), node.count("oap_streams")), (1, 2))
        end.hang_up()
        self.assertEqual([call.cancelled for call in node.calls], [True, True])
        self.assertEqual((node.count("oap_connections"), node.count("oap_streams")), (0, 0))
        self.assertEqual([record["status"] for record in node.access], [499, 499])
        self.assertEqual([call for call in node.clock.getDelayedCalls() if call.active()], [])

    def test_at_any_point(self) -> None:
        def steps(end: CallerEnd) -> list[bytes]:
            return [hello(), start(1)[:10], start(1)[10:], put(2), body(2, b"x"), cancel(1), bytes(40)]

        for stop in range(8):
            node = StubNode()
            end = node.connect(greet=False)
            for piece in steps(end)[:stop]:
                end.send(piece)
            end.hang_up()
            self.assertEqual(node.factory.connections, 0)
            self.assertEqual([call for call in node.clock.getDelayedCalls() if call.active()], [])
        self.assertEqual(self.flushLoggedErrors(), [])


class Drain(SynchronousTestCase):
    def test_idle_connections_hear_goaway_and_close(self) -> None:
        node = StubNode()
        greeted, fresh = node.connect(), node.connect(greet=False)
        node.factory.goaway(5000)
        [goaway] = greeted.heard()
        self.assertEqual(goaway.json, {"retry_after_ms": 5000, "last_corr_id": "0"})
        self.assertTrue(greeted.transport.half_closed)
        self.assertEqual(fresh.heard(), [])
        self.assertTrue(fresh.transport.half_closed)

    def test_open_streams_finish_and_new_ones_are_refused(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        node.factory.goaway(5000)
        node.factory.goaway(5000)
        self.assertEqual([frame.code for frame in end.heard()], [Control.GOAWAY])
        end.send(start(2))
        [refused] = end.heard()
        self.assertEqual((refused.corr_id, refused.json["code"]), (2, "draining"))
        self.assertIn("retry_after_ms", refused.json)
        self.assertFalse(end.transport.closing)
        node.calls[0].answer(b"done")
        self.assertEqual(len(end.heard()), 3)
        self.assertTrue(end.transport.half_closed)

    def test_each_leaves_in_its_turn(self) -> None:
        node = StubNode()
        ends = [node.connect() for _ in range(3)]
        node.clock.advance(QUIET_S)
        self.assertEqual(node.factory.staying, 0)
        node.factory.begin_leaving()
        ends.append(node.connect())
        ends[3].send(start(1))
        node.clock.advance(WATCH_S)
        self.assertEqual(node.factory.staying, 4)
        node.factory.leave(2, 5000)
        told = [len(end.heard()) for end in ends]
        self.assertEqual((sum(told), told[3]), (2, 0), "the latest is not among them")
        ends[told.index(0)].hang_up()
        self.assertEqual(node.factory.staying, 1)
        node.factory.leave(5, 5000)
        self.assertEqual([frame.code for frame in ends[3].heard()], [Control.GOAWAY])
        self.assertEqual(node.factory.staying, 0)

    def test_callers_are_told_different_times_to_come_back(self) -> None:
        node = StubNode()
        ends = [node.connect() for _ in range(8)]
        node.clock.advance(QUIET_S)
        node.factory.begin_leaving()
        node.factory.leave(8, 1000)
        waits = {end.heard()[0].json["retry_after_ms"] for end in ends}
        self.assertGreater(len(waits), 1)
        self.assertTrue(all(500 <= wait <= 1500 for wait in waits), waits)

    def test_a_caller_that_has_just_been_answered_is_told_with_its_next_call(self) -> None:
        """It may have asked again already, and that call is served."""
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1))
        end.heard()
        node.factory.begin_leaving()
        node.clock.advance(WATCH_S)
        node.factory.leave(1, 5000)
        self.assertEqual(end.heard(), [])
        end.send(start(2))
        [goaway, *answer] = end.heard()
        self.assertEqual((goaway.code, goaway.json["last_corr_id"]), (Control.GOAWAY, "2"))
        self.assertEqual([frame.code for frame in answer], [200, 206, 200])
        self.assertTrue(end.transport.half_closed)

    def test_a_call_that_is_there_unread_is_served_too(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        near, far = socket.socketpair()
        with near, far:
            end.transport.fileno = near.fileno  # type: ignore[method-assign]
            far.sendall(b"R")
            node.factory.begin_leaving()
            node.clock.advance(WATCH_S)
            node.factory.leave(1, 5000)
            self.assertEqual(end.heard(), [])
            end.send(start(2))
        [goaway] = end.heard()
        self.assertEqual(goaway.json["last_corr_id"], "2")
        self.assertEqual(len(node.calls), 2)

    def test_who_comes_at_the_last_moment_has_one_call(self) -> None:
        node = StubNode(echo)
        node.factory.last_call(5000)
        end = node.connect()
        node.clock.advance(PATIENCE_S)
        end.send(start(1))
        self.assertEqual([frame.code for frame in end.heard()], [Control.GOAWAY, 200, 206, 200])
        self.assertTrue(end.transport.half_closed)

    def test_a_caller_with_several_calls_at_a_time_is_told_while_it_waits_for_all(self) -> None:
        """At any other moment it may ask another, and that would be refused."""
        node = StubNode()
        end = node.connect()
        node.factory.begin_leaving()
        end.send(start(1), start(2), start(3))
        node.clock.advance(WATCH_S)
        node.calls[0].answer(b"one")
        node.factory.leave(1, 5000)
        end.send(start(4))
        self.assertEqual([frame.json["last_corr_id"] for frame in end.heard() if frame.app == 0], ["4"])
        for call in node.calls[1:]:
            call.answer(b"more")
        self.assertTrue(end.transport.half_closed)

    def test_a_subscriber_that_is_told_with_its_next_call_has_the_answer_to_it(self) -> None:
        """The subscription ends, and with it all that was open before; the call has been taken."""
        node = StubNode()
        end = node.connect()
        end.send(subscribe(1))
        node.factory.begin_leaving()
        end.send(start(2))
        node.calls[1].answer(b"answer")
        node.clock.advance(WATCH_S)
        node.factory.leave(1, 5000)
        end.heard()
        end.send(start(3))
        goaway, ended = end.heard()
        self.assertEqual((goaway.code, goaway.json["last_corr_id"]), (Control.GOAWAY, "3"))
        self.assertEqual((ended.corr_id, ended.json["code"]), (1, "draining"))
        self.assertFalse(end.transport.closing)
        node.calls[2].answer(b"answer")
        self.assertEqual([frame.corr_id for frame in end.heard() if frame.ends], [3])
        self.assertTrue(end.transport.half_closed)

    def test_one_that_has_fewer_by_now_is_told_at_its_next(self) -> None:
        for calls in ([], [4]):
            node = StubNode()
            end = node.connect()
            node.factory.begin_leaving()
            end.send(start(1), start(2), start(3))
            node.clock.advance(WATCH_S)
            for call in node.calls:
                call.answer(b"answer")
            end.send(*map(start, calls))
            node.factory.leave(1, 5000)
            self.assertTrue(all(frame.app for frame in end.heard()))
            node.clock.advance(PATIENCE_S)
            if not calls:
                end.send(start(5))
            [goaway] = end.heard()
            self.assertEqual(goaway.json["last_corr_id"], str((calls or [5])[0]))
            end.hang_up()
            self.assertEqual(node.clock.getDelayedCalls(), [])

    def test_given_up_calls_are_cancelled_and_their_callers_told(self) -> None:
        node = StubNode()
        end, fresh = node.connect(), node.connect(greet=False)
        end.send(start(1), start(2))
        node.factory.give_up(1000)
        [goaway, *errors] = end.heard()
        self.assertEqual(goaway.code, Control.GOAWAY)
        self.assertEqual(
            [(each.corr_id, each.json["code"]) for each in errors],
            [(1, "owner_timeout"), (2, "owner_timeout")],
            "they were dispatched: who knows what was done",
        )
        self.assertTrue(all(500 <= each.json["retry_after_ms"] <= 1500 for each in errors))
        self.assertEqual([call.cancelled for call in node.calls], [True, True])
        self.assertTrue(end.transport.half_closed)
        self.assertTrue(fresh.transport.half_closed)
        self.assertIsNone(node.factory.buildProtocol(None))

    def test_given_up_answers_that_have_begun_are_no_word_of_nothing_done(self) -> None:
        """Nor are those of which all but their turn was done."""
        node = StubNode()
        end = node.connect()
        end.send(start(1), start(2))
        node.calls[0].sink.start(ResponseHead(content_type="text/event-stream"))
        node.clock.advance(0)
        end.transport.fill()
        node.calls[1].answer(b"answer")
        node.factory.give_up(1000)
        ends = {frame.corr_id: frame.json["code"] for frame in end.heard() if frame.ends}
        self.assertEqual(ends, {1: "owner_timeout", 2: "owner_timeout"})

    def test_new_connections_are_not_taken(self) -> None:
        node = StubNode()
        node.factory.goaway(1)
        self.assertIsNone(node.factory.buildProtocol(None))

    def test_abort_all(self) -> None:
        node = StubNode()
        ends = [node.connect(), node.connect(greet=False)]
        ends[0].send(start(1))
        self.assertEqual(node.factory.connections, 2)
        node.factory.abort_all()
        node.clock.advance(0)
        self.assertEqual([end.transport.aborted for end in ends], [True, True])
        self.assertEqual(node.factory.connections, 0)
        self.assertTrue(node.calls[0].cancelled)


class Batching(SynchronousTestCase):
    def test_one_read_is_answered_in_one_write(self) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.transport.writes.clear()
        end.send(start(1), start(2), ping(), start(3))
        self.assertEqual(len(end.transport.writes), 1)
        self.assertEqual([frame.corr_id for frame in end.heard()], [1, 1, 1, 2, 2, 2, 7, 3, 3, 3])

    def test_window_that_is_wide_enough_changes_nothing(self) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1, flags=ACK_REQ))
        self.assertEqual([frame.flags for frame in end.heard()], [RESP | START, RESP, RESP | END])


class TurnTests(SynchronousTestCase):
    """A read with more in it than one turn of the reactor is for."""

    def setUp(self) -> None:
        self.node = StubNode()
        self.end = self.node.connect()
        self.end.send(*[start(corr_id, op="none") for corr_id in range(1, 1001)])

    def answered(self) -> list[int]:
        return [frame.corr_id for frame in self.end.heard() if frame.ends]

    def test_leaves_turns_to_others(self) -> None:
        answered = self.answered()
        self.assertEqual((len(answered), self.end.transport.producerState), (MAX_EVENTS, "paused"))
        other = self.node.connect()
        other.send(start(1, op="none"))
        self.assertEqual([frame.corr_id for frame in other.heard() if frame.ends], [1])
        self.node.clock.advance(0)
        self.assertEqual(answered + self.answered(), list(range(1, 1001)))
        self.assertEqual(self.end.transport.producerState, "producing")

    def test_half_closed_it_is_answered_to_its_end(self) -> None:
        self.end.protocol.readConnectionLost()
        self.node.clock.advance(0)
        self.assertEqual(self.answered(), list(range(1, 1001)))
        self.assertTrue(self.end.transport.closing)

    def test_who_goes_leaves_nothing(self) -> None:
        self.end.transport.lose(ConnectionLost())
        self.node.clock.advance(0)
        self.assertEqual(len(self.answered()), MAX_EVENTS)
        self.assertEqual([call for call in self.node.clock.getDelayedCalls() if call.active()], [])


class CrowdTests(SynchronousTestCase):
    """Refusals and echoes that come faster than the transport takes them."""

    def setUp(self) -> None:
        self.node = StubNode(write_stall=30.0)
        self.end = self.node.connect()
        # As Twisted's transports: full with the first 64 KiB, though nothing was offered to the socket yet.
        self.end.transport.full_at = 65_536
        self.starts = [start(corr_id, op="none") for corr_id in range(1, 3001)]

    def test_a_caller_that_reads_gets_every_answer(self) -> None:
        self.end.send(*self.starts)
        answered: list[int] = []
        for _ in range(100):
            answered += [frame.corr_id for frame in self.end.heard() if frame.ends]
            if len(answered) == len(self.starts):
                break
            self.end.transport.drain()
            self.node.clock.advance(0)
        self.assertEqual(answered, list(range(1, 3001)))
        self.assertFalse(self.end.transport.closing)
        self.end.send(start(3001))
        self.assertEqual(len(self.node.calls), 1, "it is read again")

    def test_a_caller_that_does_not_read_is_not_heard(self) -> None:
        self.end.send(*self.starts)
        self.assertEqual(self.end.transport.producerState, "paused")
        self.assertLess(len(self.end.transport.value()), 4 * 65_536)
        self.assertFalse(self.end.transport.closing)
        self.node.clock.advance(31)
        self.node.clock.advance(31)
        self.assertTrue(self.end.transport.aborted)

    def test_an_upload_that_is_full_still_keeps_it_from_being_read(self) -> None:
        self.end.send(put(1, ended=False), *[body(1, bytes(65_536)) for _ in range(2)], *self.starts)
        self.assertEqual(self.end.transport.producerState, "paused")
        self.end.heard()
        self.end.transport.drain()
        self.assertEqual(self.end.transport.producerState, "paused", "the upload is still in the way")
