"""micronode.adapters.mailbox: what the mailbox owner is asked, and that the reference one understands it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer

from micronode.adapters.mailbox import MailboxClient
from micronode.interfaces import IMailboxOwner, IOwnerReply
from tests.contracts.mailbox import RECV, TENANT, MailboxContract
from tests.devowners.support import MemoryCaller
from tests.support.calls import make_call
from tests.support.mailbox import Box, make_owner
from tests.support.oap import SpyConsumer
from tests.support.owners import StubOwnerClient, StubReply

REQUEST_ID = (b"x-request-id", b"r-1")
JSON_FIELD = (b"content-type", b"application/json")


def read_body(body: IBodyProducer | None) -> bytes:
    """Return all of *body*."""
    if body is None:
        return b""
    consumer = SpyConsumer()
    body.startProducing(consumer)
    data = consumer.data
    assert body.length == len(data)
    return data


class LoopClient(StubOwnerClient):
    """An owner client whose owner is the reference mailbox, in memory."""

    def __init__(self, caller: MemoryCaller) -> None:
        super().__init__("mailbox")
        self._caller = caller

    def call(
        self,
        method: bytes,
        path: bytes,
        *,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        body: IBodyProducer | None = None,
        **terms: Any,
    ) -> Deferred[IOwnerReply]:
        super().call(method, path, headers=headers, body=body, **terms)
        fields = [f"{name.decode()}: {value.decode()}" for name, value in headers or ()]
        data = read_body(body)
        answer = self._caller.ask(method.decode(), path.decode(), *fields, body=data)
        content_type = answer.headers.get("content-type", "")
        return succeed(StubReply(answer.status, answer.body, content_type=content_type))


class MailboxClientContractTests(MailboxContract, SynchronousTestCase):
    def make_mailbox(self) -> IMailboxOwner:
        self.clock = Clock()
        box = Box(self.clock)
        self.addCleanup(box.close)
        return MailboxClient(LoopClient(MemoryCaller(make_owner(box), self.clock)))

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def test_a_large_payload(self) -> None:
        self.assertEqual(self.send(bytes(1 << 20))[0], 201)
        (message,) = self.recv(max_bytes=1 << 21)
        self.assertEqual(len(message["payload_b64"]), 1_398_104)


class MailboxClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.owner = StubOwnerClient("mailbox")
        self.mailbox = MailboxClient(self.owner, deadline_s=3.0)
        self.call = make_call(RECV, deadline_s=2.0)

    def test_requests(self) -> None:
        call = self.call
        self.mailbox.send(call, "jobs", b"hi", key="k", attributes={"a": "b"})
        self.mailbox.recv(call, "é/", max_messages=1, max_bytes=2, visibility_ms=3, wait_ms=1_500)
        self.mailbox.ack(call, "1-a")
        self.mailbox.nack(call, "../é")
        self.assertEqual(
            [(made["method"], made["path"], made["headers"]) for made in self.owner.calls],
            [
                (b"POST", b"/v1/send", [REQUEST_ID, JSON_FIELD]),
                (b"POST", b"/v1/recv", [REQUEST_ID, JSON_FIELD]),
                (b"POST", b"/v1/ack/1-a", [REQUEST_ID]),
                (b"POST", b"/v1/nack/..%2F%C3%A9", [REQUEST_ID]),
            ],
        )
        send, recv, ack, nack = (made["body"] for made in self.owner.calls)
        self.assertEqual(
            json.loads(read_body(send)),
            {"topic": "jobs", "idem_key": "k", "attrs": {"a": "b"}, "payload_b64": "aGk="},
        )
        self.assertEqual(
            json.loads(read_body(recv)),
            {"topic": "é/", "max_messages": 1, "max_bytes": 2, "visibility_ms": 3, "wait_ms": 1_500},
        )
        self.assertEqual((ack, nack), (None, None))
        self.assertEqual(self.owner.waits, [0.0, 1.5, 0.0, 0.0])

    def test_nothing_is_asked_twice(self) -> None:
        self.mailbox.ack(self.call, "x")
        self.assertEqual(self.owner.terms, [(False, 3.0, 2.0)])

    def test_the_tenant(self) -> None:
        self.mailbox.nack(make_call(RECV, tenant=TENANT), "x")
        self.assertIn((b"x-micronode-tenant", TENANT.hex().encode()), self.owner.calls[0]["headers"])
