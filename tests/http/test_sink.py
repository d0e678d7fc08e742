"""Tests for :mod:`micronode.http.sink`."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IConsumer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from tests.contracts.sink import Outcome, Seen, SinkContract, SpyProducer
from tests.http.support import Connection, Plane, StubDispatcher, get, read_answers


def connect(request: bytes) -> tuple[Connection, Any]:
    """Return a connection with *request* on it and its sink."""
    dispatcher = StubDispatcher()
    connection = Plane(dispatcher).connect().send(request)
    return connection, dispatcher.sinks[0]


class HttpSinkContractTests(SinkContract, SynchronousTestCase):
    """The suite that every sink passes."""

    def make_sink(self) -> Any:
        self.connection, sink = connect(get())
        return sink

    def seen(self) -> Seen:
        raw = self.connection.transport.value()
        if not raw:
            return Seen(outcome=Outcome.OPEN)
        if self.connection.aborted:
            return Seen(outcome=Outcome.VOID)
        try:
            (answer,) = read_answers(raw)
        except (AssertionError, ValueError):
            return Seen(outcome=Outcome.OPEN)
        if answer.status >= 400:
            return Seen(outcome=Outcome.FAILED, status=answer.status, error=answer.json["code"])
        return Seen(outcome=Outcome.WHOLE, status=answer.status, body=answer.body)

    def pause(self) -> None:
        self.connection.transport.fill()

    def resume(self) -> None:
        self.connection.transport.drain()

    def disconnect(self) -> None:
        self.connection.lose()


class HeadTests(SynchronousTestCase):
    """What goes out before the body."""

    def answer_with(self, head: ResponseHead, body: bytes = b"", request: bytes = get()) -> bytes:
        connection, sink = connect(request)
        sink.start(head)
        sink.write(body)
        sink.finish()
        return connection.raw()

    def test_fields_of_the_head(self) -> None:
        head = ResponseHead(
            status=206,
            content_type="image/png",
            length=3,
            etag='"abc"',
            range="bytes 0-2/10",
            headers=(("content-security-policy", "sandbox"),),
        )
        (answer,) = read_answers(self.answer_with(head, b"xyz", get("/app/search?q=x", "X-Request-ID: r-1")))
        self.assertEqual(
            answer.fields,
            {
                "date": "Thu, 01 Jan 1970 00:00:00 GMT",
                "content-type": "image/png",
                "etag": '"abc"',
                "content-range": "bytes 0-2/10",
                "content-security-policy": "sandbox",
                "content-length": "3",
                "x-content-type-options": "nosniff",
                "cross-origin-resource-policy": "same-origin",
                "x-request-id": "r-1",
            },
        )

    def test_unknown_length_goes_in_chunks(self) -> None:
        raw = self.answer_with(ResponseHead(), b"x" * 17)
        self.assertIn(b"Transfer-Encoding: chunked\r\n", raw)
        self.assertTrue(raw.endswith(b"\r\n\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"))

    def test_http10_never_sees_chunks(self) -> None:
        connection, sink = connect(b"GET /app/search?q=x HTTP/1.0\r\n\r\n")
        sink.start(ResponseHead())
        sink.write(b"body")
        self.assertFalse(connection.closing)
        sink.finish()
        (answer,) = connection.answers()
        self.assertNotIn("transfer-encoding", answer.fields)
        self.assertEqual((answer.fields["connection"], answer.body), ("close", b"body"))
        self.assertTrue(connection.closing)

    def test_head_request_gets_the_length_and_no_body(self) -> None:
        raw = self.answer_with(ResponseHead(length=1000), b"never sent", get("/app/media/x", method="HEAD"))
        (answer,) = read_answers(raw, heads=[0])
        self.assertEqual(answer.fields["content-length"], "1000")

    def test_head_request_of_unknown_length(self) -> None:
        raw = self.answer_with(ResponseHead(), b"", get("/app/media/x", method="HEAD"))
        (answer,) = read_answers(raw, heads=[0])
        self.assertFalse({"content-length", "transfer-encoding"} & set(answer.fields))

    def test_bodiless_statuses(self) -> None:
        for status in (204, 304):
            raw = self.answer_with(ResponseHead(status=status, length=0, etag='"e"'), b"never sent")
            (answer,) = read_answers(raw)
            self.assertFalse({"content-length", "transfer-encoding"} & set(answer.fields))
            self.assertEqual(answer.fields["etag"], '"e"')

    def test_owner_cannot_write_our_head(self) -> None:
        for head in (
            ResponseHead(length=0, headers=(("x-note", "a\r\nset-cookie: b"),)),
            ResponseHead(length=0, content_type="text/html\nx: y"),
            ResponseHead(length=0, etag="\ud800"),
            ResponseHead(length=0, range="bytes 0-1/2\rx: y"),
            ResponseHead(length=0, etag='"a\0"'),
            ResponseHead(status=101, length=0),
            ResponseHead(length=-1),
        ):
            (answer,) = read_answers(self.answer_with(head))
            self.assertEqual((answer.status, answer.json["code"]), (502, "bad_gateway"))

    def test_framing_fields_are_ours(self) -> None:
        headers = (
            ("Transfer-Encoding", "gzip"),
            ("content-length", "7"),
            ("Connection", "x"),
            ("server", "y"),
        )
        (answer,) = read_answers(self.answer_with(ResponseHead(length=2, headers=headers), b"ok"))
        self.assertEqual(answer.fields["content-length"], "2")
        self.assertFalse({"transfer-encoding", "connection", "server"} & set(answer.fields))


class FailTests(SynchronousTestCase):
    """Errors as HTTP sees them."""

    def test_error_object(self) -> None:
        connection, sink = connect(get("/app/search?q=x", "X-Request-ID: r-1"))
        sink.fail(NodeError(ErrorCode.NOT_FOUND, "no such thing"))
        answer = connection.answer()
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.fields["content-type"], "application/json")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertNotIn("retry-after", answer.fields)
        self.assertEqual(
            answer.json,
            {"code": "not_found", "message": "no such thing", "retryable": False, "request_id": "r-1"},
        )
        self.assertFalse(connection.closing)

    def test_retry_after_is_rounded_up(self) -> None:
        for given_s, told_ms, told in (
            (None, 1000, "1"),
            (0.2, 200, "1"),
            (2.001, 2001, "3"),
            (7.0, 7000, "7"),
        ):
            connection, sink = connect(get())
            sink.fail(NodeError(ErrorCode.OWNER_UNAVAILABLE, "later", retry_after_s=given_s))
            answer = connection.answer()
            self.assertEqual((answer.status, answer.fields["retry-after"]), (503, told))
            self.assertEqual(answer.json["retry_after_ms"], told_ms)

    def test_failed_head_request_has_no_body(self) -> None:
        connection, sink = connect(get("/app/media/x", method="HEAD"))
        sink.fail(NodeError(ErrorCode.NOT_FOUND, "no such thing"))
        (answer,) = connection.answers(heads=[0])
        self.assertEqual(answer.status, 404)
        self.assertFalse(connection.closing)

    def test_failure_after_the_head_resets_the_connection(self) -> None:
        connection, sink = connect(get())
        sink.start(ResponseHead(length=10))
        sink.write(b"part")
        sink.fail(NodeError(ErrorCode.OWNER_TIMEOUT, "the owner stalled"))
        self.assertTrue(connection.aborted)
        self.assertEqual(connection.plane.log[-1]["status"], 504)
        self.assertEqual(connection.plane.log[-1]["reason"], "owner_timeout")

    def test_wrong_length_is_counted_as_our_defect(self) -> None:
        connection, sink = connect(get())
        sink.start(ResponseHead(length=3))
        sink.write(b"abcd")
        self.assertTrue(connection.aborted)
        self.assertNotIn(b"abcd", connection.raw())
        self.assertEqual(
            connection.plane.sample("http_requests_total", route="search.query", method="GET", status="500"),
            1,
        )


class ProducerTests(SynchronousTestCase):
    """What the contract leaves open."""

    def test_is_a_consumer(self) -> None:
        verifyObject(IConsumer, connect(get())[1])

    def test_running_producer_is_stopped_when_the_caller_goes(self) -> None:
        connection, sink = connect(get())
        sink.start(ResponseHead())
        producer = SpyProducer()
        sink.registerProducer(producer, True)
        connection.lose()
        self.assertEqual(producer.told, ["stop"])

    def test_producer_unregistered_by_the_cancel_is_left_alone(self) -> None:
        connection, sink = connect(get())
        sink.start(ResponseHead())
        producer = SpyProducer()
        sink.registerProducer(producer, True)
        connection.plane.dispatcher.results[0].addCallback(lambda _: sink.unregisterProducer())
        connection.lose()
        self.assertEqual(producer.told, [])

    def test_producer_left_registered_is_forgotten_at_the_end(self) -> None:
        for end in ("finish", "fail"):
            connection, sink = connect(get())
            producer = SpyProducer()
            sink.registerProducer(producer, True)
            if end == "finish":
                sink.start(ResponseHead(length=0))
                sink.finish()
            else:
                sink.fail(NodeError(ErrorCode.NOT_FOUND, "no such thing"))
            connection.transport.fill()
            connection.lose()
            sink.disconnected()
            self.assertEqual(producer.told, [])
            self.assertEqual(len(connection.plane.log), 1)

    def test_refuses_pull_producers_and_a_second_one(self) -> None:
        _, sink = connect(get())
        self.assertRaises(ValueError, sink.registerProducer, SpyProducer(), False)
        sink.registerProducer(SpyProducer(), True)
        self.assertRaises(RuntimeError, sink.registerProducer, SpyProducer(), True)

    def test_misuse_is_loud(self) -> None:
        _, sink = connect(get())
        self.assertRaises(RuntimeError, sink.write, b"x")
        self.assertRaises(RuntimeError, sink.finish)


class LastByteTests(SynchronousTestCase):
    """An answer is over when its last byte has left: until then its caller has its permit."""

    def answered(self, request: bytes, *, whole: bool) -> tuple[Connection, Any]:
        """Answer *request* to a caller that reads nothing; return what finish() returned."""
        connection, sink = connect(request)
        head = ResponseHead(length=3)
        if whole:
            connection.transport.fill()
            return connection, sink.answer(head, b"abc")
        sink.start(head)
        sink.write(b"abc")
        connection.transport.fill()
        return connection, sink.finish()

    def test_the_caller_reads_on(self) -> None:
        for whole in (False, True):
            connection, over = self.answered(get(), whole=whole)
            self.assertNoResult(over)
            connection.transport.drain()
            self.successResultOf(over)

    def test_the_connection_is_lost(self) -> None:
        connection, over = self.answered(get(), whole=False)
        connection.lose()
        self.successResultOf(over)

    def test_the_connection_ends_with_it(self) -> None:
        """Nobody tells then when the buffer is empty, but the transport closes."""
        connection, over = self.answered(get("/app/search?q=x", "Connection: close"), whole=False)
        self.assertNoResult(over)
        connection.lose()
        self.successResultOf(over)

    def test_what_is_behind_it_waits(self) -> None:
        """The next request is not begun before the answer to this one has left."""
        dispatcher = StubDispatcher()
        connection = Plane(dispatcher).connect().send(get() + get())
        sink = dispatcher.sinks[0]
        sink.start(ResponseHead(length=0))
        connection.transport.fill()
        order: list[str] = []
        sink.finish().addCallback(lambda _: order.append(f"{len(dispatcher.sinks)} begun"))
        self.assertEqual(len(dispatcher.sinks), 1)
        connection.transport.drain()
        self.assertEqual((order, len(dispatcher.sinks)), (["1 begun"], 2))
