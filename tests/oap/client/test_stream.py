"""Streams: sending and taking piece by piece, both ways at once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.client import OAPClient, OAPError, connect
from micronode.oap.client.stream import OAPStream
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.support.callers import ScriptedNode
from tests.support.oap import SeenFrame

WINDOW = STREAM_WINDOW_BYTES


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = ScriptedNode()
        connecting = connect(self.node.reactor, "oap://127.0.0.1:5312")
        self.end = self.node.accept()
        self.client: OAPClient = self.successResultOf(connecting)

    def stream(self) -> OAPStream:
        return self.client.stream(
            Profile.MEDIA, "put", {}, idempotency_key="k", deadline_ms=7, capability="c"
        )

    def opened(self) -> tuple[OAPStream, SeenFrame]:
        stream = self.stream()
        [start] = self.end.heard()
        return stream, start

    def credit(self, frame: SeenFrame, up_to: int) -> None:
        self.end.say(credit_frame(frame.corr_id, up_to), credit_frame(0, up_to))

    def test_request(self) -> None:
        _, start = self.opened()
        self.assertEqual(start.json, {"op": "put", "args": {}, "idempotency_key": "k", "deadline_ms": 7})
        self.assertFalse(start.ends)

    def test_request_without_a_body(self) -> None:
        stream = self.client.stream(Profile.MEDIA, "get", {}, sends=False)
        [start] = self.end.heard()
        self.assertTrue(start.ends)
        self.assertRaises(RuntimeError, stream.send, b"x")
        self.assertRaises(RuntimeError, stream.end)
        self.end.answer(start, b"all")
        self.assertEqual(self.collected(stream), [b"all"])

    def test_sending_waits_for_room(self) -> None:
        stream, start = self.opened()
        self.successResultOf(stream.send(bytes(WINDOW)))
        waiting = stream.send(bytes(WINDOW + 10))
        self.assertNoResult(waiting)
        self.assertEqual(sum(len(frame.payload) for frame in self.end.heard()), WINDOW)
        self.credit(start, WINDOW)
        self.assertNoResult(waiting)
        ended = stream.end()
        self.credit(start, WINDOW + 100)
        self.successResultOf(waiting)
        self.successResultOf(ended)
        frames = self.end.heard()
        self.assertEqual(sum(len(frame.payload) for frame in frames), WINDOW + 10)
        self.assertEqual([frame.ends for frame in frames], [False] * (len(frames) - 1) + [True])
        self.successResultOf(stream.end())
        self.assertEqual(self.end.heard(), [])

    def test_sending_waits_for_the_transport(self) -> None:
        stream, _ = self.opened()
        self.end.transport.fill()
        waiting = stream.send(b"x")
        self.assertNoResult(waiting)
        self.assertEqual(self.end.heard(), [])
        self.end.transport.drain()
        self.successResultOf(waiting)
        self.assertEqual(self.end.heard()[0].payload, b"x")

    def test_both_ways_at_once(self) -> None:
        stream, start = self.opened()
        head = stream.head()
        read = stream.read()
        self.successResultOf(stream.send(b"one"))
        self.end.begin(start, content_type="x")
        self.assertEqual(self.successResultOf(head)["content_type"], "x")
        self.end.chunk(start, b"ONE")
        self.assertEqual(self.successResultOf(read), b"ONE")
        self.successResultOf(stream.send(b"two"))
        self.end.chunk(start, b"TWO")
        self.assertEqual(self.successResultOf(stream.read(2)), b"TW")
        self.successResultOf(stream.end())
        self.end.chunk(start, b"!", ended=True)
        self.assertEqual(self.collected(stream), [b"O!"])

    def collected(self, stream: OAPStream) -> list[bytes]:
        async def collect() -> list[bytes]:
            return [chunk async for chunk in stream]

        return self.successResultOf(Deferred.fromCoroutine(collect()))  # type: ignore[no-any-return]

    def test_failure_is_what_everything_fails_with(self) -> None:
        stream, start = self.opened()
        waiting = [stream.send(bytes(WINDOW + 1)), stream.head(), stream.read()]
        self.end.fail(start, 403, "forbidden")
        for each in (*waiting, stream.send(b"x"), stream.end(), stream.head(), stream.read()):
            self.assertEqual(self.failureResultOf(each, OAPError).value.name, "forbidden")

    def test_answer_that_is_whole_before_the_request(self) -> None:
        stream, start = self.opened()
        waiting = stream.send(bytes(WINDOW + 1))
        self.end.answer(start)
        self.successResultOf(waiting)
        self.successResultOf(stream.send(b"dropped"))
        self.successResultOf(stream.end())
        self.assertEqual(self.successResultOf(stream.read()), b"")

    def test_leaving_the_context(self) -> None:
        stream = self.stream()
        [start] = self.end.heard()
        inside: Deferred[None] = Deferred()

        async def use() -> None:
            async with stream:
                await inside

        done = Deferred.fromCoroutine(use())
        self.end.begin(start)
        inside.callback(None)
        self.successResultOf(done)
        [cancel] = self.end.heard()
        self.assertEqual((cancel.code, cancel.corr_id), (499, start.corr_id))
        self.failureResultOf(stream.read(), OAPError)

    def test_leaving_when_all_is_over(self) -> None:
        stream, start = self.opened()
        self.end.answer(start, b"all")
        self.assertEqual(self.collected(stream), [b"all"])
        self.successResultOf(Deferred.fromCoroutine(stream.__aexit__(None, None, None)))
        self.assertEqual(self.end.heard(), [])

    def test_cancelling_any_wait_cancels_the_call(self) -> None:
        for wait in (
            lambda stream: stream.head(),
            lambda stream: stream.read(),
            lambda stream: stream.send(bytes(WINDOW + 1)),
        ):
            stream, start = self.opened()
            waiting = wait(stream)
            self.end.heard()
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            [cancel] = self.end.heard()
            self.assertEqual((cancel.code, cancel.corr_id), (499, start.corr_id))
            for each in (stream.head(), stream.read(), stream.send(b"x")):
                self.assertEqual(self.failureResultOf(each, OAPError).value.name, "cancelled")
            self.end.fail(start, 499, "cancelled")

    def test_cancelling_one_wait_on_account_of_another(self) -> None:
        stream, start = self.opened()
        first, second, third = (stream.send(bytes(WINDOW + 1)) for _ in range(3))
        first.addErrback(lambda _: second.cancel())
        self.end.heard()
        self.end.fail(start, 503, "owner_unavailable")
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.failureResultOf(third, OAPError).value.name, "owner_unavailable")

    def test_deadline_is_kept_here_where_the_node_does_not(self) -> None:
        stream, start = self.opened()
        waiting = stream.head()
        self.end.heard()
        self.node.reactor.advance(1)
        self.assertNoResult(waiting)
        self.node.reactor.advance(0.007)
        self.assertEqual(self.failureResultOf(waiting, OAPError).value.name, "timeout")
        [cancel] = self.end.heard()
        self.assertEqual((cancel.code, cancel.corr_id), (499, start.corr_id))

    def test_deadline_is_to_the_head(self) -> None:
        stream, start = self.opened()
        self.end.begin(start)
        self.assertEqual(self.node.delayed, [])
        waiting = stream.read()
        self.end.chunk(start, b"late", ended=True)
        self.assertEqual(self.successResultOf(waiting), b"late")

    def test_deadline_of_what_was_not_opened(self) -> None:
        self.end.hang_up()
        stream = self.stream()
        opening, waiting = Deferred.fromCoroutine(stream.__aenter__()), stream.head()
        self.node.reactor.advance(1.007)
        for each in (opening, waiting):
            self.assertEqual(self.failureResultOf(each, OAPError).value.name, "timeout")
        self.assertEqual(self.node.delayed, [])

    def test_cancelling_the_taking_of_a_piece(self) -> None:
        stream, start = self.opened()
        self.end.begin(start)
        waiting = stream.read()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual([frame.code for frame in self.end.heard()], [499])

    def test_lost_connection(self) -> None:
        stream, _ = self.opened()
        waiting = stream.send(bytes(WINDOW + 1))
        self.end.hang_up()
        for each in (waiting, stream.read()):
            self.assertEqual(self.failureResultOf(each, OAPError).value.name, "bad_gateway")

    # Where there is no connection yet

    def test_opens_on_a_new_connection(self) -> None:
        self.end.hang_up()
        stream = self.stream()
        waiting: list[Any] = [stream.send(b"x"), stream.end(), stream.head(), stream.read()]
        end = self.node.accept()
        frames = end.heard()
        self.assertEqual(b"".join(frame.payload for frame in frames[1:]), b"x")
        end.answer(frames[0], b"y")
        self.assertEqual(
            [self.successResultOf(each) for each in waiting], [None, None, {"status": 200}, b"y"]
        )

    def test_no_connection_to_be_had(self) -> None:
        self.end.hang_up()
        stream = self.stream()
        waiting = stream.send(b"x")
        entering = Deferred.fromCoroutine(stream.__aenter__())
        self.node.refuse()
        for each in (waiting, entering, stream.head(), stream.read(), stream.end()):
            self.failureResultOf(each, ConnectError)

    def test_cancelled_before_there_is_one(self) -> None:
        self.end.hang_up()
        stream = self.stream()
        waiting = stream.send(b"x")
        stream.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.node.delayed, [])
