"""Calls of an owner under any interleaving of answers, failures, callers that leave, deadlines and reloads.

No permit is lost, no write is sent twice, and each call ends once.

Run by pytest. The examples are the same in every run.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.endpoints import Endpoint, keep_one
from micronode.adapters.retries import MOST
from micronode.config.url import OwnerUrl
from micronode.errors import NodeError
from micronode.interfaces import IOwnerReply
from micronode.observability.metrics import OWNER_OUTCOMES
from tests.support.clients import make_client
from tests.support.measures import make_metrics, sample
from tests.support.network import MemoryNetwork, OwnerEnd, response

URLS = [f"http://10.0.0.{number}:{number}" for number in (1, 2, 3)]
numbers = st.integers(min_value=0, max_value=100)
ANSWERS = [
    response(b"fine"),
    response(b"", status="404 Not Found"),
    response(b"", "Retry-After: 1", status="503 Busy"),
    response(b"x" * 20_000, status="503 Busy"),
    response(b"oops", status="500 Oops"),
    response(b"cut", length=100),
    response(b"bye", "Connection: close"),
    b"HTTP/1.1 2",
    b"SSH-2.0\r\n\r\n",
]
pauses = st.sampled_from([0.0, 0.0, 0.1, 0.1, 0.2, 1.0, 5.0])
acts = st.sampled_from([*ANSWERS, "close", "reset", "close", "reset", "refuse"])


class OwnerCalls(RuleBasedStateMachine):
    """A client of up to three endpoints, some permits, and a short queue."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MemoryNetwork()
        self.metrics = make_metrics()
        more = {"concurrency": 4, "queue": 2, "wait_s": 1.0}
        self.client = make_client(self.network, *URLS[:2], metrics=self.metrics, **more)
        self.known = {each.agent.url: each for each in self.client.settings.endpoints}
        self.every = list(self.known.values())
        self.made = 0
        self.waiting: dict[int, Deferred[IOwnerReply]] = {}
        self.replies: list[IOwnerReply] = []
        self.ended: Counter[int] = Counter()
        self.sent: Counter[bytes] = Counter()
        #: Ends of which something was asked.
        self.busy: list[OwnerEnd] = []
        self.failures: list[Any] = []
        globalLogPublisher.addObserver(self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if "log_failure" in event:
            self.failures.append(event)

    # Callers

    @rule(
        is_write=st.booleans(),
        count=st.integers(min_value=1, max_value=3),
        caller_s=st.sampled_from([None, None, None, 0.1]),
        deadline_s=st.sampled_from([None, 0.5, 12.0]),
    )
    def call(self, is_write: bool, count: int, caller_s: float | None, deadline_s: float | None) -> None:
        for _ in range(count):
            self.made += 1
            number = self.made
            method = b"POST" if is_write else b"GET"
            path = b"/%s/%d" % (method, number)
            called = self.client.call(method, path, caller_s=caller_s, deadline_s=deadline_s)
            self.waiting[number] = called
            called.addCallbacks(
                self.answered, self.refused, callbackArgs=(number,), errbackArgs=(number,)
            ).addErrback(lambda failure: self.failures.append(failure))

    def answered(self, reply: IOwnerReply, number: int) -> None:
        self.over(number)
        self.replies.append(reply)

    def refused(self, failure: Any, number: int) -> None:
        failure.trap(NodeError, CancelledError)
        self.over(number)

    def over(self, number: int) -> None:
        self.ended[number] += 1
        self.waiting.pop(number, None)

    @rule(number=numbers, how=st.sampled_from(["leave", "read", "discard", "abort"]))
    def go_on(self, number: int, how: str) -> None:
        """Let a caller leave, or do something with an answer."""
        if how == "leave":
            keys = list(self.waiting)
            if keys:
                self.waiting[keys[number % len(keys)]].cancel()
            return
        if not self.replies:
            return
        reply = self.replies.pop(number % len(self.replies))
        if how == "read":
            reply.read(100).addErrback(lambda failure: failure.trap(NodeError) and None)
        elif how == "discard":
            reply.discard()
        else:
            reply.abort()

    # Owners

    @rule(acts=st.lists(st.tuples(acts, pauses), min_size=1, max_size=6))
    def serve(self, acts: list[tuple[bytes | str, float]]) -> None:
        """Let owners do *acts*, each to the next that wants something of one, and time pass after each."""
        for act, seconds in acts:
            self.connect(refuse=act == "refuse")
            self.hear()
            if act != "refuse" and self.busy:
                self.do(act, self.busy.pop(0))
            self.network.reactor.advance(seconds)

    def connect(self, *, refuse: bool) -> None:
        """Let the oldest connect that waits succeed or fail."""
        reactor, tried = self.network.reactor, self.network._tried
        while tried < self.network.connects and reactor.connectors[tried].stoppedConnecting:
            tried += 1
        self.network._tried = tried
        if tried < self.network.connects:
            self.network.refuse() if refuse else self.network.accept()

    def do(self, act: bytes | str, end: OwnerEnd) -> None:
        if end.closed or end.lost:
            return
        if isinstance(act, str):
            end.hang_up(cleanly=act == "close")
        elif end.producerState == "producing":
            end.send(act)

    def hear(self) -> None:
        """Take what was sent to owners; its ends are busy."""
        for end in self.network.accepted:
            for line in end.heard().split(b"\r\n"):
                if line.endswith(b" HTTP/1.1"):
                    self.sent[line.split(b" ")[1]] += 1
                    self.busy.append(end)

    # The node

    @rule(
        urls=st.lists(st.sampled_from(URLS), min_size=1, unique=True),
        concurrency=st.integers(min_value=1, max_value=6),
        queue=st.integers(min_value=0, max_value=3),
    )
    def reload(self, urls: list[str], concurrency: int, queue: int) -> None:
        endpoints = []
        for text in urls:
            url = OwnerUrl.parse(text)
            if url not in self.known or self.known[url].agent.closed:
                agent = OwnerAgent(self.network.reactor, url, connections=2)
                self.known[url] = Endpoint(agent, self.network.reactor.seconds)
                self.every.append(self.known[url])
            endpoints.append(self.known[url])
        gone = [each for each in self.client.settings.endpoints if each not in endpoints]
        self.client.settings = attrs.evolve(
            self.client.settings, endpoints=tuple(endpoints), concurrency=concurrency, queue=queue
        )
        keep_one(endpoints)
        for each in gone:
            each.agent.close()

    @invariant()
    def sent_no_more_than_may_be(self) -> None:
        self.hear()
        for path, times in self.sent.items():
            assert times <= (1 if path.startswith(b"/POST/") else 1 + MOST), path

    @invariant()
    def permits_are_those_of_the_calls(self) -> None:
        waiting = self.client.permits.waiting
        assert len(self.waiting) - waiting <= self.client.inflight
        assert sum(each.in_flight for each in self.every) <= self.client.inflight
        assert self.counted() == self.made - waiting - self.client.inflight
        assert not self.failures
        assert not self.ended or max(self.ended.values()) == 1

    def counted(self) -> int:
        found = (
            sample(self.metrics, "owner_requests_total", owner="index", outcome=outcome)
            for outcome in OWNER_OUTCOMES
        )
        return int(sum(found))

    def teardown(self) -> None:
        """Time ends whatever is under way, and nothing is left of it."""
        for _ in range(40):
            self.network.reactor.advance(5.0)
            for reply in self.replies:
                reply.abort()
        self.sent_no_more_than_may_be()
        self.permits_are_those_of_the_calls()
        globalLogPublisher.removeObserver(self.observe)
        assert not self.waiting
        assert (self.client.inflight, self.client.permits.waiting) == (0, 0)
        assert [each.in_flight for each in self.every] == [0] * len(self.every)
        assert self.counted() == self.made
        assert self.network.reactor.getDelayedCalls() == []


OwnerCalls.TestCase.settings = settings(
    derandomize=True, database=None, deadline=None, max_examples=60, stateful_step_count=50
)
TestOwnerCalls = OwnerCalls.TestCase
