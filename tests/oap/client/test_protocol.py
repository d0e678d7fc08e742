"""Client and node joined in memory: many calls at once, backpressure, and every way to end."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.oap.client import OAPClient
from micronode.oap.client.protocol import CallerProtocol
from micronode.oap.client.response import OAPError, OAPResponse
from micronode.oap.wire.frames import ACK_REQ, END, EVENT, RESP, START, Control, encode_frame
from micronode.oap.wire.limits import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from tests.support.oap import Dispatched, SpyConsumer, StubNode, read_frames
from tests.support.pairs import ConnectionPair
from tests.support.tcp import TCPTransport


@implementer(IBodyProducer)
class StubBody:
    """A body that is written as the test says, or *data* at once."""

    length = UNKNOWN_LENGTH

    def __init__(self, data: bytes | None = None) -> None:
        self.told: list[str] = []
        self.done: Deferred[None] = Deferred()
        self.consumer: Any = None
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self.consumer = consumer
        if self._data is not None:
            consumer.write(self._data)
            return succeed(None)
        return self.done

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.connect()

    def connect(self, **settings: Any) -> None:
        self.node = StubNode(**settings)
        self.protocol = CallerProtocol(self.node.clock)
        self.pair = ConnectionPair(self.node.clock, self.protocol, self.node.factory.buildProtocol(None))
        self.pair.run()
        self.client = OAPClient(self.protocol, self.successResultOf(self.protocol.ready))

    def query(self, text: str = "reactor") -> Deferred[OAPResponse]:
        return self.client.call(Profile.SEARCH, "query", {"q": text})

    def put(self, body: StubBody) -> Deferred[OAPResponse]:
        return self.client.call(Profile.MEDIA, "put", {}, body=body)

    def called(self) -> Dispatched:
        self.pair.run()
        return self.node.calls[-1]


class Calling(Case):
    def test_hello_is_kept(self) -> None:
        self.assertEqual(self.client.hello["server"], "micronode/0.1")
        verifyObject(IPushProducer, self.protocol)

    def test_call_and_answer(self) -> None:
        asked = self.client.call(
            Profile.SEARCH, "query", {"q": "x"}, deadline_ms=500, idempotency_key="k", capability="cap"
        )
        dispatched = self.called()
        call = dispatched.call
        self.assertEqual((call.args, call.deadline_s), ({"q": "x"}, 0.5))
        self.assertEqual((call.idempotency_key, call.capability), ("k", "cap"))
        dispatched.answer(b"result", content_type="application/json")
        self.pair.run()
        response = self.successResultOf(asked)
        self.assertEqual(response.head, {"status": 200, "content_type": "application/json", "length": 6})
        self.assertEqual(self.successResultOf(response.read(100)), b"result")

    def test_answer_without_body(self) -> None:
        asked = self.query()
        dispatched = self.called()
        dispatched.sink.start(ResponseHead(length=0))
        dispatched.sink.finish()
        self.pair.run()
        self.assertEqual(self.successResultOf(self.successResultOf(asked).read(0)), b"")

    def test_many_at_once_in_any_order(self) -> None:
        asked = [self.query(str(number)) for number in range(60)]
        self.pair.run()
        for dispatched in reversed(self.node.calls):
            dispatched.answer(dispatched.call.args["q"].encode() * 1000)
        self.pair.run()
        for number, each in enumerate(asked):
            data = self.successResultOf(self.successResultOf(each).read(1 << 20))
            self.assertEqual(data, str(number).encode() * 1000)

    def test_failure(self) -> None:
        asked = self.query()
        self.called().sink.fail(NodeError(ErrorCode.BUSY, "full", retry_after_s=2))
        self.pair.run()
        error = self.failureResultOf(asked, OAPError).value
        self.assertEqual((error.code, error.name, error.message), (429, "busy", "full"))
        self.assertEqual((error.retryable, error.retry_after_ms), (True, 2000))

    def test_failure_after_the_head(self) -> None:
        asked = self.query()
        dispatched = self.called()
        dispatched.sink.start(ResponseHead())
        dispatched.sink.write(b"part")
        self.pair.run()
        read = self.successResultOf(asked).read(100)
        dispatched.sink.fail(NodeError(ErrorCode.INTEGRITY_FAILED, "digest"))
        self.pair.run()
        self.assertEqual(self.failureResultOf(read, OAPError).value.name, "integrity_failed")

    def test_arguments_that_are_no_json_are_refused_here(self) -> None:
        self.assertRaises(ValueError, self.client.call, Profile.SEARCH, "query", {"q": float("nan")})
        self.assertRaises(ValueError, self.client.call, Profile.SEARCH, "query", {"q": "x" * 20_000})
        self.assertRaises(ValueError, self.client.call, Profile.SEARCH, "query", {}, capability="é")


class Cancelling(Case):
    def test_before_the_head(self) -> None:
        asked = self.query()
        dispatched = self.called()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.pair.run()
        self.assertTrue(dispatched.cancelled)
        self.assertEqual(self.node.access[0]["status"], 499)

    def test_of_a_body(self) -> None:
        asked = self.query()
        dispatched = self.called()
        dispatched.sink.start(ResponseHead())
        dispatched.sink.write(b"part")
        self.pair.run()
        delivered = self.successResultOf(asked).deliver(SpyConsumer())
        delivered.cancel()
        self.failureResultOf(delivered, CancelledError)
        dispatched.sink.write(b"more")
        self.pair.run()
        self.assertTrue(dispatched.cancelled)

    def test_stops_the_upload(self) -> None:
        body = StubBody()
        asked = self.put(body)
        dispatched = self.called()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(body.told, ["stop"])
        body.consumer.write(b"late")
        body.done.callback(None)
        self.pair.run()
        self.assertTrue(dispatched.cancelled)
        self.assertEqual(self.node.count("oap_rejects_total", reason="bad_sequence"), 0)


class Uploading(Case):
    def test_body_arrives_whole(self) -> None:
        data = bytes(range(256)) * 1000
        asked = self.put(StubBody(data))
        dispatched = self.called()
        consumer = SpyConsumer()
        assert dispatched.call.body is not None
        done = dispatched.call.body.startProducing(consumer)
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(consumer.data, data)
        dispatched.answer(b"{}", status=201)
        self.pair.run()
        self.assertEqual(self.successResultOf(asked).head["status"], 201)

    def test_full_transport_pauses_the_body(self) -> None:
        body = StubBody()
        self.put(body)
        consumer = SpyConsumer()
        upload = self.called().call.body
        assert upload is not None
        upload.startProducing(consumer)
        body.consumer.write(bytes(100_000))
        self.assertEqual(body.told, ["pause"])
        self.pair.run()
        self.assertEqual(body.told, ["pause", "resume"])
        self.assertEqual(len(consumer.data), 100_000)

    def test_body_begun_while_full_is_paused_at_once(self) -> None:
        first, second = StubBody(), StubBody()
        self.put(first)
        self.pair.run()
        first.consumer.write(bytes(100_000))
        self.put(second)
        self.assertEqual(second.told, ["pause"])

    def test_owner_that_takes_nothing_stops_the_caller(self) -> None:
        body = StubBody()
        self.put(body)
        self.pair.run()
        for _ in range(100):
            if body.told[-1:] == ["pause"]:
                break
            body.consumer.write(bytes(10_000))
            self.pair.run()
        self.assertEqual(body.told[-1:], ["pause"])
        upload: Any = self.node.calls[0].call.body
        self.assertLessEqual(upload.held, 131_072 + 65_536)
        upload.startProducing(SpyConsumer())
        self.pair.run()
        self.assertEqual(body.told[-1:], ["resume"])

    def test_body_is_held_where_the_window_ends(self) -> None:
        body = StubBody(bytes(300_000))
        asked = self.put(body)
        dispatched = self.called()
        upload: Any = dispatched.call.body
        self.assertEqual(upload.held, STREAM_WINDOW_BYTES)
        consumer = SpyConsumer()
        done = upload.startProducing(consumer)
        self.pair.run()
        self.successResultOf(done)
        self.assertEqual(len(consumer.data), 300_000)
        dispatched.answer(b"{}", status=201)
        self.pair.run()
        self.successResultOf(asked)

    def test_uploads_share_the_connections_window(self) -> None:
        count = 12
        asked = [self.put(StubBody(bytes(200_000))) for _ in range(count)]
        self.pair.run()
        uploads: list[Any] = [dispatched.call.body for dispatched in self.node.calls]
        self.assertEqual(sum(upload.held for upload in uploads), CONNECTION_WINDOW_BYTES)
        small = self.query("beside")
        self.called().answer(b"short")
        self.pair.run()
        self.successResultOf(small)
        # The last are begun only when the first are taken, in their turn.
        consumers = [SpyConsumer() for _ in uploads]
        for upload, consumer in zip(uploads, consumers, strict=True):
            upload.startProducing(consumer)
            self.pair.run()
        self.assertEqual({len(consumer.data) for consumer in consumers}, {200_000})
        for dispatched in self.node.calls[:count]:
            dispatched.answer(b"{}")
        self.pair.run()
        self.assertEqual([self.successResultOf(each).head["length"] for each in asked], [2] * count)

    def test_cancelled_uploads_leave_the_connections_window_whole(self) -> None:
        for _ in range(30):
            asked = self.put(StubBody(bytes(200_000)))
            self.pair.run()
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.pair.run()
        asked = self.put(StubBody(bytes(100_000)))
        dispatched = self.called()
        upload: Any = dispatched.call.body
        self.assertEqual(upload.held, 100_000)

    def test_early_answer_stops_the_body(self) -> None:
        body = StubBody()
        asked = self.put(body)
        self.called().sink.fail(NodeError(ErrorCode.FORBIDDEN, "no"))
        self.pair.run()
        self.assertEqual(self.failureResultOf(asked, OAPError).value.code, 403)
        self.assertEqual(body.told, ["stop"])
        body.consumer.write(b"late")
        self.pair.run()

    def test_body_that_breaks_off_cancels_the_call(self) -> None:
        body = StubBody()
        asked = self.put(body)
        dispatched = self.called()
        body.done.errback(OSError("the file has gone"))
        self.failureResultOf(asked, OSError)
        self.pair.run()
        self.assertTrue(dispatched.cancelled)

    def test_body_that_breaks_off_after_the_head_voids_the_answer(self) -> None:
        body = StubBody()
        asked = self.put(body)
        dispatched = self.called()
        dispatched.sink.start(ResponseHead())
        self.pair.run()
        read = self.successResultOf(asked).read(100)
        body.done.errback(OSError("the file has gone"))
        self.assertEqual(self.failureResultOf(read, OAPError).value.name, "cancelled")
        self.pair.run()
        self.assertTrue(dispatched.cancelled)


class Backpressure(Case):
    def test_consumer_that_pauses_stops_the_owner_and_nobody_else(self) -> None:
        asked = self.query()
        dispatched = self.called()
        source = Source(dispatched)
        dispatched.sink.start(ResponseHead())
        dispatched.sink.registerProducer(source, True)
        self.pair.run()
        consumer = SpyConsumer()
        response = self.successResultOf(asked)
        delivered = response.deliver(consumer)
        response.pauseProducing()
        source.pump(self.pair)
        self.assertEqual(response.held, STREAM_WINDOW_BYTES)
        # What the node holds for the stream is bounded, however much the owner has.
        self.assertLess(source.sent, 400_000)
        beside = self.query("beside")
        self.called().answer(b"short")
        self.pair.run()
        self.assertEqual(self.successResultOf(self.successResultOf(beside).read(10)), b"short")
        self.assertEqual(self.pair.left.producerState, "producing")
        response.resumeProducing()
        while source.sent < 1_000_000:
            source.pump(self.pair)
        dispatched.sink.unregisterProducer()
        dispatched.sink.finish()
        self.pair.run()
        self.successResultOf(delivered)
        self.assertEqual(len(consumer.data), source.sent)
        self.assertLess(self.pair.most_unsent, 200_000)

    def test_unread_answer_holds_up_nobody_else_and_abort_frees_its_stream(self) -> None:
        unread, read = self.query("unread"), self.query("read")
        self.pair.run()
        self.node.calls[0].answer(bytes(300_000))
        self.node.calls[1].answer(b"short")
        self.pair.run()
        self.assertEqual(self.successResultOf(self.successResultOf(read).read(10)), b"short")
        response = self.successResultOf(unread)
        self.assertEqual(response.held, STREAM_WINDOW_BYTES)
        self.assertFalse(self.node.calls[0].over.called)
        response.abort()
        self.pair.run()
        self.assertTrue(self.node.calls[0].over.called)

    def test_answer_is_credited_as_it_is_taken(self) -> None:
        asked = self.query()
        self.called().answer(bytes(1_000_000))
        self.pair.run()
        response = self.successResultOf(asked)
        sizes = []
        while data := self.successResultOf(response.take(50_000)):
            sizes.append(len(data))
            self.pair.run()
            self.assertLessEqual(response.held, STREAM_WINDOW_BYTES)
        self.assertEqual((sum(sizes), max(sizes)), (1_000_000, 50_000))


class WithoutWindows(SynchronousTestCase):
    """A node that does not offer them: the connection as a whole is stopped."""

    def setUp(self) -> None:
        self.protocol = CallerProtocol(Clock())
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self.receive(encode_frame(RESP, 200, 0, 0, b'{"max_frame":1048576,"max_chunk":65536}'))
        self.client = OAPClient(self.protocol, self.successResultOf(self.protocol.ready))
        self.transport.clear()

    def receive(self, *frames: bytes) -> None:
        self.protocol.dataReceived(b"".join(frames))

    def ask(self, body: StubBody | None = None) -> Deferred[OAPResponse]:
        return self.client.call(Profile.MEDIA, "get", {}, body=body)

    def test_streams_are_opened_without(self) -> None:
        self.ask()
        [frame] = read_frames(self.transport.value())
        self.assertEqual(frame.flags & ACK_REQ, 0)
        error = self.failureResultOf(self.client.subscribe("t").head(), OAPError).value
        self.assertEqual(error.name, "unknown_op")

    def test_consumer_that_pauses_stops_the_connection(self) -> None:
        asked, other = self.ask(), self.ask()
        self.receive(answer(START, 1, b"{}"), answer(START, 2, b"{}"), answer(0, 1, b"1"))
        response, another = self.successResultOf(asked), self.successResultOf(other)
        consumer = SpyConsumer()
        response.deliver(consumer)
        read = another.read(10)
        response.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.receive(answer(0, 1, b"2"), answer(END, 2, b"x"))
        self.assertNoResult(read)
        response.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual((consumer.data, self.successResultOf(read)), (b"12", b"x"))

    def test_unread_answer_stops_the_connection_and_abort_frees_it(self) -> None:
        asked, other = self.ask(), self.ask()
        self.receive(answer(START, 1, b"{}"), *[answer(0, 1, bytes(65_536))] * 2)
        self.assertEqual(self.transport.producerState, "paused")
        self.receive(answer(START | END, 2, b"{}"))
        self.assertNoResult(other)
        self.successResultOf(asked).abort()
        self.successResultOf(other)
        self.assertEqual(self.transport.producerState, "producing")

    def test_upload_waits_for_nothing_but_the_transport(self) -> None:
        body = StubBody()
        self.ask(body)
        body.consumer.write(bytes(1_000_000))
        self.assertEqual(body.told, [])
        total = sum(len(frame.payload) for frame in read_frames(self.transport.value())[1:])
        self.assertEqual(total, 1_000_000)

    def test_lost_connection_ends_what_was_held_back(self) -> None:
        asked = self.ask()
        self.receive(answer(START, 1, b"{}"))
        response = self.successResultOf(asked)
        delivered = response.deliver(SpyConsumer())
        response.pauseProducing()
        self.receive(answer(END, 1, b"whole"))
        self.protocol.connectionLost()
        response.resumeProducing()
        self.successResultOf(delivered)


def answer(flags: int, corr_id: int, payload: bytes) -> bytes:
    """Return a frame of an answer."""
    return encode_frame(RESP | flags, 200 if flags else 206, Profile.MEDIA, corr_id, payload)


class Source:
    """An owner with endless bytes, that heeds its pauses."""

    def __init__(self, dispatched: Dispatched) -> None:
        self.sent = 0
        self._dispatched = dispatched
        self._paused = False

    def pump(self, pair: ConnectionPair) -> None:
        """Send until paused, or a while."""
        for _ in range(50):
            if not self._paused:
                self._dispatched.sink.write(bytes(16_384))
                self.sent += 16_384
            pair.run()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        self._paused = True


class Ending(Case):
    def test_lost_connection_fails_what_is_open(self) -> None:
        body = StubBody()
        asked = [self.query(), self.put(body), self.query()]
        self.pair.run()
        dispatched = self.node.calls[0]
        dispatched.sink.start(ResponseHead())
        dispatched.sink.write(b"part")
        self.pair.run()
        read = self.successResultOf(asked[0]).read(100)
        self.node.factory.abort_all()
        self.pair.run()
        for each in (read, *asked[1:]):
            error = self.failureResultOf(each, OAPError).value
            self.assertEqual((error.code, error.retryable), (502, True))
        self.assertEqual(body.told, ["stop"])
        self.failureResultOf(self.query(), OAPError)
        self.successResultOf(self.client.close())

    def test_close(self) -> None:
        asked = self.query()
        self.pair.run()
        closed, again = self.client.close(), self.client.close()
        self.assertNoResult(closed)
        self.pair.run()
        self.successResultOf(closed)
        self.successResultOf(again)
        self.assertEqual(self.failureResultOf(asked, OAPError).value.name, "cancelled")
        self.assertTrue(self.node.calls[0].cancelled)
        self.assertEqual(self.node.factory.connections, 0)
        self.assertEqual([call for call in self.node.clock.getDelayedCalls() if call.active()], [])

    def test_goaway_refuses_new_calls_here(self) -> None:
        asked = self.query()
        dispatched = self.called()
        self.node.factory.goaway(1234)
        self.pair.run()
        error = self.failureResultOf(self.query(), OAPError).value
        self.assertEqual((error.name, error.retry_after_ms), ("draining", 1234))
        dispatched.answer(b"still")
        self.pair.run()
        self.assertEqual(self.successResultOf(self.successResultOf(asked).read(10)), b"still")
        self.assertEqual(self.node.factory.connections, 0)

    def test_node_that_fails_the_connection_says_why(self) -> None:
        asked = self.query()
        self.pair.run()
        self.pair.left.write(bytes(38))
        self.pair.run()
        self.assertEqual(self.failureResultOf(asked, OAPError).value.name, "bad_length")

    def test_node_that_breaks_the_protocol(self) -> None:
        asked = self.query()
        self.pair.run()
        self.pair.right.write(encode_frame(RESP | END, 200, 0x0101, 1))
        self.pair.run()
        error = self.failureResultOf(asked, OAPError).value
        self.assertEqual(error.name, "bad_gateway")
        self.assertIn("broke OAP/1", error.message)

    def test_node_that_breaks_the_protocol_and_does_not_read(self) -> None:
        asked = self.put(StubBody(bytes(STREAM_WINDOW_BYTES)))
        # Nothing of what is sent arrives, so that the connection cannot be closed in peace.
        self.protocol.dataReceived(bytes(38))
        self.assertNoResult(asked)
        self.node.clock.advance(1)
        self.assertTrue(self.pair.left.aborted)
        self.pair.run()
        self.assertEqual(self.failureResultOf(asked, OAPError).value.name, "bad_gateway")


class Sending(SynchronousTestCase):
    def test_the_end_of_a_chunk_does_not_wait(self) -> None:
        transport = TCPTransport()
        CallerProtocol(Clock()).makeConnection(transport)
        self.assertFalse(transport.delays)


class Greeting(SynchronousTestCase):
    def test_http_server(self) -> None:
        answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        for size in (len(answer), 1):
            protocol = CallerProtocol(Clock())
            protocol.makeConnection(StringTransport())
            for start in range(0, len(answer), size):
                protocol.dataReceived(answer[start : start + size])
            protocol.connectionLost()
            error = self.failureResultOf(protocol.ready, OAPError).value
            self.assertRegex(error.message, "^the answer is HTTP, .+ oap.listen")

    def test_ping_is_echoed(self) -> None:
        transport = StringTransport()
        protocol = CallerProtocol(Clock())
        protocol.makeConnection(transport)
        protocol.dataReceived(encode_frame(RESP, 200, 0, 0, b"{}"))
        transport.clear()
        protocol.dataReceived(encode_frame(EVENT, Control.PING, 0, 5, b"there?"))
        [pong] = read_frames(transport.value())
        self.assertEqual((pong.flags, pong.code, pong.corr_id), (EVENT, Control.PONG, 5))
        self.assertEqual(pong.payload, b"there?")
        transport.clear()
        protocol.dataReceived(encode_frame(EVENT, Control.PING, 0, 0) * 1000)
        self.assertEqual(len(read_frames(transport.value())), 9)

    def test_node_that_hangs_up(self) -> None:
        node = StubNode()
        protocol = CallerProtocol(node.clock)
        pair = ConnectionPair(node.clock, protocol, node.factory.buildProtocol(None))
        pair.right.lose()
        pair.left.lose()
        self.failureResultOf(protocol.ready, OAPError)

    def test_cancelled_greeting_closes(self) -> None:
        node = StubNode()
        protocol = CallerProtocol(node.clock)
        pair = ConnectionPair(node.clock, protocol, node.factory.buildProtocol(None))
        protocol.ready.cancel()
        self.failureResultOf(protocol.ready, CancelledError)
        pair.run()
        self.assertTrue(pair.left.aborted)
        self.assertEqual(node.factory.connections, 0)
