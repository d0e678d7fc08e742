"""Tests for :mod:`micronode.http.events`: what every event sink promises, and how it looks to EventSource."""

from __future__ import annotations

import json
import socket
from typing import Any

import attrs
from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.calls.operations import Argument
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode, NodeError
from micronode.http.events import EVENT_ROOM_BYTES, HEARTBEAT_S, MAX_EVENT_BYTES, EventSink
from micronode.oap.wire.limits import MAX_CHUNK_BYTES
from tests.contracts.events import EventSinkContract
from tests.contracts.sink import Outcome, Seen, SpyProducer
from tests.http.support import Answer, Plane, StubDispatcher, Wire, get, operation, read_answers, say
from tests.support.eventsource import Event, EventReader

JSON = ResponseHead(content_type="application/json")
EVENTS = get("/app/feed/jobs/events", "X-Request-ID: r-1")


def subscribing() -> StubDispatcher:
    """Return a dispatcher whose table has a subscription, too."""
    dispatcher = StubDispatcher()
    arguments = (
        Argument(name="key", required=True),
        Argument(name="last_event_id", header="last-event-id", max_length=1024),
    )
    events = operation(
        "feed.subscribe", "GET", "/app/feed/{key}/events", "subscribe", arguments=arguments, subscribes=True
    )
    dispatcher.table = OperationTable([*dispatcher.table, events])
    return dispatcher


@attrs.define
class Stream:
    """What a caller has got of an answer, up to now."""

    #: Its head; None: not yet.
    head: Answer | None
    #: Its body, and whether it ended as its framing says an end looks.
    body: bytes
    whole: bool
    #: What came behind it.
    behind: bytes

    @property
    def events(self) -> EventReader:
        """The body as EventSource reads it."""
        reader = EventReader()
        reader.feed(self.body)
        return reader


def read_stream(raw: bytes, *, closed: bool = False) -> Stream:
    """Read the first answer of *raw*, which need not be whole; :param closed: whether more may come."""
    head, separator, rest = raw.partition(b"\r\n\r\n")
    if not separator:
        return Stream(None, b"", False, raw)
    plain = head.replace(b"Transfer-Encoding", b"X-Was").replace(b"Content-Length", b"X-Length")
    (answer,) = read_answers(plain + separator)
    if "x-length" in answer.fields:
        length = int(answer.fields["x-length"])
        return Stream(answer, rest[:length], len(rest) >= length, rest[length:])
    if "x-was" not in answer.fields:
        return Stream(answer, rest, closed, b"")
    body = b""
    while True:
        size, separator, after = rest.partition(b"\r\n")
        count = int(size, 16) if separator else -1
        if count < 0 or len(after) < count + 2:
            return Stream(answer, body, False, rest)
        assert after[count : count + 2] == b"\r\n", after[:40]
        body, rest = body + after[:count], after[count + 2 :]
        if not count:
            return Stream(answer, body, True, rest)


class EventSinkContractTests(EventSinkContract, SynchronousTestCase):
    """The suite that every event sink passes."""

    def make_sink(self) -> Any:
        dispatcher = subscribing()
        self.connection = Plane(dispatcher).connect().send(EVENTS)
        return dispatcher.sinks[0]

    def seen(self) -> Seen:
        raw = self.connection.transport.value()
        if not raw:
            return Seen(outcome=Outcome.OPEN)
        if self.connection.aborted:
            return Seen(outcome=Outcome.VOID)
        stream = read_stream(raw)
        assert stream.head is not None
        status, events = stream.head.status, stream.events.events
        if not stream.whole:
            return Seen(outcome=Outcome.OPEN)
        if events and events[-1].type == "error":
            return Seen(outcome=Outcome.VOID)
        if status >= 400:
            return Seen(outcome=Outcome.FAILED, status=status, error=json.loads(stream.body)["code"])
        return Seen(outcome=Outcome.WHOLE, status=status, body=b"" if events else stream.body)

    def messages(self) -> list[bytes]:
        return [each.encode() for each in read_stream(self.connection.transport.value()).events.messages]

    def take(self, size: int) -> None:
        self.connection.plane.clock.advance(0)

    def pause(self) -> None:
        self.connection.transport.fill()

    def resume(self) -> None:
        self.connection.transport.drain()

    def disconnect(self) -> None:
        self.connection.lose()


