"""Which connection a call is made on, and what becomes of the others."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.client import OAPClient, OAPError, connect
from micronode.oap.wire.profiles import Profile
from tests.support.callers import ScriptedEnd, ScriptedNode


class ReconnectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = ScriptedNode()
        connecting = connect(self.node.reactor, "oap://127.0.0.1:5312")
        self.end = self.node.accept()
        self.client: OAPClient = self.successResultOf(connecting)

    def call(self) -> Any:
        return self.client.call(Profile.SEARCH, "query", {"q": "x"})

    def served(self, end: ScriptedEnd, asked: Any) -> None:
        [frame] = end.heard()
        end.answer(frame, b"done")
        self.assertEqual(self.successResultOf(self.successResultOf(asked).read(10)), b"done")

    def test_one_connection_while_it_lasts(self) -> None:
        for _ in range(3):
            self.served(self.end, self.call())
        self.assertEqual(self.node.waiting, 0)

    def test_lost_connection_is_replaced_when_one_is_needed(self) -> None:
        self.end.hang_up()
        self.node.reactor.advance(60)
        self.assertEqual(self.node.waiting, 0)
        asked = self.call()
        self.served(self.node.accept(), asked)

    def test_all_who_wait_share_one_attempt(self) -> None:
        self.end.hang_up()
        asked = [self.call() for _ in range(3)]
        self.assertEqual(self.node.waiting, 1)
        end = self.node.accept()
        for frame in end.heard():
            end.answer(frame)
        for each in asked:
            self.successResultOf(each)

    def test_nobody_to_connect_to(self) -> None:
        self.end.hang_up()
        asked = [self.call(), self.call()]
        self.node.refuse()
        for each in asked:
            self.failureResultOf(each, ConnectError)
        asked = [self.call()]
        self.served(self.node.accept(), asked[0])

    def test_node_that_leaves_finishes_what_is_open_while_new_calls_go_elsewhere(self) -> None:
        old = self.call()
        [frame] = self.end.heard()
        self.end.goaway(1234)
        new = self.call()
        self.assertEqual(self.end.heard(), [])
        end = self.node.accept()
        self.served(end, new)
        self.assertFalse(self.end.transport.closing)
        self.end.answer(frame, b"old")
        self.assertEqual(self.successResultOf(self.successResultOf(old).read(10)), b"old")
        # Nothing more can come of it.
        self.assertTrue(self.end.transport.disconnecting)
        self.served(end, self.call())

    def test_what_a_node_that_left_never_looked_at(self) -> None:
        asked = [self.call(), self.call(), self.call()]
        self.end.goaway(700, last=2)
        self.end.hang_up()
        errors = [self.failureResultOf(each, OAPError).value for each in asked]
        self.assertEqual([error.name for error in errors], ["bad_gateway", "bad_gateway", "draining"])
        self.assertEqual(errors[2].retry_after_ms, 700)

    def test_node_that_leaves_an_idle_client(self) -> None:
        self.end.goaway()
        self.assertTrue(self.end.transport.disconnecting)
        self.assertEqual(self.node.waiting, 0)

    def test_close_closes_all(self) -> None:
        old = self.call()
        self.end.goaway()
        new = self.call()
        end = self.node.accept()
        closed = self.client.close()
        for each in (old, new):
            self.assertEqual(self.failureResultOf(each, OAPError).value.name, "cancelled")
        self.node.reactor.advance(0)
        self.successResultOf(closed)
        self.assertTrue(self.end.transport.lost and end.transport.lost)
        self.assertEqual(self.failureResultOf(self.call(), OAPError).value.name, "cancelled")
        self.successResultOf(self.client.close())
        self.assertEqual((self.node.waiting, self.node.delayed), (0, []))

    def test_waiting_for_the_close_may_be_cancelled(self) -> None:
        closed = self.client.close()
        closed.cancel()
        self.failureResultOf(closed, CancelledError)
        self.node.reactor.advance(0)
        self.assertTrue(self.end.transport.lost)

    def test_close_gives_up_a_connection_that_is_being_made(self) -> None:
        self.end.hang_up()
        asked = self.call()
        self.successResultOf(self.client.close())
        self.assertEqual(self.failureResultOf(asked, OAPError).value.name, "cancelled")
        self.assertEqual(self.node.delayed, [])

    def test_greeting_that_is_refused(self) -> None:
        self.end.hang_up()
        asked = self.call()
        self.node.accept(max_frame=1)
        self.node.reactor.advance(0)
        self.assertEqual(self.failureResultOf(asked, OAPError).value.name, "bad_gateway")
