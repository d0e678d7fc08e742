"""Calls that are repeated: when, after how long, on which connection, and what is left behind."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from micronode.oap.client import OAPClient, OAPError, OAPResponse, connect
from micronode.oap.client.backoff import Backoff
from micronode.oap.wire.profiles import Profile
from tests.support.callers import ScriptedEnd, ScriptedNode
from tests.support.oap import SeenFrame


@implementer(IBodyProducer)
class OneBody:
    """A body that can be produced once."""

    length = UNKNOWN_LENGTH

    def __init__(self) -> None:
        self.begun = 0

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self.begun += 1
        consumer.write(b"once")
        return Deferred()

    def pauseProducing(self) -> None:
        raise AssertionError("there is room")

    def resumeProducing(self) -> None:
        raise AssertionError("it was not paused")

    def stopProducing(self) -> None:
        """Nothing to free."""


class Case(SynchronousTestCase):
    """Waits are 1, 2, 4, … seconds: the jitter is the whole."""

    def setUp(self) -> None:
        self.node = ScriptedNode()
        backoff = Backoff(attempts=4, first_s=1.0, cap_s=8.0, random=lambda: 1.0)
        connecting = connect(self.node.reactor, "oap://127.0.0.1:5312", backoff=backoff)
        self.end = self.node.accept()
        self.client: OAPClient = self.successResultOf(connecting)

    def call(self, **options: Any) -> Deferred[OAPResponse]:
        return self.client.call(Profile.SEARCH, "query", {"q": "x"}, **options)

    def asked(self, end: ScriptedEnd | None = None) -> SeenFrame:
        """Return the one START that came."""
        [frame] = (end or self.end).heard()
        return frame

    def fails(self, asked: Deferred[Any], name: str) -> OAPError:
        error = self.failureResultOf(asked, OAPError).value
        self.assertEqual(error.name, name)
        return error  # type: ignore[no-any-return]

    def assert_nothing_left(self) -> None:
        self.node.reactor.advance(0)
        self.assertEqual((self.node.delayed, self.node.waiting), ([], 0))


class Refused(Case):
    """The node did nothing."""

    def test_repeated_after_what_the_node_asked_for(self) -> None:
        for status, name in ((429, "busy"), (429, "rate_limited"), (503, "draining"), (503, "not_ready")):
            asked = self.call(retry=True)
            self.end.fail(self.asked(), status, name, retryable=True, retry_after_ms=500)
            self.node.reactor.advance(1.49)
            self.assertEqual(self.end.heard(), [])
            self.node.reactor.advance(0.02)
            self.end.answer(self.asked())
            self.successResultOf(asked)
        self.assert_nothing_left()

    def test_not_repeated_unasked(self) -> None:
        asked = self.call()
        self.end.fail(self.asked(), 429, "busy", retryable=True, retry_after_ms=500)
        self.fails(asked, "busy")
        self.assert_nothing_left()

    def test_so_often_and_no_more(self) -> None:
        asked = self.call(retry=True)
        for wait_s in (1, 2, 4):
            self.end.fail(self.asked(), 429, "busy", retryable=True, retry_after_ms=0)
            self.node.reactor.advance(wait_s)
        self.end.fail(self.asked(), 429, "busy", retryable=True, retry_after_ms=0)
        self.fails(asked, "busy")
        self.assert_nothing_left()

    def test_bodies_that_can_be_sent_again_are(self) -> None:
        made: list[OneBody] = []

        def make() -> OneBody:
            made.append(OneBody())
            return made[-1]

        for body in (b"once", make):
            asked = self.call(body=body, retry=True)
            start, *_ = self.end.heard()
            self.end.fail(start, 429, "busy", retryable=True, retry_after_ms=0)
            self.node.reactor.advance(1)
            start, sent, *_ = self.end.heard()
            self.assertEqual(sent.payload, b"once")
            self.end.answer(start)
            self.successResultOf(asked)
        self.assertEqual([each.begun for each in made], [1, 1])

    def test_producer_that_has_begun_is_not_sent_again(self) -> None:
        asked = self.call(body=OneBody(), retry=True, idempotent=True)
        start, _ = self.end.heard()
        self.end.fail(start, 429, "busy", retryable=True, retry_after_ms=0)
        self.fails(asked, "busy")

    def test_other_errors_are_no_reason(self) -> None:
        for status, name in ((503, "owner_unavailable"), (504, "owner_timeout"), (502, "bad_gateway")):
            asked = self.call(retry=True)
            self.end.fail(self.asked(), status, name, retryable=True)
            self.fails(asked, name)

    def test_the_end_of_a_connection_is_no_word_about_a_call(self) -> None:
        """Whatever a node calls it: what was asked may have been done."""
        for name in ("busy", "rate_limited", "draining", "not_ready"):
            self.setUp()
            asked = self.call(retry=True)
            self.asked()
            self.end.fail_connection(503, name)
            error = self.fails(asked, "bad_gateway")
            self.assertIn("the node ended the connection", error.message)
            self.assert_nothing_left()

    def test_longer_than_its_patience(self) -> None:
        asked = self.call(retry=True)
        self.end.fail(self.asked(), 503, "not_ready", retryable=True, retry_after_ms=3_600_000)
        self.fails(asked, "not_ready")


class Idempotent(Case):
    """The node may have done it."""

    def test_write_of_unknown_fate_is_never_repeated(self) -> None:
        asked = self.call(retry=True)
        self.asked()
        self.end.hang_up()
        self.fails(asked, "bad_gateway")
        self.assert_nothing_left()

    def test_repeated_on_a_new_connection(self) -> None:
        for options in ({"idempotent": True}, {"idempotency_key": "k"}):
            end = self.node.ends[-1]
            asked = self.call(**options)
            self.asked(end)
            end.hang_up()
            self.assertEqual(self.node.waiting, 0)
            self.node.reactor.advance(1)
            again = self.node.accept()
            again.answer(self.asked(again))
            self.successResultOf(asked)
        self.assert_nothing_left()

    def test_any_error_that_may_pass(self) -> None:
        asked = self.call(idempotent=True)
        self.end.fail(self.asked(), 504, "owner_timeout", retryable=True)
        self.node.reactor.advance(1)
        self.end.fail(self.asked(), 404, "not_found", retryable=False)
        self.fails(asked, "not_found")

    def test_nothing_is_repeated_after_the_head(self) -> None:
        asked = self.call(idempotent=True)
        frame = self.asked()
        self.end.begin(frame)
        read = self.successResultOf(asked).read(100)
        self.end.fail(frame, 502, "bad_gateway", retryable=True)
        self.fails(read, "bad_gateway")
        self.assert_nothing_left()

    def test_node_that_is_away_for_a_while(self) -> None:
        asked = self.call(idempotent=True)
        self.end.hang_up()
        for wait_s in (1, 2):
            self.node.reactor.advance(wait_s)
            self.node.refuse()
        self.node.reactor.advance(4)
        end = self.node.accept(server="another")
        end.answer(self.asked(end))
        self.successResultOf(asked)
        self.assertEqual(self.client.hello["server"], "another")

    def test_node_that_stays_away(self) -> None:
        asked = self.call(idempotent=True)
        self.end.hang_up()
        for wait_s in (1, 2, 4):
            self.node.reactor.advance(wait_s)
            self.node.refuse()
        self.failureResultOf(asked, ConnectError)
        self.assert_nothing_left()


class Deadline(Case):
    """It covers all attempts together."""

    def left_ms(self) -> int:
        return json.loads(self.asked().payload)["deadline_ms"]  # type: ignore[no-any-return]

    def test_each_attempt_is_told_what_is_left(self) -> None:
        asked = self.call(retry=True, deadline_ms=5_000)
        frame = self.asked()
        self.assertEqual(json.loads(frame.payload)["deadline_ms"], 5_000)
        self.node.reactor.advance(1.5)
        self.end.fail(frame, 429, "busy", retryable=True, retry_after_ms=0)
        self.node.reactor.advance(1)
        frame = self.asked()
        self.assertEqual(json.loads(frame.payload)["deadline_ms"], 2_500)
        self.end.answer(frame)
        self.successResultOf(asked)
        self.assert_nothing_left()

    def test_no_wait_beyond_it(self) -> None:
        asked = self.call(retry=True, deadline_ms=1_000)
        self.end.fail(self.asked(), 429, "busy", retryable=True, retry_after_ms=0)
        self.fails(asked, "busy")
        self.assert_nothing_left()

    def test_it_bounds_the_attempts_and_not_their_number(self) -> None:
        asked = self.call(idempotent=True, deadline_ms=60_000)
        self.end.hang_up()
        for wait_s in (1, 2, 4, 8, 8, 8):
            self.node.reactor.advance(wait_s)
            self.node.refuse()
        self.node.reactor.advance(8)
        end = self.node.accept()
        end.answer(self.asked(end))
        self.successResultOf(asked)
        self.assert_nothing_left()

    def test_node_that_says_nothing(self) -> None:
        asked = self.call(deadline_ms=1_000)
        self.asked()
        self.node.reactor.advance(1.9)
        self.assertNoResult(asked)
        self.node.reactor.advance(0.2)
        self.fails(asked, "timeout")
        self.assertEqual(self.asked().code, 499)

    def test_while_connecting(self) -> None:
        self.end.hang_up()
        asked = self.call(deadline_ms=1_000)
        self.node.reactor.advance(1.5)
        end = self.node.accept()
        self.fails(asked, "timeout")
        self.assertEqual(end.heard(), [])


class Cancelling(Case):
    """At any point, and nothing is left behind."""

    def cancelled(self, asked: Deferred[Any]) -> None:
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assert_nothing_left()

    def test_while_connecting(self) -> None:
        self.end.hang_up()
        first, second = self.call(), self.call()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        # The other one still waits for the same attempt.
        end = self.node.accept()
        end.answer(self.asked(end))
        self.successResultOf(second)
        end.hang_up()
        asked = self.call()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.node.delayed, [])

    def test_while_backing_off(self) -> None:
        asked = self.call(retry=True)
        self.end.fail(self.asked(), 429, "busy", retryable=True, retry_after_ms=0)
        self.cancelled(asked)

    def test_while_waiting_for_the_head(self) -> None:
        asked = self.call(retry=True, deadline_ms=10_000)
        self.asked()
        self.cancelled(asked)
        self.assertEqual(self.asked().code, 499)

    def test_while_waiting_for_the_body(self) -> None:
        asked = self.call()
        self.end.begin(self.asked())
        self.cancelled(self.successResultOf(asked).read(10))
        self.assertEqual(self.asked().code, 499)