class SinkCase(SynchronousTestCase):
    """One subscription over one connection."""

    def setUp(self) -> None:
        self.dispatcher = subscribing()
        self.plane = Plane(self.dispatcher)

    def subscribe(self, request: bytes = EVENTS, transport: StringTransport | None = None) -> Any:
        """Return the sink of a subscription; ``self.connection`` is its connection."""
        self.connection = self.plane.connect(transport).send(request)
        return self.dispatcher.sinks[-1]

    def begin(self, request: bytes = EVENTS, transport: StringTransport | None = None) -> Any:
        """Return one that has sent its head."""
        sink = self.subscribe(request, transport)
        sink.start(JSON)
        return sink

    def stream(self) -> Stream:
        """Return what the caller has got."""
        return read_stream(self.connection.transport.value())

    def pass_time(self, seconds: float, *, step: float = 0.5) -> None:
        self.plane.clock.pump([step] * round(seconds / step))


class StreamTests(SinkCase):
    """The stream as it goes out."""

    def test_head(self) -> None:
        """It is sent before there is a message."""
        sink = self.subscribe()
        sink.start(attrs.evolve(JSON, headers=(("x-own", "1"), ("Cache-Control", "public"))))
        head = self.stream().head
        assert head is not None
        self.assertEqual(
            (head.status, head.fields),
            (
                200,
                {
                    "date": "Thu, 01 Jan 1970 00:00:00 GMT",
                    "x-own": "1",
                    "cache-control": "no-store",
                    "x-accel-buffering": "no",
                    "content-type": "text/event-stream",
                    "x-was": "chunked",
                    "x-content-type-options": "nosniff",
                    "cross-origin-resource-policy": "same-origin",
                    "x-request-id": "r-1",
                },
            ),
        )

    def test_messages_have_ids(self) -> None:
        sink = self.begin()
        sink.write_event(b'{"a":1}', "m-1")
        sink.write_event(b'{"a":2}')
        sink.write_event(b'{\n"a": 3\r\n}', event_id="m-3")
        self.assertEqual(
            self.stream().events.events,
            [
                Event("message", '{"a":1}', "m-1"),
                Event("message", '{"a":2}', "m-1"),
                Event("message", '{\n"a": 3\n}', "m-3"),
            ],
        )

    def test_an_id_that_cannot_be_written_is_a_defect(self) -> None:
        sink = self.begin()
        self.assertRaises(ValueError, sink.write_event, b"{}", "a\nb")
        sink.write_event(b"{}", "a")
        self.assertEqual(self.stream().body, b"id: a\ndata: {}\n\n")

    def test_both_doors_take_the_same_messages(self) -> None:
        self.assertEqual(self.begin().max_event, MAX_CHUNK_BYTES)
        self.assertGreaterEqual(EVENT_ROOM_BYTES, MAX_EVENT_BYTES)

    def test_room_comes_back_with_the_reactor_s_next_turn(self) -> None:
        sink = self.begin()
        sink.write_event(bytes(EVENT_ROOM_BYTES))
        self.assertEqual(sink.event_room, 0)
        self.plane.clock.advance(0)
        self.assertEqual(sink.event_room, EVENT_ROOM_BYTES)

    def test_no_turn_gives_room_while_the_transport_is_full(self) -> None:
        sink = self.begin()
        sink.write_event(bytes(EVENT_ROOM_BYTES))
        self.connection.transport.fill()
        waiting = sink.when_room(1)
        self.plane.clock.advance(0)
        self.assertNoResult(waiting)
        self.assertEqual(sink.event_room, 0)
        self.connection.transport.drain()
        self.successResultOf(waiting)

    def test_line_ends_take_the_room_they_need(self) -> None:
        sink = self.begin()
        sink.write_event(b"\n" * 10_000)
        self.assertEqual(sink.event_room, 0)
        self.plane.clock.advance(0)
        sink.write_event(b"\r\n" * 1000)
        self.assertEqual(sink.event_room, EVENT_ROOM_BYTES - 14_000)

    def test_http10_ends_by_closing(self) -> None:
        sink = self.begin(b"GET /app/feed/jobs/events HTTP/1.0\r\n\r\n")
        sink.write_event(b"{}")
        stream = self.stream()
        assert stream.head is not None
        self.assertNotIn("x-was", stream.head.fields)
        self.assertEqual((stream.head.fields["connection"], stream.body), ("close", b"data: {}\n\n"))
        sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "it stalled"))
        self.assertEqual(self.stream().events.events[-1].type, "error")
        self.assertTrue(self.connection.closing)
        self.assertFalse(self.connection.aborted)

    def test_an_answer_that_is_no_stream(self) -> None:
        for head, body in (
            (ResponseHead(status=204), b""),
            (ResponseHead(status=202, content_type="text/plain"), b"later"),
            (ResponseHead(length=5, content_type="text/plain"), b"never"),
        ):
            sink = self.subscribe()
            sink.start(head)
            self.assertRaises(RuntimeError, sink.write_event, b"{}")
            sink.write(body)
            self.pass_time(2 * HEARTBEAT_S)
            sink.finish()
            (answer,) = self.connection.answers()
            self.assertEqual((answer.status, answer.body), (head.status, body))
            self.assertEqual(answer.fields.get("content-type"), head.content_type)

    def test_messages_and_a_body_do_not_mix(self) -> None:
        sink = self.begin()
        sink.write_event(b"{}")
        self.assertRaises(RuntimeError, sink.write, b"body")
        sink = self.begin()
        sink.write(b"body")
        self.assertRaises(RuntimeError, sink.write_event, b"{}")
        self.pass_time(2 * HEARTBEAT_S)
        self.assertEqual(self.stream().body, b"body")
        sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "it stalled"))
        self.assertTrue(self.connection.aborted)

    def test_a_head_that_cannot_be_written(self) -> None:
        sink = self.subscribe()
        waiting = sink.when_room(1)
        self.successResultOf(waiting)
        sink.start(attrs.evolve(JSON, headers=(("x-own", "a\nb"),)))
        answer = self.connection.answer()
        self.assertEqual((answer.status, answer.json["code"]), (502, "bad_gateway"))
        self.assertEqual(sink.event_room, 0)
        self.plane.clock.advance(HEARTBEAT_S)
        self.assertEqual(self.connection.raw(), b"")

    def test_producers(self) -> None:
        sink = self.begin()
        verifyObject(IPushProducer, sink)
        self.assertRaises(ValueError, sink.registerProducer, SpyProducer(), False)
        sink.registerProducer(SpyProducer(), True)
        self.assertRaises(RuntimeError, sink.registerProducer, SpyProducer(), True)


