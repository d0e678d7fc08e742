"""The streams of a connection: what starts them, what ends them, how much they may hold."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from micronode.calls.call import Ingress, ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.oap.wire.frames import ACK_REQ, END, RESP
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.support.oap import Dispatched, SpyConsumer, StubNode, body, cancel, put, start

CHUNK = bytes(65_536)


def echo(call: Dispatched) -> None:
    call.answer(b"answer")


class Starting(SynchronousTestCase):
    def test_call_is_what_the_start_says(self) -> None:
        node = StubNode()
        end = node.connect()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        end.send(
            start(
                5,
                args={"q": "klein", "unknown": 1},
                tenant=b"t" * 16,
                cap=b"macaroon",
                deadline_ms=1500,
                traceparent=trace,
                idempotency_key="key-1",
            )
        )
        [dispatched] = node.calls
        call = dispatched.call
        self.assertEqual(call.operation.name, "search.query")
        self.assertEqual(call.args, {"q": "klein"})
        self.assertEqual((call.ingress, call.corr_id, call.tenant), (Ingress.OAP, 5, b"t" * 16))
        self.assertEqual((call.capability, call.deadline_s, call.traceparent), ("macaroon", 1.5, trace))
        self.assertEqual((call.idempotency_key, call.body, call.body_done), ("key-1", None, None))
        self.assertEqual(call.peer, "192.168.1.1")
        self.assertEqual(len(call.request_id), 24)

    def test_bad_starts_are_refused_alone(self) -> None:
        for frame, code, name in (
            (start(1, op="fly"), 501, "unknown_op"),
            (start(1, app=0x7777), 501, "unknown_app"),
            (start(1, args={}), 400, "bad_request"),
            (start(1, args={"q": 7}), 400, "bad_request"),
            (start(1, deadline_ms=-1), 400, "bad_request"),
            (start(1, idempotency_key="two words"), 400, "bad_request"),
            (start(1).replace(b'{"op"', b'{"op:'), 400, "bad_json"),
        ):
            with self.subTest(name=name, frame=frame[38:]):
                node = StubNode(echo)
                end = node.connect()
                end.send(frame, start(2))
                error, *rest = end.heard()
                self.assertEqual((error.flags, error.code, error.corr_id), (RESP | END, code, 1))
                self.assertEqual((error.json["code"], error.json["corr_id"]), (name, "1"))
                self.assertEqual([frame.corr_id for frame in rest], [2, 2, 2])
                self.assertEqual(len(node.calls), 1)
                self.assertEqual(node.count("oap_rejects_total", reason=name), 1)
                self.assertEqual(node.access[0]["reason"], name)

    def test_answer_echoes_app_and_tenant(self) -> None:
        node = StubNode(echo)
        end = node.connect()
        end.send(start(1, tenant=b"t" * 16))
        self.assertEqual({(frame.app, frame.tenant) for frame in end.heard()}, {(Profile.SEARCH, b"t" * 16)})

    def test_one_more_than_max_inflight_is_busy(self) -> None:
        node = StubNode(max_inflight=2)
        end = node.connect()
        end.send(start(1), start(2), start(3))
        [busy] = end.heard()
        self.assertEqual((busy.corr_id, busy.code, busy.json["code"]), (3, 429, "busy"))
        node.calls[0].answer(b"")
        end.heard()
        end.send(start(4))
        self.assertEqual(end.heard(), [])
        self.assertEqual(len(node.calls), 3)

    def test_operation_without_body_runs_at_start(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1, ended=False))
        self.assertEqual(len(node.calls), 1)
        end.send(body(1, b"", ended=True, app=Profile.SEARCH))
        node.calls[0].answer(b"x")
        self.assertEqual([frame.code for frame in end.heard()], [200, 206, 200])

    def test_body_it_does_not_take_is_bad_request(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1, ended=False), body(1, b"x", app=Profile.SEARCH))
        [error] = end.heard()
        self.assertEqual((error.corr_id, error.json["code"]), (1, "bad_request"))
        self.assertTrue(node.calls[0].cancelled)


class Bodies(SynchronousTestCase):
    """What an owner hears of how long a body is, before it has begun."""

    def setUp(self) -> None:
        self.node = StubNode()
        self.end = self.node.connect()

    def lengths(self) -> list[object]:
        return [call.call.body.length for call in self.node.calls if call.call.body is not None]

    def test_a_body_that_came_whole_has_a_length(self) -> None:
        self.end.send(put(1, ended=True))
        self.end.send(put(2), body(2, b"", ended=True))
        self.end.send(put(3), body(3, b"12"), put(4), body(4, b"4", ended=True), body(3, b"3", ended=True))
        self.assertEqual(self.lengths(), [0, 0, 3, 1])
        consumer = SpyConsumer()
        self.successResultOf(self.node.calls[2].call.body.startProducing(consumer))
        self.assertEqual(consumer.data, b"123")

    def test_another_waits_for_nothing(self) -> None:
        self.end.send(put(1))
        self.end.send(body(1, b"1"), put(2), body(2, b"2"))
        self.assertEqual(self.lengths(), [UNKNOWN_LENGTH] * 2)
        consumer = SpyConsumer()
        self.node.calls[1].call.body.startProducing(consumer)
        self.end.send(body(2, b"3", ended=True))
        self.assertEqual((consumer.data, self.lengths()), (b"23", [UNKNOWN_LENGTH] * 2))

    def test_a_call_that_was_over_in_the_same_read_is_none(self) -> None:
        self.end.send(put(1), body(1, b"1"), cancel(1, app=Profile.MEDIA))
        self.end.send(put(2), body(2, b"x", app=Profile.FEED))
        self.assertEqual(self.node.calls, [])
        self.assertEqual([frame.code for frame in self.end.heard()], [499, 400])

    def test_an_answer_at_once_when_the_caller_half_closed(self) -> None:
        self.node.dispatcher.on_call = echo
        self.end.send(put(1), body(1, b"1", ended=True))
        self.end.half_close()
        self.assertTrue(self.end.heard()[-1].ends)
        self.assertTrue(self.end.transport.closing)


class Ending(SynchronousTestCase):
    def test_cancel_is_answered_when_the_call_is_aborted(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        end.send(cancel(1))
        [frame] = end.heard()
        self.assertTrue(node.calls[0].cancelled)
        self.assertEqual((frame.flags, frame.code, frame.payload), (RESP | END, 499, b""))
        node.calls[0].sink.fail(NodeError(ErrorCode.INTERNAL, "late"))
        self.assertEqual(end.heard(), [])
        self.assertEqual(node.access[0]["status"], 499)

    def test_cancel_in_the_middle_of_an_answer(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        node.calls[0].sink.start(ResponseHead())
        node.calls[0].sink.write(b"part")
        end.send(cancel(1))
        self.assertEqual([frame.code for frame in end.heard()], [200, 206, 499])

    def test_breach_of_a_stream_ends_it(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(put(1))
        end.send(start(2), body(1, b"x", app=Profile.FEED))
        [error] = end.heard()
        self.assertEqual((error.corr_id, error.app, error.json["code"]), (1, Profile.MEDIA, "bad_sequence"))
        self.assertEqual([call.cancelled for call in node.calls], [True, False])

    def test_failure_is_logged_and_measured(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        node.clock.advance(0.25)
        node.calls[0].sink.fail(NodeError(ErrorCode.NOT_FOUND, "nothing there"))
        [error] = end.heard()
        self.assertEqual(error.json["message"], "nothing there")
        self.assertEqual(error.json["request_id"], node.calls[0].call.request_id)
        self.assertEqual(
            node.access,
            [
                {
                    "request_id": node.calls[0].call.request_id,
                    "corr_id": "1",
                    "route": "search.query",
                    "status": 404,
                    "latency_ms": 250.0,
                    "peer": "192.168.1.1",
                    "facet": "search",
                    "reason": "not_found",
                }
            ],
        )
        labels = {"route": "search.query", "method": "OTHER"}
        self.assertEqual(node.count("http_requests_total", status="404", **labels), 0)
        self.assertEqual(node.count("request_latency_seconds_sum", **labels), 0.25)

    def test_refused_frames_are_answered(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(5), body(9, b"x"), start(3))
        refused = end.heard()
        self.assertEqual(
            [(frame.corr_id, frame.json["code"]) for frame in refused], [(9, "bad_sequence"), (3, "conflict")]
        )

    def test_dispatcher_that_leaves_a_call_unanswered_is_internal(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        node.calls[0].over.callback(None)
        self.assertEqual([frame.json["code"] for frame in end.heard()], ["internal"])

    def test_dispatcher_that_fails_is_internal_and_logged(self) -> None:
        def broken(call: Dispatched) -> None:
            raise LookupError("a defect")

        end = StubNode(broken).connect()
        end.send(start(1))
        self.assertEqual([frame.json["code"] for frame in end.heard()], ["internal"])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertFalse(end.transport.closing)


class Windows(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = StubNode(stall=5.0, stream_idle=30.0, write_stall=30.0)
        self.end = self.node.connect()

    def test_full_upload_does_not_stop_the_others(self) -> None:
        self.end.send(put(1, flags=ACK_REQ))
        self.end.send(body(1, CHUNK), body(1, CHUNK), start(2))
        self.assertEqual(len(self.node.calls), 2)
        self.assertEqual(self.end.transport.producerState, "producing")
        self.node.calls[0].call.body.startProducing(SpyConsumer())
        credited = [(frame.corr_id, int.from_bytes(frame.payload, "big")) for frame in self.end.heard()]
        self.assertEqual(credited, [(1, STREAM_WINDOW_BYTES)])

    def test_more_than_the_window_fails_that_stream_and_is_credited(self) -> None:
        self.end.send(put(1, flags=ACK_REQ))
        self.end.send(body(1, CHUNK), body(1, CHUNK), body(1, b"x"), start(2))
        error, credit = self.end.heard()
        self.assertEqual((error.corr_id, error.json["code"]), (1, "credit_violation"))
        self.assertEqual((credit.corr_id, int.from_bytes(credit.payload, "big")), (0, 131_073))
        self.assertFalse(self.node.calls[1].cancelled)

    def test_download_waits_for_credit_and_others_go_on(self) -> None:
        self.end.send(start(1, flags=ACK_REQ), start(2))
        self.node.calls[0].answer(bytes(STREAM_WINDOW_BYTES + 5))
        self.node.calls[1].answer(b"small")
        frames = self.end.heard()
        sent = sum(len(frame.payload) for frame in frames if frame.corr_id == 1 and frame.code == 206)
        self.assertEqual(sent, STREAM_WINDOW_BYTES)
        self.assertEqual((frames[-1].corr_id, frames[-1].ends), (2, True))
        self.end.send(credit_frame(1, STREAM_WINDOW_BYTES))
        rest = self.end.heard()
        self.assertEqual([(frame.code, len(frame.payload)) for frame in rest], [(206, 5), (200, 0)])

    def test_end_does_not_wait_for_an_empty_window(self) -> None:
        self.end.send(start(1, flags=ACK_REQ))
        self.node.calls[0].answer(bytes(STREAM_WINDOW_BYTES))
        self.assertTrue(self.end.heard()[-1].ends)

    def test_window_that_stays_empty_is_timeout(self) -> None:
        self.end.send(start(1, flags=ACK_REQ), start(2))
        self.node.calls[0].answer(bytes(STREAM_WINDOW_BYTES + 5))
        self.end.heard()
        self.node.clock.advance(30)
        self.assertEqual([(frame.corr_id, frame.code) for frame in self.end.heard()], [(1, 408)])
        self.assertFalse(self.node.calls[1].cancelled)

    def test_window_that_its_producer_fills_at_once_is_watched_too(self) -> None:
        self.end.send(start(1, flags=ACK_REQ))
        sink = self.node.calls[0].sink

        @implementer(IPushProducer)
        class Prompt:
            def pauseProducing(self) -> None:
                pass

            def resumeProducing(self) -> None:
                sink.write(bytes(STREAM_WINDOW_BYTES))

            def stopProducing(self) -> None:
                pass

        sink.start(ResponseHead())
        sink.registerProducer(Prompt(), True)
        sink.write(bytes(STREAM_WINDOW_BYTES + 5))
        self.end.send(credit_frame(1, STREAM_WINDOW_BYTES))
        self.assertFalse(self.end.heard()[-1].ends)
        self.node.clock.advance(30)
        self.assertEqual([(frame.corr_id, frame.code) for frame in self.end.heard()], [(1, 408)])


class Unread(SynchronousTestCase):
    """A caller that asks and does not read."""

    def test_a_call_it_does_not_read_is_that_of_a_slow_reader(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        end.transport.fill()
        for _ in range(2):
            node.clock.advance(31)
        self.assertTrue(end.transport.aborted)
        self.assertTrue(node.calls[0].cancelled)
        self.assertEqual((node.access[-1]["status"], node.access[-1]["reason"]), (499, "slow_reader"))

    def test_errors_are_bounded(self) -> None:
        node = StubNode()
        end = node.connect()
        end.transport.fill()
        for number in range(1, 2000):
            if end.transport.producerState == "paused":
                break
            end.send(start(number, op="fly"))
        self.assertEqual(end.transport.producerState, "paused")
        self.assertLess(len(end.transport.value()), 66_000)
        for _ in range(2):
            node.clock.advance(31)
        self.assertTrue(end.transport.aborted)
        node.clock.advance(0)
        self.assertEqual(node.factory.connections, 0)

    def test_what_was_read_counts_no_more(self) -> None:
        end = StubNode().connect()
        for number in range(1, 2000):
            if number % 100 == 0:
                end.transport.fill()
                end.transport.drain()
            end.send(start(number, op="fly"))
        self.assertFalse(end.transport.aborted)

    def test_caller_that_takes_no_byte_is_cut(self) -> None:
        node = StubNode(write_stall=30.0)
        end = node.connect()
        end.send(start(1))
        node.calls[0].sink.start(ResponseHead())
        node.calls[0].sink.write(b"part")
        end.transport.fill()
        node.clock.pump([7.5] * 4)
        self.assertTrue(end.transport.aborted)
        node.clock.advance(0)
        self.assertTrue(node.calls[0].cancelled)

    def test_reading_goes_on_meanwhile(self) -> None:
        node = StubNode()
        end = node.connect()
        end.send(start(1))
        end.transport.fill()
        end.send(cancel(1))
        self.assertTrue(node.calls[0].cancelled)
