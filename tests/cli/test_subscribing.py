"""micronode call --subscribe: what is printed, acked and asked for, and how it ends."""

import io
import json
import sys
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from micronode.cli.call import call
from micronode.cli.calloptions import CallOptions
from micronode.cli.exits import CommandError
from micronode.cli.subscribing import line_of
from micronode.oap.client import OAPClient
from micronode.oap.wire.profiles import Profile
from tests.cli.support import CommandTestCase
from tests.support.callers import ScriptedNode
from tests.support.oap import SeenFrame

ORDERS = ("oap://h:1", "feed", "subscribe", "--args", '{"topic":"orders"}', "--subscribe")


def message(number: int) -> bytes:
    return json.dumps({"msg_id": f"m{number}", "attrs": {"é": "x"}, "payload_b64": "AP8="}).encode()


class SubscribeTests(CommandTestCase):
    def subscribe(self, *argv: str) -> SeenFrame:
        """Run the command with a node that says what the test says; return its START."""
        from micronode.oap.client import connect

        node = ScriptedNode()
        connecting = connect(node.reactor, "oap://127.0.0.1:1")
        self.end = node.accept()
        client: OAPClient = self.successResultOf(connecting)
        self.clock = Clock()
        options = CallOptions()
        options.parse([*ORDERS, *argv])
        self.done = Deferred.fromCoroutine(call(self.clock, options, lambda *_: succeed(client)))
        [start] = self.end.heard()
        self.end.begin(start)
        return start

    def ended(self) -> int:
        self.clock.advance(2.1)
        return self.successResultOf(self.done)  # type: ignore[no-any-return]

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.printed.splitlines()]

    def test_a_line_a_message_until_the_node_ends_it(self) -> None:
        start = self.subscribe()
        self.assertEqual((start.app, start.json["args"]), (Profile.FEED, {"topic": "orders"}))
        for number in (1, 2):
            self.end.message(start, message(number))
            self.assertEqual(len(self.lines()), number)
        self.end.chunk(start, b"", ended=True)
        self.assertEqual(self.ended(), 0)
        self.assertEqual(self.lines(), [json.loads(message(number)) for number in (1, 2)])
        self.assertEqual(self.complained, "")

    def test_interrupted_is_done(self) -> None:
        start = self.subscribe()
        self.end.message(start, message(1))
        self.done.cancel()
        self.assertEqual(self.ended(), 0)
        self.assertEqual([frame.code for frame in self.end.heard()], [499])
        self.assertEqual((len(self.lines()), self.complained), (1, ""))

    def test_time_is_up(self) -> None:
        start = self.subscribe("--timeout", "5s")
        self.end.message(start, message(1))
        self.clock.advance(5)
        self.assertEqual(self.ended(), 0)

    def test_count(self) -> None:
        start = self.subscribe("--count", "2")
        for number in (1, 2, 3):
            self.end.message(start, message(number))
        self.assertEqual(self.ended(), 0)
        self.assertEqual(len(self.lines()), 2)
        self.assertEqual([frame.code for frame in self.end.heard()], [499])

    def test_ack_follows_the_line_and_the_next_message_follows_the_ack(self) -> None:
        start = self.subscribe("--ack")
        for number in (1, 2):
            self.end.message(start, message(number))
        for number in (1, 2):
            self.assertEqual(len(self.lines()), number)
            [ack] = self.end.heard()
            self.assertEqual(ack.json, {"op": "ack", "args": {"topic": "orders", "msg_id": f"m{number}"}})
            self.end.answer(ack, status=204)
        self.done.cancel()
        self.assertEqual(self.ended(), 0)

    def test_ack_that_fails(self) -> None:
        start = self.subscribe("--ack")
        self.end.message(start, message(1))
        [ack] = self.end.heard()
        self.end.fail(ack, 404, "not_found")
        self.assertEqual(self.ended(), 1)
        self.assertIn("not_found", self.complained)

    def test_message_that_cannot_be_acked(self) -> None:
        start = self.subscribe("--ack")
        self.end.message(start, b'{"msg_id":7}')
        self.assertEqual(self.ended(), 1)
        self.assertIn(
            "feed.subscribe: bad_gateway (502, found on this side): the node sent a message without",
            self.complained,
        )

    def test_node_that_ends_it_with_an_error(self) -> None:
        start = self.subscribe()
        self.end.fail(start, 503, "draining", retry_after_ms=10)
        self.assertEqual(self.ended(), 1)
        self.assertIn("feed.subscribe: draining (503)", self.complained)

    def test_output_that_takes_no_more(self) -> None:
        for error, complaint in [
            (BrokenPipeError(32, "Broken pipe"), ""),
            (OSError(28, "No space left"), "micronode: cannot write messages: No space left\n"),
        ]:
            self.patch(sys, "stdout", io.TextIOWrapper(_Full(error)))
            start = self.subscribe("--ack")
            self.end.message(start, message(1))
            self.assertEqual((self.ended(), self.complained), (1, complaint))
            self.assertEqual([frame.code for frame in self.end.heard()], [499])

    def test_messages_without_a_payload(self) -> None:
        self.assertEqual(line_of({"a": "b\nc"}), b'{"a":"b\\nc"}\n')


class UsageTests(CommandTestCase):
    def test_mistakes(self) -> None:
        base = ["oap://h:1", "feed", "subscribe"]
        for argv, words in [
            ([*base, "--ack"], "goes with --subscribe"),
            ([*base, "--count", "1"], "goes with --subscribe"),
            ([*base, "--subscribe", "--count", "0"], "--count"),
            ([*base, "--subscribe", "--ack"], "--ack needs the topic"),
            ([*base, "--subscribe", "--stream"], "takes no --stream"),
            ([*base, "--subscribe", "--body", "x"], "takes no --body"),
            ([*base, "--timeout", "soon"], "--timeout"),
            ([*base, "--timeout", "0"], "--timeout"),
        ]:
            error = self.assertRaises(CommandError, CallOptions().parse, argv)
            self.assertEqual(error.code, 64)
            self.assertIn(words, error.lines[0])


class _Full(io.BytesIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, data: object) -> int:
        raise self.error
