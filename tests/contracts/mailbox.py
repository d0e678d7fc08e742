"""What every :class:`~micronode.interfaces.IMailboxOwner` promises; mixed into a ``SynchronousTestCase``."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from micronode.calls.call import Call, Reply
from micronode.calls.operations import Access, Operation
from micronode.interfaces import IMailboxOwner, IOwnerReply
from tests.support.calls import make_call


async def _nothing(call: Call) -> Reply:
    raise AssertionError("nobody runs it")


TENANT = bytes(15) + b"\1"
RECV = Operation(
    name="feed.recv",
    facet="feed",
    method="POST",
    path="/app/feed/{topic}/recv",
    profile=0x0201,
    op="recv",
    access=Access.WRITE,
    handler=_nothing,
)


class MailboxContract:
    """The conformance suite.

    ``make_mailbox()`` returns an IMailboxOwner whose topics are empty; ``advance(seconds)`` lets time pass.
    """

    def setUp(self) -> None:
        case: Any = self
        self.mailbox: IMailboxOwner = case.make_mailbox()
        self.call = make_call(RECV)

    def result(self, asked: Deferred[IOwnerReply]) -> IOwnerReply:
        case: Any = self
        reply: IOwnerReply = case.successResultOf(asked)
        return reply

    def read(self, reply: IOwnerReply) -> Any:
        case: Any = self
        return json.loads(case.successResultOf(reply.read(1 << 22)))

    def send(self, payload: bytes = b"x", key: str = "k", **more: Any) -> tuple[int, Any]:
        call, attributes = more.get("call", self.call), more.get("attributes", {})
        reply = self.result(self.mailbox.send(call, "jobs", payload, key=key, attributes=attributes))
        return reply.status, self.read(reply)

    def asking(self, **more: Any) -> Deferred[IOwnerReply]:
        bounds = {"max_messages": 10, "max_bytes": 65_536, "visibility_ms": 1_000, "wait_ms": 0}
        call = more.pop("call", self.call)
        return self.mailbox.recv(call, "jobs", **(bounds | more))

    def recv(self, **more: Any) -> list[Any]:
        case: Any = self
        reply = self.result(self.asking(**more))
        case.assertEqual(reply.status, 200)
        said = self.read(reply)
        case.assertEqual(list(said), ["messages"])
        messages: list[Any] = said["messages"]
        return messages

    def test_interface(self) -> None:
        verifyObject(IMailboxOwner, self.mailbox)

    def test_a_message(self) -> None:
        case: Any = self
        status, sent = self.send(b"\0hi", attributes={"a": "é"})
        case.assertEqual((status, sent["duplicate"]), (201, False))
        (message,) = self.recv()
        case.assertEqual(message.pop("msg_id"), sent["msg_id"])
        case.assertIsInstance(message.pop("ts"), float)
        case.assertEqual(message, {"topic": "jobs", "attempt": 1, "attrs": {"a": "é"}, "payload_b64": "AGhp"})

    def test_the_key(self) -> None:
        case: Any = self
        _, first = self.send()
        case.assertEqual(self.send(), (200, first | {"duplicate": True}))
        case.assertEqual(self.send(b"other")[0], 409)
        case.assertEqual(len(self.recv()), 1)

    def test_tenants_are_apart(self) -> None:
        case: Any = self
        other = make_call(RECV, tenant=TENANT)
        _, sent = self.send(call=other)
        case.assertEqual(self.recv(), [])
        case.assertEqual(self.result(self.mailbox.ack(self.call, sent["msg_id"])).status, 404)
        case.assertEqual([message["msg_id"] for message in self.recv(call=other)], [sent["msg_id"]])

    def test_bounds(self) -> None:
        case: Any = self
        for number, size in enumerate((3_000, 3, 3, 3)):
            self.send(bytes(size), key=f"k{number}")
        case.assertEqual(
            [message["payload_b64"] for message in self.recv(max_bytes=1_000, max_messages=2)], ["AAAA"] * 2
        )
        case.assertEqual(len(self.recv()), 2)

    def test_settling(self) -> None:
        case: Any = self
        _, sent = self.send()
        (first,) = self.recv()
        case.assertEqual(self.result(self.mailbox.nack(self.call, sent["msg_id"])).status, 204)
        (again,) = self.recv()
        case.assertEqual((first["attempt"], again["attempt"]), (1, 2))
        for settle, status in ((self.mailbox.ack, 204), (self.mailbox.ack, 404), (self.mailbox.nack, 404)):
            case.assertEqual(self.result(settle(self.call, sent["msg_id"])).status, status)
        case.assertEqual(self.recv(), [])

    def test_what_is_not_confirmed_comes_again(self) -> None:
        case: Any = self
        self.send()
        self.recv()
        case.assertEqual(self.recv(), [])
        case.advance(1.0)
        case.assertEqual([message["attempt"] for message in self.recv()], [2])

    def test_any_text_names_something(self) -> None:
        case: Any = self
        for text in ("...", "..a", "a/b", "%00", "é ", "x" * 128):
            case.assertEqual(self.result(self.mailbox.ack(self.call, text)).status, 404, text)
            case.assertEqual(self.result(self.mailbox.nack(self.call, text)).status, 404, text)