class EndTests(SinkCase):
    """How a stream ends, and what its reader makes of it."""

    def test_well(self) -> None:
        sink = self.begin()
        sink.write_event(b"{}")
        sink.finish()
        stream = self.stream()
        self.assertTrue(stream.whole)
        self.assertEqual([event.type for event in stream.events.events], ["message"])
        self.assertEqual(stream.events.retry_ms, None)
        [line] = self.plane.log
        self.assertEqual((line["route"], line["status"], line["facet"]), ("feed.subscribe", 200, "feed"))
        self.assertNotIn("reason", line)

    def test_error_after_the_head(self) -> None:
        sink = self.begin()
        sink.write_event(b"{}", "m-1")
        sink.fail(NodeError(ErrorCode.INTEGRITY_FAILED, "line\nbreak"))
        stream = self.stream()
        self.assertTrue(stream.whole)
        last = stream.events.events[-1]
        self.assertEqual((last.type, last.last_event_id), ("error", "m-1"))
        self.assertEqual(
            json.loads(last.data),
            {"code": "integrity_failed", "message": "line\nbreak", "retryable": False, "request_id": "r-1"},
        )
        self.assertIsNone(stream.events.retry_ms)
        self.assertFalse(self.connection.aborted)
        [line] = self.plane.log
        self.assertEqual((line["status"], line["reason"]), (502, "integrity_failed"))
        self.assertIs(sink.error.code, ErrorCode.INTEGRITY_FAILED)

    def test_error_that_says_when_to_come_back(self) -> None:
        for chance, told in ((0.0, 500), (0.25, 750), (1.0, 1500)):
            connection = self.plane.connect().send(get())
            sink = EventSink(self.plane.dispatcher.sinks[-1], self.plane.clock, chance=lambda at=chance: at)
            sink.start(JSON)
            sink.fail(NodeError(ErrorCode.OWNER_UNAVAILABLE, "refused", retry_after_s=1.0))
            events = read_stream(connection.raw()).events
            self.assertEqual(events.retry_ms, told)
            self.assertEqual(json.loads(events.events[-1].data)["retry_after_ms"], 1000)

    def test_drain_only_says_when_to_come_back(self) -> None:
        sink = self.begin()
        sink.fail(NodeError(ErrorCode.DRAINING, "the node is stopping", retry_after_s=5.0))
        self.assertTrue(self.connection.closing, "who comes back is to ask another node")
        stream = self.stream()
        self.assertTrue(stream.whole)
        self.assertEqual(stream.events.events, [])
        assert stream.events.retry_ms is not None
        self.assertTrue(2500 <= stream.events.retry_ms <= 7500)
        [line] = self.plane.log
        self.assertEqual((line["status"], line["reason"]), (503, "draining"))

    def test_error_before_the_head(self) -> None:
        for code, status in ((ErrorCode.BUSY, 429), (ErrorCode.DRAINING, 503), (ErrorCode.NOT_FOUND, 404)):
            self.subscribe().fail(NodeError(code, "no"))
            answer = self.connection.answer()
            self.assertEqual((answer.status, answer.json["code"]), (status, code.value))
            self.assertEqual(answer.fields["content-type"], "application/json")

    def test_connection_is_used_again(self) -> None:
        for how in ("finish", "fail"):
            sink = self.begin()
            self.connection.send(get("/app/search?q=next"))
            self.assertEqual(len(self.dispatcher.calls), 1, "it is not begun before its turn")
            sink.write_event(b"{}")
            if how == "finish":
                sink.finish()
            else:
                sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "it stalled"))
            self.dispatcher.results[-1].callback(None)
            say(b"next")(self.dispatcher.calls[1], self.dispatcher.sinks[1])
            stream = self.stream()
            self.assertTrue(stream.whole)
            (answer,) = read_answers(stream.behind)
            self.assertEqual(answer.body, b"next")
            self.assertFalse(self.connection.closing)
            self.dispatcher.calls.clear()
            self.dispatcher.sinks.clear()

    def test_nothing_is_left_behind(self) -> None:
        """Neither a heartbeat nor a turn of one that has ended."""
        for end in (
            lambda sink: sink.finish(),
            lambda sink: sink.fail(NodeError(ErrorCode.DRAINING, "stopping")),
            lambda sink: sink.fail(NodeError(ErrorCode.INTERNAL, "defect")),
        ):
            sink = self.begin()
            sink.write_event(b"{}")
            end(sink)
            self.connection.raw()
            self.connection.lose()
            self.assertEqual(self.plane.clock.getDelayedCalls(), [])
            sink.write_event(b"{}")
            self.assertEqual(self.connection.raw(), b"")

    def test_caller_goes(self) -> None:
        sink = self.begin()
        sink.write_event(b"{}")
        waiting = sink.when_room(MAX_EVENT_BYTES)
        producer = SpyProducer()
        sink.registerProducer(producer, True)
        self.connection.lose()
        self.assertIs(self.failureResultOf(waiting, NodeError).value.code, ErrorCode.CANCELLED)
        self.assertEqual((len(self.dispatcher.cancelled), producer.told), (1, ["stop"]))
        self.assertEqual(self.plane.clock.getDelayedCalls(), [])
        [line] = self.plane.log
        self.assertEqual((line["status"], line["reason"]), (499, "cancelled"))

    def test_ended_behind_its_back(self) -> None:
        """Its call is over and has ended nothing: that is a defect, and leaves no heartbeat behind."""
        sink = self.begin()
        self.dispatcher.results[0].callback(None)
        self.assertTrue(self.connection.aborted)
        self.connection.lose()
        self.pass_time(2 * HEARTBEAT_S)
        self.assertEqual((sink.event_room, self.plane.clock.getDelayedCalls()), (0, []))


