"""Caller and node back to back, their bytes late and in pieces: windows hold, and nothing is lost or stuck.

Run by pytest, from the same examples every time.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from micronode.oap.wire.caller import (
    CallerConnection,
    CallFailed,
    ChunkReceived,
    CreditGranted,
    HeadReceived,
    HelloAnswered,
)
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    CreditReceived,
    FrameIgnored,
    HelloReceived,
    StreamCancelled,
    StreamOpened,
)

APP = 0x0101
STREAM_WINDOW, CONNECTION_WINDOW, MAX_INFLIGHT = 16, 40, 5

sizes = st.integers(1, 20)
picks = st.integers(0, 1000)


def body(start: int, size: int) -> bytes:
    """Return a piece of a body of which every byte tells its place."""
    return bytes(place % 251 for place in range(start, start + size))


class Side:
    """One body of one stream, at both ends of it."""

    def __init__(self) -> None:
        self.sent = self.got = self.taken = 0
        self.ended = self.whole = False

    def receive(self, data: bytes) -> None:
        """Check bytes that came."""
        assert data == body(self.got, len(data))
        self.got += len(data)

    @property
    def held(self) -> int:
        """Bytes that came and were not taken."""
        return self.got - self.taken


class Call:
    """What both ends know of a stream, and what goes over it."""

    def __init__(self, corr_id: int) -> None:
        self.corr_id = corr_id
        self.up, self.down = Side(), Side()
        #: At the node: it was opened, a head was sent, it is over.
        self.opened = self.headed = self.closed = False
        #: At the caller: it gave the call up, the terminal frame came.
        self.cancelled = self.over = False


class Windows(RuleBasedStateMachine):
    """Any order of sending, taking, cancelling and delivering, on several streams, both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = CallerConnection(windows=True)
        self.node = NodeConnection(
            max_inflight=MAX_INFLIGHT, ack_window=STREAM_WINDOW, conn_window=CONNECTION_WINDOW
        )
        self.calls: dict[int, Call] = {}
        self.to_node, self.to_caller = self.caller.hello(None), b""
        self.deliver_up(1 << 20)
        self.deliver_down(1 << 20)

    # What both ends do with what comes

    def deliver_up(self, most: int) -> None:
        data, self.to_node = self.to_node[:most], self.to_node[most:]
        for event in self.node.receive(data):
            self.at_node(event)
        self.to_caller += self.node.credits()

    def at_node(self, event: Any) -> None:
        match event:
            case HelloReceived():
                limits = {
                    "flags_supported": 255,
                    "ack_window": STREAM_WINDOW,
                    "conn_window": CONNECTION_WINDOW,
                }
                self.to_caller += self.node.send_hello(event, limits)
            case StreamOpened():
                self.calls[event.corr_id].opened = True
            case BodyReceived():
                side = self.calls[event.corr_id].up
                side.receive(event.data)
                side.whole = event.ended
            case StreamCancelled():
                call = self.calls[event.corr_id]
                call.closed = True
                self.to_caller += self.node.send_error(event.corr_id, ErrorCode.CANCELLED, {})
            case CreditReceived() | FrameIgnored():
                pass
            case _:
                raise AssertionError(f"the caller is blamed for {event}")

    def deliver_down(self, most: int) -> None:
        data, self.to_caller = self.to_caller[:most], self.to_caller[most:]
        for event in self.caller.receive(data):
            self.at_caller(event)

    def at_caller(self, event: Any) -> None:
        match event:
            case ChunkReceived():
                call = self.calls[event.corr_id]
                call.down.receive(event.data)
                call.down.whole = call.over = event.ended
            case CallFailed():
                call = self.calls[event.corr_id]
                assert call.cancelled
                call.over = True
            case HelloAnswered() | HeadReceived() | CreditGranted() | FrameIgnored():
                pass
            case _:
                raise AssertionError(f"the node is blamed for {event}")

    # Rules

    def pick(self, number: int, calls: list[Call]) -> Call | None:
        return calls[number % len(calls)] if calls else None

    def asking(self) -> list[Call]:
        return [call for call in self.calls.values() if self.caller.is_asking(call.corr_id)]

    def answering(self) -> list[Call]:
        return [call for call in self.calls.values() if call.opened and not call.closed]

    @precondition(lambda self: sum(not call.over for call in self.calls.values()) < MAX_INFLIGHT)
    @rule()
    def open(self) -> None:
        corr_id, start = self.caller.open(APP, {}, ended=False)
        self.calls[corr_id] = Call(corr_id)
        self.to_node += start

    @rule(number=picks, size=sizes)
    def send(self, number: int, size: int) -> None:
        if call := self.pick(number, self.asking()):
            size = min(size, self.caller.room(call.corr_id) or 0)
            self.to_node += self.caller.body(call.corr_id, body(call.up.sent, size))
            call.up.sent += size

    @rule(number=picks)
    def end(self, number: int) -> None:
        if call := self.pick(number, self.asking()):
            self.to_node += self.caller.end(call.corr_id)
            call.up.ended = True

    @rule(number=picks)
    def cancel(self, number: int) -> None:
        open_calls = [
            call for call in self.calls.values() if self.caller.is_open(call.corr_id) and not call.cancelled
        ]
        if call := self.pick(number, open_calls):
            call.cancelled = True
            self.to_node += self.caller.cancel(call.corr_id)

    @rule(number=picks, size=sizes)
    def owner_takes(self, number: int, size: int) -> None:
        if call := self.pick(number, self.answering()):
            self.take_up(call, size)

    def take_up(self, call: Call, size: int) -> None:
        size = min(size, call.up.held)
        call.up.taken += size
        self.node.taken(call.corr_id, size)
        self.to_caller += self.node.credits()

    @rule(number=picks, size=sizes)
    def answer(self, number: int, size: int) -> None:
        if call := self.pick(number, self.answering()):
            if not call.headed:
                call.headed = True
                self.to_caller += self.node.send_head(call.corr_id, {})
            size = min(size, self.node.room(call.corr_id) or 0)
            self.to_caller += self.node.send_body(call.corr_id, body(call.down.sent, size))
            call.down.sent += size

    @rule(number=picks)
    def end_answer(self, number: int) -> None:
        if call := self.pick(number, [call for call in self.answering() if call.headed]):
            self.finish(call)

    def finish(self, call: Call) -> None:
        self.to_caller += self.node.send_end(call.corr_id)
        # What waits for the owner is dropped, and credited at once.
        self.to_caller += self.node.credits()
        call.closed = call.down.ended = True

    @rule(number=picks, size=sizes)
    def consumer_takes(self, number: int, size: int) -> None:
        if call := self.pick(number, [call for call in self.calls.values() if not call.cancelled]):
            self.take_down(call, size)

    def take_down(self, call: Call, size: int) -> None:
        size = min(size, call.down.held)
        call.down.taken += size
        self.caller.taken(call.corr_id, size)
        self.to_node += self.caller.credits()

    @rule(size=st.integers(1, 300))
    def wire_up(self, size: int) -> None:
        self.deliver_up(size)

    @rule(size=st.integers(1, 300))
    def wire_down(self, size: int) -> None:
        self.deliver_down(size)

    # What always holds

    @invariant()
    def nothing_beyond_a_window(self) -> None:
        held = 0
        for call in self.calls.values():
            for room in (self.caller.room(call.corr_id), self.node.room(call.corr_id)):
                assert room is None or room >= 0
            assert call.down.held <= STREAM_WINDOW
            if not call.closed:
                assert call.up.held <= STREAM_WINDOW
                held += call.up.held
        assert held <= CONNECTION_WINDOW

    def teardown(self) -> None:
        """Everybody goes on: then everything gets through, and every stream ends.

        At first the owners of two streams stand still, which keeps no other stream from its end.
        """
        stuck = self.asking()[:2]
        self.go_on(stuck)
        assert all(call.over for call in self.calls.values() if call not in stuck)
        self.go_on([])
        assert not self.caller.open_streams
        assert not self.node.open_streams
        for call in self.calls.values():
            if call.cancelled:
                continue
            assert call.down.whole
            assert call.down.got == call.down.sent
            if call.up.whole:
                assert call.up.got == call.up.sent
        # The connection's window is whole again, but for what is credited when half of it is used.
        sent, came = self.caller._streams._connection, self.node._streams.windows._connection
        assert sent.sent == came.received == came.taken
        assert sent.credited == came.credited > came.taken - CONNECTION_WINDOW // 2
        super().teardown()

    def go_on(self, stuck: list[Call]) -> None:
        """Move everything that moves."""
        for _ in range(100):
            for call in list(self.calls.values()):
                self.take_down(call, 1 << 20)
                if call in self.answering() and call not in stuck:
                    self.take_up(call, 1 << 20)
                    if call.up.whole:
                        self.answer_to(call, 30)
                if call in self.asking():
                    self.ask_to(call, 30)
            self.deliver_up(1 << 20)
            self.deliver_down(1 << 20)

    def ask_to(self, call: Call, total: int) -> None:
        """Send a body up to *total* bytes, then its end."""
        size = min(max(0, total - call.up.sent), self.caller.room(call.corr_id) or 0)
        self.to_node += self.caller.body(call.corr_id, body(call.up.sent, size))
        call.up.sent += size
        if call.up.sent >= total:
            self.to_node += self.caller.end(call.corr_id)
            call.up.ended = True

    def answer_to(self, call: Call, total: int) -> None:
        """Send an answer up to *total* bytes, then its end."""
        if not call.headed:
            call.headed = True
            self.to_caller += self.node.send_head(call.corr_id, {})
        size = min(max(0, total - call.down.sent), self.node.room(call.corr_id) or 0)
        self.to_caller += self.node.send_body(call.corr_id, body(call.down.sent, size))
        call.down.sent += size
        if call.down.sent >= total:
            self.finish(call)


TestWindows = Windows.TestCase
TestWindows.settings = settings(
    derandomize=True, database=None, deadline=None, max_examples=120, stateful_step_count=60
)
