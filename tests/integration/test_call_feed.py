"""``micronode call`` against a node and a mailbox: send, subscribe, ack, redelivery."""

from __future__ import annotations

import base64
import json
import os
import signal
import tempfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, Program, eventually

SUBSCRIBE = ("feed", "subscribe", "--args", '{"topic": "jobs"}', "--subscribe")


class FeedTests(SynchronousTestCase):
    def start(self, *options: str) -> None:
        self.node = Program(self, *options, python=("-m", "tests.support.feednode"))
        self.address = self.node.until(r"(?m)^(oap://127\.0\.0\.1:[0-9]+)$").group(1)
        self.addCleanup(self.node.process.terminate)

    def call(self, *arguments: str, status: int = 0) -> list[str]:
        """Return the lines that a call printed."""
        program = Program(self, "call", self.address, *arguments)
        self.assertEqual(program.end(), status, program.complained)
        return program.printed.decode().splitlines()

    def texts(self, lines: list[str]) -> list[str]:
        messages: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [base64.b64decode(message["payload_b64"]).decode() for message in messages]

    def test_events_of_a_topic_are_shown(self) -> None:
        self.start("jobs=3", "other=1")
        self.assertEqual(
            self.texts(self.call(*SUBSCRIBE, "--count", "3")), ["message 1", "message 2", "message 3"]
        )

    def test_called_as_if_it_had_a_body(self) -> None:
        self.start("jobs=3")
        program = Program(self, "call", self.address, *SUBSCRIBE[:-1])
        self.assertEqual((program.end(), program.printed), (1, b""))
        self.assertRegex(
            program.complained,
            r"\Amicronode: feed\.subscribe: bad_request \(400, found on this side\): .+ --subscribe\)\n\Z",
        )

    def test_by_number(self) -> None:
        self.start("jobs=1")
        self.assertEqual(self.texts(self.call("0x201", *SUBSCRIBE[1:], "--count", "1")), ["message 1"])

    def test_what_was_not_acked_comes_again(self) -> None:
        self.start("jobs=4")
        self.call(*SUBSCRIBE, "--count", "2", "--ack")
        lines = self.call(*SUBSCRIBE, "--count", "2")
        self.assertEqual(self.texts(lines), ["message 3", "message 4"])

    def test_a_message_that_is_sent_meanwhile(self) -> None:
        self.start("jobs=1")
        listener = Program(self, "call", self.address, *SUBSCRIBE)
        listener.until("msg_id")
        with tempfile.NamedTemporaryFile() as body:
            body.write(b"news")
            body.flush()
            args = ("feed", "send", "--args", '{"topic": "jobs"}', "--idempotency-key", "k1")
            self.call(*args, "--body", body.name)
        listener.until(base64.b64encode(b"news").decode())
        listener.process.send_signal(signal.SIGINT)
        self.assertEqual(listener.process.wait(PATIENCE_S), 0)
        self.assertEqual(listener.complained, "")

    def test_a_node_that_goes_answers_the_ack_that_it_has_taken(self) -> None:
        """With messages flowing it hears of the end between two acks, or with one: never by a cut."""
        for _ in range(2):
            self.start("jobs=50000")
            with tempfile.TemporaryFile() as printed:
                listener = Program(self, "call", self.address, *SUBSCRIBE, "--ack", stdout=printed.fileno())
                eventually(lambda printed=printed: os.fstat(printed.fileno()).st_size > 10_000)
                self.node.process.terminate()
                self.assertEqual(listener.process.wait(PATIENCE_S), 1)
            self.assertIn("draining", listener.complained)
            self.assertEqual(len(listener.complained.splitlines()), 1, listener.complained)

    def test_a_node_that_goes_says_so(self) -> None:
        self.start("jobs=1")
        listener = Program(self, "call", self.address, *SUBSCRIBE)
        listener.until("msg_id")
        self.node.process.terminate()
        self.assertEqual(listener.process.wait(PATIENCE_S), 1)
        self.assertIn("draining", listener.complained)
