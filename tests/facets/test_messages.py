"""micronode.facets.messages: what a mailbox may say, and everything else."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode, NodeError
from micronode.facets.messages import READ_S, Received, read_messages, read_sent
from tests.support.owners import StubReply

GOOD: dict[str, Any] = {
    "msg_id": "1-a",
    "topic": "jobs",
    "ts": 1.5,
    "attempt": 1,
    "attrs": {"a": "é"},
    "payload_b64": "aGk=",
}


def json_reply(value: Any, status: int = 200) -> StubReply:
    return StubReply(status, json.dumps(value).encode(), content_type="application/json")


class ReadCase(SynchronousTestCase):
    def refused(self, reading: Any) -> ErrorCode:
        error: NodeError = self.failureResultOf(Deferred.fromCoroutine(reading), NodeError).value
        self.assertEqual(error.source, "mailbox")
        return error.code


class MessagesTests(ReadCase):
    def read(self, value: Any, max_bytes: int = 65_536) -> list[Received]:
        reading = Deferred.fromCoroutine(read_messages(json_reply(value), max_bytes))
        return self.successResultOf(reading)

    def test_as_a_subscriber_gets_it(self) -> None:
        (message,) = self.read({"messages": [GOOD]})
        self.assertEqual((message.msg_id, message.payload_bytes), ("1-a", 2))
        self.assertEqual(
            message.event.decode(),
            '{"msg_id":"1-a","ts":1.5,"attempt":1,"attrs":{"a":"é"},"payload_b64":"aGk="}',
        )

    def test_they_are_to_be_there_soon(self) -> None:
        """A byte now and then would do otherwise."""
        reply = json_reply({"messages": []})
        self.successResultOf(Deferred.fromCoroutine(read_messages(reply, 1)))
        self.assertEqual(reply.within_s, READ_S)

    def test_none(self) -> None:
        self.assertEqual(self.read({"messages": []}), [])

    def test_payloads(self) -> None:
        for text, size in (("", 0), ("AA==", 1), ("AAA=", 2), ("AAAA", 3), ("AAAAAA==", 4)):
            (message,) = self.read({"messages": [GOOD | {"payload_b64": text}]})
            self.assertEqual(message.payload_bytes, size)

    def test_ids(self) -> None:
        for msg_id in ("x", "x" * 128, "!~/%00", "...", "..a", ".a"):
            self.assertEqual(self.read({"messages": [GOOD | {"msg_id": msg_id}]})[0].msg_id, msg_id)

    def test_wrong_shapes(self) -> None:
        wrong: list[Any] = [{}, {"messages": None}, {"messages": {}}, {"messages": [1]}, {"messages": [[]]}]
        wrong += [
            {"messages": [{name: GOOD[name] for name in GOOD if name != left}]}
            for left in GOOD
            if left != "topic"
        ]
        for name, values in {
            "msg_id": ("", "x" * 129, "é", "a b", "a\r\nb", ".", "..", 1, None),
            "ts": ("1", True, None, []),
            "attempt": (1.5, "1", True, None),
            "attrs": (None, [], {"a": 1}, {"a": None}),
            "payload_b64": ("a", "aGk", "aGk=\n", "a-k=", "é", 1, None, "=aGk"),
        }.items():
            wrong += [{"messages": [GOOD, GOOD | {name: value}]} for value in values]
        for value in wrong:
            self.assertIs(
                self.refused(read_messages(json_reply(value), 65_536)), ErrorCode.BAD_GATEWAY, value
            )

    def test_no_json(self) -> None:
        for body in (b"", b"{", b"[]", b"null", b'{"messages": [], "messages": []}', b"\xff", b"[" * 5_000):
            reply = StubReply(200, body, content_type="application/json")
            self.assertIs(self.refused(read_messages(reply, 65_536)), ErrorCode.BAD_GATEWAY, body)
        for fields in ({"content_type": "text/html"}, {"content_encoding": "gzip"}):
            reply = StubReply(200, b'{"messages": []}', **fields)  # type: ignore[arg-type]
            self.assertIs(self.refused(read_messages(reply, 65_536)), ErrorCode.BAD_GATEWAY)

    def test_an_owner_that_answers_more_than_it_was_asked_for(self) -> None:
        many = {"messages": [GOOD | {"payload_b64": "AAAA" * 2_000}] * 2}
        self.assertEqual(len(self.read(many, 10_000)), 2)
        reading = Deferred.fromCoroutine(read_messages(json_reply(many), 4_000))
        self.assertIs(self.failureResultOf(reading, NodeError).value.code, ErrorCode.BAD_GATEWAY)

    def test_what_an_owner_refuses(self) -> None:
        for status, code in (
            (400, ErrorCode.BAD_REQUEST),
            (404, ErrorCode.NOT_FOUND),
            (429, ErrorCode.OWNER_UNAVAILABLE),
            (500, ErrorCode.BAD_GATEWAY),
            (201, ErrorCode.BAD_GATEWAY),
        ):
            reply = json_reply({"messages": []}, status)
            self.assertIs(self.refused(read_messages(reply, 65_536)), code)
            self.assertTrue(reply.dropped)


class SentTests(ReadCase):
    def test_new_and_known(self) -> None:
        for status, duplicate in ((201, False), (200, True), (200, False)):
            reply = json_reply({"msg_id": "1-a", "duplicate": duplicate, "more": 1}, status)
            read = self.successResultOf(Deferred.fromCoroutine(read_sent(reply)))
            self.assertEqual(read, (duplicate, reply.body))

    def test_wrong_shapes(self) -> None:
        for value in ({}, {"msg_id": "1"}, {"msg_id": 1, "duplicate": True}, {"msg_id": "1", "duplicate": 1}):
            self.assertIs(self.refused(read_sent(json_reply(value))), ErrorCode.BAD_GATEWAY)

    def test_what_an_owner_refuses(self) -> None:
        for status, code in (
            (400, ErrorCode.BAD_REQUEST),
            (409, ErrorCode.CONFLICT),
            (413, ErrorCode.BODY_TOO_LARGE),
            (429, ErrorCode.OWNER_UNAVAILABLE),
            (204, ErrorCode.BAD_GATEWAY),
        ):
            self.assertIs(self.refused(read_sent(json_reply({}, status))), code)
