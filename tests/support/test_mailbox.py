"""The mailbox in memory, held to what every mailbox owner promises its facet."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IMailboxOwner
from tests.contracts.mailbox import MailboxContract
from tests.support.mailbox import MemoryMailbox


class MemoryMailboxTests(MailboxContract, SynchronousTestCase):
    def make_mailbox(self) -> IMailboxOwner:
        self.clock = Clock()
        self.memory = MemoryMailbox(self.clock)
        self.addCleanup(self.memory.box.close)
        return self.memory

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def test_waiting(self) -> None:
        asked = self.asking(wait_ms=500)
        self.assertNoResult(asked)
        msg_id = self.memory.box.send("jobs")
        self.assertEqual(self.read(self.result(asked))["messages"][0]["msg_id"], msg_id)
        self.assertEqual((self.memory.box.held("jobs"), self.memory.box.waiting("jobs")), ([msg_id], []))
        self.assertEqual(self.memory.box.attempts("jobs"), {msg_id: 1})

    def test_failing(self) -> None:
        self.memory.error = NodeError(ErrorCode.OWNER_UNAVAILABLE, "down")
        for asked in (self.asking(), self.mailbox.ack(self.call, "x")):
            self.assertIs(self.failureResultOf(asked).value, self.memory.error)