class HeartbeatTests(SinkCase):
    """What is sent while there is nothing to send."""

    def beats(self) -> int:
        return self.stream().events.comments

    def test_silence_is_broken(self) -> None:
        sink = self.begin()
        self.pass_time(HEARTBEAT_S - 1)
        self.assertEqual(self.beats(), 0)
        self.pass_time(1)
        self.assertEqual((self.beats(), self.stream().body), (1, b": \n\n"))
        sink.write_event(b"{}")
        self.pass_time(HEARTBEAT_S - 1)
        self.assertEqual(self.beats(), 1)
        self.pass_time(1 + 2 * HEARTBEAT_S)
        self.assertEqual((self.beats(), self.stream().events.messages), (4, ["{}"]))

    def test_nothing_ends_a_quiet_stream(self) -> None:
        self.begin()
        self.pass_time(3600, step=5)
        self.assertEqual(self.beats(), 240)
        self.assertFalse(self.connection.closing or self.connection.aborted)
        self.assertEqual(self.dispatcher.cancelled, [])

    def test_do_not_pile_up(self) -> None:
        """A reader that never reads is given up; were it not, a thousand of them would be no byte more."""
        sink = self.begin()
        self.connection.transport.fill()
        self.connection.raw()
        self.plane.clock.advance(29)
        self.assertFalse(self.connection.aborted)
        for _ in range(1000):
            self.plane.clock.advance(HEARTBEAT_S)
        self.assertEqual(self.connection.raw(), b"")
        self.assertTrue(self.connection.aborted)
        self.assertEqual(len(self.dispatcher.cancelled), 1)
        self.assertEqual((self.plane.log[0]["status"], self.plane.log[0]["reason"]), (499, "slow_reader"))
        self.assertIs(sink.error.code, ErrorCode.CANCELLED)

    def test_go_on_when_the_transport_is_empty(self) -> None:
        self.begin()
        self.connection.transport.fill()
        self.pass_time(HEARTBEAT_S + 5)
        self.assertEqual(self.beats(), 0)
        self.connection.transport.drain()
        self.pass_time(HEARTBEAT_S)
        self.assertEqual(self.beats(), 1)


