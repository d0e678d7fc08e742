"""Tests for :mod:`micronode.devowners.mailbox_web`."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.deliveries import Deliveries
from micronode.devowners.mailbox import Limits, Mailbox
from micronode.devowners.mailbox_web import MailboxOwner
from tests.contracts.owner_mailbox import MailboxOwnerContract, MailboxWords
from tests.devowners.support import InMemory, MemoryCaller


class MailboxCase(InMemory, SynchronousTestCase):
    limits = Limits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.mailbox = Mailbox(limits=self.limits)
        self.addCleanup(self.mailbox.close)
        self.deliveries = Deliveries(self.mailbox, self.clock, self.clock.seconds)
        self.owner = MailboxOwner(self.deliveries)
        self.owner.is_ready = True


class ContractTests(MailboxCase, MailboxOwnerContract):
    """The mailbox keeps the contract."""


class WaitingTests(MailboxCase, MailboxWords):
    """Receivers that wait."""

    def wait(self, topic: str, wait_ms: int = 10_000) -> MemoryCaller:
        body = b'{"topic": "%s", "wait_ms": %d}' % (topic.encode(), wait_ms)
        caller = MemoryCaller(self.owner, self.clock)
        head = f"POST /v1/recv HTTP/1.1\r\nHost: x\r\nX-Micronode-Tenant: {'0' * 31}1\r\n"
        caller.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.assertEqual(caller.transport.value(), b"")
        return caller

    def test_first_come_first_served(self) -> None:
        first, second = self.wait("t"), self.wait("t")
        sent = [self.send("t"), self.send("t")]
        for caller, msg_id in zip((first, second), sent, strict=True):
            [message] = caller.answer().json["messages"]
            self.assertEqual((message["msg_id"], message["attempt"]), (msg_id, 1))

    def test_who_left_holds_nothing(self) -> None:
        gone = self.wait("t")
        gone.hang_up()
        self.assertEqual(self.deliveries.waiting, 0)
        msg_id = self.send("t")
        [message] = self.receive("t")
        self.assertEqual((message["msg_id"], message["attempt"]), (msg_id, 1))
        self.assertEqual(gone.log_lines(), [])

    def test_a_message_given_back_is_handed_on(self) -> None:
        msg_id = self.send("t")
        self.receive("t")
        caller = self.wait("t")
        self.settle("nack", msg_id)
        self.assertEqual(caller.answer().json["messages"][0]["attempt"], 2)

    def test_the_end_of_the_service(self) -> None:
        caller = self.wait("t")
        self.assertTrue(self.owner.stop())
        self.assertEqual(caller.answer().json, {"messages": []})
        self.assertFalse(self.owner.stop())
        self.assertEqual(self.receive("t", wait_ms=10_000), [])
        self.assertEqual([call.time for call in self.clock.getDelayedCalls() if call.time < 100], [])


class FullTests(MailboxCase, MailboxWords):
    """A mailbox that is full says so, and takes messages again when there is room."""

    limits = Limits(messages=2, topics=2, total_bytes=4_000_000)

    def refused(self, topic: str, size: int = 1) -> str:
        answer = self.post("/v1/send", topic=topic, idem_key="more", payload_b64="AAAA" * size)
        self.check_error(answer, 429, "quota_exceeded")
        return answer.json["message"]  # type: ignore[no-any-return]

    def test_messages(self) -> None:
        first, _second = self.send("a"), self.send("a")
        self.assertIn("2 messages", self.refused("a"))
        # What is there already is no more.
        self.settle("ack", first)
        self.send("a")

    def test_topics(self) -> None:
        self.limits = Limits(topics=1)
        self.setUp()
        msg_id = self.send("a")
        self.assertIn("1 topics", self.refused("b"))
        self.send("a")
        self.settle("ack", msg_id)
        self.refused("b")

    def test_bytes(self) -> None:
        self.limits = Limits(total_bytes=100_000)
        self.setUp()
        msg_id = self.send("a", bytes(60_000))
        self.assertIn("100000 bytes", self.refused("a", 20_000))
        self.settle("ack", msg_id)
        self.send("a", bytes(60_000))
