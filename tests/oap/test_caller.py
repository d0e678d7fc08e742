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
from micronode.oap.answer import OAPError, OAPResponse
from micronode.oap.caller import CallerProtocol
from micronode.oap.client import OAPClient
from micronode.oap.wire.frames import END, RESP, encode_frame
from micronode.oap.wire.profiles import Profile
from tests.support.oap import Dispatched, SpyConsumer, StubNode
from tests.support.pairs import ConnectionPair


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
    def test_consumer_that_pauses_stops_the_owner(self) -> None:
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
        self.assertEqual(self.pair.left.producerState, "paused")
        source.pump(self.pair)
        # What is on its way is bounded by the transport, however much the owner has.
        self.assertLess(source.sent, 400_000)
        response.resumeProducing()
        while source.sent < 1_000_000:
            source.pump(self.pair)
        dispatched.sink.unregisterProducer()
        dispatched.sink.finish()
        self.pair.run()
        self.successResultOf(delivered)
        self.assertEqual(len(consumer.data), source.sent)
        self.assertLess(self.pair.most_unsent, 200_000)

    def test_unread_answer_stops_the_connection_and_abort_frees_it(self) -> None:
        unread, read = self.query("unread"), self.query("read")
        self.pair.run()
        self.node.calls[0].answer(bytes(300_000))
        self.node.calls[1].answer(b"short")
        self.pair.run()
        self.assertEqual(self.pair.left.producerState, "paused")
        self.assertNoResult(read)
        self.successResultOf(unread).abort()
        self.pair.run()
        self.assertEqual(self.successResultOf(self.successResultOf(read).read(10)), b"short")


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