class KernelWire(Wire):
    """A transport with a socket, of which nobody reads the other end unless told."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)

    def fileno(self) -> int:
        return self.near.fileno()

    def write(self, data: bytes) -> None:
        super().write(data)
        self.near.send(data)

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def read(self) -> None:
        """Take all there is."""
        self.far.recv(1 << 20)

    def close(self) -> None:
        self.near.close()
        self.far.close()


class TakingTests(SinkCase):
    """A caller that takes nothing of little, of which the transport says nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.wire = KernelWire()
        self.addCleanup(self.wire.close)
        self.sink = self.begin(transport=self.wire)

    def test_is_given_up(self) -> None:
        self.wire.read()
        self.pass_time(10)
        self.sink.write_event(b"{}")
        self.pass_time(29)
        self.assertEqual(self.dispatcher.cancelled, [])
        self.pass_time(10)
        self.assertEqual(len(self.dispatcher.cancelled), 1)
        self.assertEqual(self.plane.log[0]["reason"], "slow_reader")

    def test_further_messages_do_not_hide_it(self) -> None:
        self.wire.read()
        for _ in range(30):
            self.sink.write_event(b'{"a": "message a second"}')
            self.pass_time(1)
        self.pass_time(10)
        self.assertEqual(len(self.dispatcher.cancelled), 1)

    def test_what_waits_is_heartbeat_enough(self) -> None:
        self.sink.write_event(b"{}")
        self.connection.raw()
        self.pass_time(HEARTBEAT_S + 5)
        self.assertEqual(self.connection.raw(), b"")

    def test_one_that_takes_it_late_is_kept(self) -> None:
        for _ in range(10):
            self.sink.write_event(b"{}")
            self.pass_time(20)
            self.wire.read()
        self.pass_time(5, step=0.5)
        self.assertEqual(self.dispatcher.cancelled, [])

    def test_a_quiet_one_is_kept(self) -> None:
        for _ in range(100):
            self.wire.read()
            self.pass_time(HEARTBEAT_S)
        self.assertEqual(self.dispatcher.cancelled, [])
        self.sink.finish()
        self.wire.read()
        self.pass_time(60)
        self.assertFalse(self.connection.aborted)

    def test_answers_behind_it_are_counted_too(self) -> None:
        """A reader that takes each of them, and has always got the next one to take."""
        self.sink.write_event(b"{}")
        self.sink.finish()
        for _ in range(10):
            self.connection.send(get("/app/search?q=next"))
            say(b"next")(self.dispatcher.calls[-1], self.dispatcher.sinks[-1])
            self.pass_time(7)
            self.assertFalse(self.connection.aborted)
            self.wire.read()
            self.connection.send(get("/app/search?q=next"))
            say(b"next")(self.dispatcher.calls[-1], self.dispatcher.sinks[-1])
            self.pass_time(0.5)


