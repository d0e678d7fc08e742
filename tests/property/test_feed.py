"""Subscriptions under random histories: nothing is lost, comes after its acknowledgement, or leaks.

Subscribers come, stop reading, acknowledge and leave; the owner fails and comes back; time passes. Both lie
in memory, on one clock.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from micronode.calls.call import Call, ResponseHead
from micronode.concurrency.backpressure import Gate
from micronode.errors import ErrorCode, NodeError
from micronode.facets.feed import FeedFacet
from micronode.facets.polls import Polls
from micronode.facets.subscription import Deliveries, Subscription
from tests.contracts.mailbox import RECV
from tests.support.calls import make_call, operation_of
from tests.support.mailbox import MemoryMailbox
from tests.support.sinks import MemoryEventSink

DOWN = NodeError(ErrorCode.OWNER_UNAVAILABLE, "owner mailbox cannot be reached")
TOPICS = ("a", "b", "c")
#: Of callers that take any message, and of those that take short ones.
WINDOWS = (131_072, 8_000)

_topic = st.sampled_from(TOPICS)
_who = st.integers(0, 7)
ACTIONS = st.one_of(
    st.tuples(st.just("send"), _topic, st.sampled_from((0, 10, 5_000, 40_000, 60_000))),
    st.tuples(
        st.just("subscribe"),
        _topic,
        st.tuples(
            st.sampled_from((1_000, 30_000)), st.sampled_from((None, "a", "b")), st.sampled_from(WINDOWS)
        ),
    ),
    st.tuples(st.just("leave"), _who, st.booleans()),
    st.tuples(st.just("ack"), _who, _who),
    st.tuples(st.just("take"), _who, st.integers(0, 100_000)),
    st.tuples(st.just("pause"), _who, st.booleans()),
    st.tuples(st.just("owner"), st.booleans(), st.none()),
    st.tuples(st.just("pass"), st.sampled_from((0.05, 0.5, 3.0, 31.0)), st.none()),
)


class Sink(MemoryEventSink):
    """A caller's; it may have what the owner handed out to its own token."""

    def __init__(self, history: History, token_id: str | None, window: int) -> None:
        super().__init__(window=window)
        self._history = history
        self._token_id = token_id

    def write_event(self, data: bytes, event_id: str = "") -> None:
        if self._history.takers[event_id] != self._token_id:
            self._history.strays.append(event_id)
        super().write_event(data, event_id)


class History:
    """The world that a history happens to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.gate = Gate(6)
        self.mailbox = MemoryMailbox(self.clock)
        self.box = self.mailbox.box
        #: Whose token each message was handed out to last, by its id.
        self.takers: dict[str, str | None] = {}
        #: What a caller got that was handed out to another's.
        self.strays: list[str] = []
        self.recv, self.mailbox.recv = self.mailbox.recv, self.note  # type: ignore[method-assign]
        polls = Polls(self.clock, lambda: self.gate, Random(1))
        polls.bound(6)
        self.deliveries = Deliveries(self.clock, polls)
        self.facet = FeedFacet(self.mailbox, self.deliveries, timeout_s=5.0)
        self.sent: set[str] = set()
        self.acked: dict[str, int] = {}
        self.readers: list[tuple[MemoryEventSink, Deferred[None]]] = []

    def note(self, call: Call, *args: Any, **bounds: Any) -> Deferred[Any]:
        """Hear what is handed out."""

        def heard(reply: Any) -> Any:
            ids = [each["msg_id"] for each in json.loads(reply.body)["messages"]]
            self.takers |= dict.fromkeys(ids, call.token_id)
            return reply

        return self.recv(call, *args, **bounds).addCallback(heard)

    def do(self, action: str, one: Any, two: Any) -> None:
        getattr(self, f"do_{action}")(one, two)
        assert self.gate.in_use <= 1, "polls take a quarter of the permits"

    def do_send(self, topic: str, size: int) -> None:
        self.sent.add(self.box.send(topic, bytes(size)))

    def do_subscribe(self, topic: str, how: tuple[int, str | None, int]) -> None:
        visibility_ms, token_id, window = how
        sink = Sink(self, token_id, window)
        call = make_call(RECV, token_id=token_id)
        body = Subscription(call, topic, self.mailbox, self.deliveries, visibility_ms=visibility_ms)
        over = body.relay(ResponseHead(), sink)
        over.addErrback(lambda failure: failure.trap(CancelledError, NodeError) and None)
        self.readers.append((sink, over))

    def reader(self, who: int) -> tuple[MemoryEventSink, Deferred[None]] | None:
        return self.readers[who % len(self.readers)] if self.readers else None

    def do_leave(self, who: int, rudely: bool) -> None:
        if reader := self.reader(who):
            sink, over = reader
            if rudely:
                sink.go()
            over.cancel()

    def do_ack(self, who: int, which: int) -> None:
        reader = self.reader(who)
        if reader is None or not reader[0].messages or self.mailbox.error is not None:
            return
        messages = reader[0].messages
        self.acknowledge(json.loads(messages[which % len(messages)])["msg_id"])

    def acknowledge(self, msg_id: str) -> None:
        operation = operation_of(self.facet, "ack")
        call = make_call(operation, {"topic": "any", "msg_id": msg_id})
        Deferred.fromCoroutine(operation.handler(call)).addErrback(lambda _: None)  # type: ignore[arg-type]
        if msg_id not in self.acked:
            self.acked[msg_id] = self.delivered(msg_id)

    def delivered(self, msg_id: str) -> int:
        """Return how often a message reached a caller."""
        return sum(json.loads(each)["msg_id"] == msg_id for sink, _ in self.readers for each in sink.messages)

    def do_take(self, who: int, size: int) -> None:
        if reader := self.reader(who):
            reader[0].take(size)

    def do_pause(self, who: int, paused: bool) -> None:
        if reader := self.reader(who):
            reader[0].pause() if paused else reader[0].resume()

    def do_owner(self, up: bool, _: None) -> None:
        self.mailbox.error = None if up else DOWN

    def do_pass(self, seconds: float, _: None) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))

    def end(self) -> None:
        """Everybody leaves, and all there is lies at the owner."""
        self.mailbox.error = None
        for _, over in self.readers:
            over.cancel()
        self.do_pass(4.0, None)
        assert all(over.called for _, over in self.readers)
        assert self.strays == []
        assert self.gate.in_use == 0
        assert len(self.deliveries.unconfirmed) == 0
        left: set[str] = set()
        for topic in TOPICS:
            for name in (topic, f"{topic}.dlq"):
                left |= {*self.box.waiting(name), *self.box.held(name)}
        assert left == self.sent - set(self.acked), "something was lost, or came back from the dead"
        for msg_id, times in self.acked.items():
            assert self.delivered(msg_id) == times, "it came again after it was acknowledged"
        self.box.close()
        assert self.clock.getDelayedCalls() == []


@settings(deadline=None, max_examples=150)
@example(
    [
        ("subscribe", "a", (30_000, "a", WINDOWS[0])),
        ("subscribe", "a", (30_000, "b", WINDOWS[0])),
        ("leave", 0, False),
        ("send", "a", 10),
    ]
)
@given(st.lists(ACTIONS, max_size=40))
def test_nothing_is_lost(actions: list[tuple[str, Any, Any]]) -> None:
    history = History()
    for action in actions:
        history.do(*action)
    history.end()
