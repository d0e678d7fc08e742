"""micronode.adapters.policy: the question on the wire, and every answer that is none."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.breaker import BreakerState
from micronode.adapters.policy import DECIDE_S, PolicyClient, make_policy
from micronode.config.schema import Owner
from micronode.errors import ErrorCode, NodeError
from micronode.security.decisions import MAX_DECISION_BYTES, Decision
from micronode.security.policy import Policy
from tests.contracts.policy_owner import PolicyOwnerContract
from tests.support.clients import make_client
from tests.support.measures import make_metrics, sample
from tests.support.network import MemoryNetwork, response
from tests.support.policy import WRITE, call_of

SAID = b'{"action":"deny","rule":"r","reason":"no","ttl_s":5}'
DENIED = Decision(allow=False, rule="r", reason="no", ttl_s=5.0)


def json_of(decision: Decision) -> bytes:
    said = {
        "action": "allow" if decision.allow else "deny",
        "rule": decision.rule,
        "reason": decision.reason,
        "ttl_s": decision.ttl_s,
    }
    if decision.max_bytes is not None:
        said["max_bytes"] = decision.max_bytes
    return json.dumps(said).encode()


class PolicyClientCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.metrics = make_metrics()
        self.client = make_client(
            self.network, name="policy", metrics=self.metrics, concurrency=100, queue=9, wait_s=0.25
        )
        self.policy = PolicyClient(self.client, self.network.reactor)

    def tearDown(self) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])

    def decide(self, **fields: Any) -> Deferred[Decision]:
        return self.policy.decide(call_of(WRITE, **fields))

    def outcomes(self) -> dict[str, float]:
        """Return how questions have ended, and how often."""
        found = {
            outcome: sample(self.metrics, "owner_requests_total", owner="policy", outcome=outcome)
            for outcome in ("ok", "client_error", "server_error", "unavailable", "timeout", "bad_gateway")
        }
        return {outcome: count for outcome, count in found.items() if count}

    def refused(self, decided: Deferred[Decision]) -> NodeError:
        error = self.failureResultOf(decided, NodeError).value
        self.assertEqual(error.source, "policy")
        self.all_is_over()
        return error

    def all_is_over(self) -> None:
        self.network.settle()
        self.assertEqual(self.client.inflight, 0)

    def advance(self, seconds: float) -> None:
        self.network.reactor.advance(seconds)


class ContractTests(PolicyOwnerContract, PolicyClientCase):
    def make_owner(self) -> PolicyClient:
        return self.policy

    def say(self, decision: Decision) -> None:
        self.network.serve().send(response(json_of(decision)))

    def refuse(self) -> None:
        for _ in range(3):
            self.network.refuse()
            self.advance(0.11)
            if self.network.connects == len(self.network.accepted) + _ + 1:
                break

    def idle(self) -> bool:
        self.network.settle()
        return self.client.inflight == 0


class QuestionTests(PolicyClientCase):
    def test_on_the_wire(self) -> None:
        decided = self.decide(
            tenant=bytes(15) + b"\x01",
            token_id="ab" * 16,
            traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
            capability="secret",
            idempotency_key="key",
            deadline_s=0.001,
        )
        end = self.network.accept()
        head, _, body = end.heard().partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        self.assertEqual(lines[0], b"post /v1/decide http/1.1")
        for line in (
            b"content-type: application/json",
            b"x-request-id: r-1",
            b"x-micronode-tenant: " + b"0" * 31 + b"1",
            b"x-micronode-token-id: " + b"ab" * 16,
            b"x-micronode-deadline-ms: 250",
            b"content-length: %d" % len(body),
        ):
            self.assertIn(line, lines)
        self.assertEqual(
            json.loads(body),
            {
                "tenant": "0" * 31 + "1",
                "token_id": "ab" * 16,
                "facet": "graph",
                "op": "write",
                "method": "POST",
            },
        )
        self.assertNotIn(b"secret", head)
        end.send(response(SAID))
        self.assertEqual(self.successResultOf(decided), DENIED)
        self.assertEqual(self.outcomes(), {"ok": 1})

    def test_nobody_in_particular(self) -> None:
        self.decide()
        said = json.loads(self.network.accept().heard().partition(b"\r\n\r\n")[2])
        self.assertEqual((said["tenant"], said["token_id"]), (None, None))

    def test_a_kept_connection(self) -> None:
        self.decide()
        self.network.accept().send(response(SAID))
        decided = self.decide()
        self.assertEqual(self.network.connects, 1)
        self.network.serve().send(response(SAID))
        self.successResultOf(decided)

    def test_a_kept_connection_that_was_closed(self) -> None:
        """The question may be asked again, body and all."""
        self.decide()
        first = self.network.accept()
        asked = first.heard()
        first.send(response(SAID))
        decided = self.decide()
        first.hang_up()
        second = self.network.accept()
        self.assertEqual(second.heard(), asked)
        second.send(response(SAID))
        self.assertEqual(self.successResultOf(decided), DENIED)
        self.assertEqual(self.outcomes(), {"ok": 2})

    def test_it_is_tried_again(self) -> None:
        for act in (
            lambda: self.network.refuse(),
            lambda: self.network.accept().hang_up(cleanly=False),
            lambda: self.network.accept().send(response(b"", status="503 Busy")),
        ):
            decided = self.decide()
            act()
            self.advance(0.06)
            self.network.serve().send(response(SAID, "Connection: close"))
            self.assertEqual(self.successResultOf(decided), DENIED)
            self.all_is_over()


class NoAnswerTests(PolicyClientCase):
    """Whatever is no decision: said, counted, over in a quarter of a second, and nothing left of it."""

    def test_too_slow(self) -> None:
        def unconnected() -> None:
            """Nothing accepts."""

        def silent() -> None:
            self.network.accept()

        def no_body() -> None:
            self.network.accept().send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")

        def half_a_body() -> None:
            self.network.accept().send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{")

        for act in (unconnected, silent, no_body, half_a_body):
            self.setUp()
            decided = self.decide()
            act()
            self.advance(DECIDE_S - 0.01)
            self.assertNoResult(decided)
            self.advance(0.01)
            self.assertIs(self.refused(decided).code, ErrorCode.OWNER_TIMEOUT, act.__name__)
            self.assertEqual(self.outcomes(), {"timeout": 1}, act.__name__)

    def test_a_drip(self) -> None:
        """Each byte in time, and the whole is not."""
        decided = self.decide()
        end = self.network.accept()
        self.advance(0.1)
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SAID))
        for byte in SAID[:14]:
            self.advance(0.01)
            end.send(bytes([byte]))
        self.assertNoResult(decided)
        self.advance(0.01)
        self.assertIs(self.refused(decided).code, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(end.aborted)

    def test_no_turn_in_time(self) -> None:
        self.client.permits.resize(1, 9)
        first, second = self.decide(), self.decide()
        self.network.accept()
        self.assertEqual(self.network.connects, 1)
        self.advance(DECIDE_S)
        for each in (first, second):
            self.failureResultOf(each, NodeError)
        self.all_is_over()

    def test_a_turn_in_time(self) -> None:
        self.client.permits.resize(1, 9)
        self.decide()
        second = self.decide()
        self.network.accept().send(response(SAID))
        self.network.serve().send(response(SAID))
        self.assertEqual(self.successResultOf(second), DENIED)

    def test_no_decision(self) -> None:
        for body, fields in (
            (b"", ()),
            (b"{}", ()),
            (b"<html>", ("Content-Type: text/html",)),
            (SAID.replace(b"deny", b"maybe"), ()),
            (SAID[:-1] + b',"ttl_s":6}', ()),
            (SAID, ("Content-Encoding: gzip",)),
            (b'{"action":"deny","rule":"' + b"x" * MAX_DECISION_BYTES + b'","reason":"","ttl_s":1}', ()),
        ):
            self.setUp()
            decided = self.decide()
            self.network.accept().send(response(body, *fields))
            self.assertIs(self.refused(decided).code, ErrorCode.BAD_GATEWAY, body[:50])
            self.assertEqual(self.outcomes(), {"bad_gateway": 1}, body[:50])

    def test_what_is_no_http(self) -> None:
        decided = self.decide()
        self.network.accept().send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
        self.assertIs(self.refused(decided).code, ErrorCode.BAD_GATEWAY)

    def test_another_status(self) -> None:
        for status, outcome in (
            ("204 No Content", "ok"),
            ("302 Found", "ok"),
            ("404 Not Found", "client_error"),
            ("429 Too Many", "client_error"),
            ("500 Oops", "server_error"),
        ):
            self.setUp()
            decided = self.decide()
            body = b"" if status.startswith("204") else SAID
            self.network.accept().send(response(body, "Retry-After: 7", status=status))
            error = self.refused(decided)
            self.assertIs(error.code, ErrorCode.BAD_GATEWAY)
            self.assertEqual(error.retry_after_ms, 7000)
            self.assertEqual(self.outcomes(), {outcome: 1})

    def test_cancelled(self) -> None:
        decided = self.decide()
        end = self.network.accept()
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        decided.cancel()
        self.failureResultOf(decided, CancelledError)
        self.assertTrue(end.aborted)
        self.all_is_over()


class BreakerTests(PolicyClientCase):
    """Its breaker opens for whatever is of no use, and the head of an answer does not close it."""

    def open_it(self, answer: bytes) -> None:
        for _ in range(10):
            decided = self.decide()
            self.network.serve().send(answer)
            self.advance(0.0)
            if not decided.called:
                self.advance(DECIDE_S)
            self.failureResultOf(decided, NodeError)
            self.network.settle()

    @property
    def state(self) -> BreakerState:
        return self.client.settings.endpoints[0].breaker.state

    def test_answers_that_are_no_decision(self) -> None:
        self.open_it(response(b"{}"))
        self.assertIs(self.state, BreakerState.OPEN)
        decided = self.decide()
        self.assertIs(self.failureResultOf(decided, NodeError).value.code, ErrorCode.OWNER_UNAVAILABLE)

    def test_a_head_alone_does_not_close_it(self) -> None:
        self.open_it(response(b"{}"))
        self.advance(1.0)
        decided = self.decide()
        end = self.network.serve()
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SAID))
        self.assertIs(self.state, BreakerState.HALF_OPEN)
        end.send(SAID)
        self.successResultOf(decided)
        self.assertIs(self.state, BreakerState.CLOSED)


class MakePolicyTests(PolicyClientCase):
    def make(self, before: Policy | None, **changes: Any) -> Policy | None:
        owner = Owner(**{"url": ("http://a:1",), **changes})
        return make_policy(owner, {"policy": self.client}, self.network.reactor, before)

    def test_none(self) -> None:
        owner = Owner(url=("http://a:1",))
        self.assertIsNone(make_policy(owner, {"index": self.client}, self.network.reactor, None))

    def test_what_is_known_stays_with_the_urls(self) -> None:
        first = self.make(None, fail="open")
        assert first is not None
        self.assertEqual(first.fail, "open")
        second, third = self.make(first, timeout="1s"), self.make(first, url=("http://a:1", "http://a:2"))
        assert second is not None
        assert third is not None
        self.assertIs(second.decider, first.decider)
        self.assertEqual(second.fail, "closed")
        self.assertIsNot(third.decider, first.decider)