class StreamedBodyTests(SinkCase):
    """An answer of unknown length, which may be a service's own stream of events: it is watched, too."""

    def begin_body(self, head: ResponseHead) -> Any:
        """Return the sink of an answer that has begun, to a caller who takes nothing from here on."""
        self.wire = KernelWire()
        self.addCleanup(self.wire.close)
        self.connection = self.plane.connect(self.wire).send(get("/app/search?q=x"))
        sink = self.dispatcher.sinks[-1]
        sink.start(head)
        self.wire.read()
        return sink

    def test_who_takes_nothing_of_little_is_given_up(self) -> None:
        sink = self.begin_body(attrs.evolve(JSON, length=None))
        self.pass_time(100)
        sink.write(b"data: 1\n\n")
        self.pass_time(29)
        self.assertEqual(self.dispatcher.cancelled, [])
        self.pass_time(10)
        self.assertEqual(len(self.dispatcher.cancelled), 1)

    def test_one_with_a_length_is_soon_over(self) -> None:
        sink = self.begin_body(attrs.evolve(JSON, length=100))
        sink.write(b"x")
        self.pass_time(100)
        self.assertEqual(self.dispatcher.cancelled, [])


class InputEndedTests(SinkCase):
    """A caller that shut its writing side, or has gone."""

    def test_is_gone(self) -> None:
        sink = self.begin()
        self.connection.channel.readConnectionLost()
        self.assertEqual(len(self.dispatcher.cancelled), 1)
        self.assertTrue(self.connection.aborted)
        sink.write_event(b"{}")
        self.assertEqual(self.stream().body, b"")

    def test_before_its_head(self) -> None:
        sink = self.subscribe()
        self.connection.channel.readConnectionLost()
        sink.start(JSON)
        self.assertEqual((len(self.dispatcher.cancelled), self.connection.transport.value()), (1, b""))


class BooksTests(SinkCase):
    """What is counted."""

    def test_no_latency_and_the_rest_as_ever(self) -> None:
        sink = self.begin()
        sink.write_event(b"12345")
        self.plane.clock.advance(10)
        self.assertEqual(self.plane.log, [], "a stream is logged when it ends")
        sink.finish()
        labels = {"route": "feed.subscribe", "method": "GET"}
        sample = self.plane.sample
        self.assertEqual(sample("http_requests_total", status="200", **labels), 1)
        self.assertEqual(sample("request_latency_seconds_count", **labels), 0)
        self.assertEqual(sample("request_first_byte_seconds_count", **labels), 0)
        self.assertEqual(sample("bytes_total", ingress="http", direction="out"), len(b"data: 12345\n\n"))
        self.assertEqual(self.plane.log[0]["latency_ms"], 10_000)
