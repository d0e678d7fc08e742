"""The state tables: every pair is legal or refused, and nothing else decides."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    Event,
    FrameIgnored,
    HelloReceived,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
)
from micronode.oap.wire.frames import ACK_REQ, END, REQ, RESP, START, encode_frame
from micronode.oap.wire.states import (
    CONNECTION,
    STREAM,
    ConnectionInput,
    ConnectionState,
    IllegalSendError,
    StreamInput,
    StreamState,
)

APP = 0x0402
HELLO = encode_frame(REQ, 0, 0, 1, b"{}")

#: What the caller says to give a stream one of its inputs.
_SAID = {
    StreamInput.RECEIVE_BODY: (REQ, 0),
    StreamInput.RECEIVE_END: (REQ | END, 0),
    StreamInput.RECEIVE_CANCEL: (REQ | END, 499),
    StreamInput.RECEIVE_BREACH: (RESP, 0),
}
_EVENT = {
    StreamInput.RECEIVE_BODY: BodyReceived,
    StreamInput.RECEIVE_END: BodyReceived,
    StreamInput.RECEIVE_CANCEL: StreamCancelled,
    StreamInput.RECEIVE_BREACH: StreamFailed,
}


def _receive(node: NodeConnection, given: StreamInput) -> Event:
    flags, code = _SAID[given]
    [event] = node.receive(encode_frame(flags, code, APP, 1, b"x"))
    return event


def _send(node: NodeConnection, given: StreamInput) -> bytes:
    if given is StreamInput.SEND_HEAD:
        return node.send_head(1, {"status": 200})
    if given is StreamInput.SEND_WHOLE:
        return node.send_head(1, {"status": 200}, ended=True)
    if given is StreamInput.SEND_BODY:
        return node.send_body(1, b"x")
    if given is StreamInput.SEND_EVENT:
        return node.send_event(1, b"{}")
    if given is StreamInput.SEND_END:
        return node.send_end(1)
    return node.send_error(1, ErrorCode.INTERNAL, {})


def _opened() -> NodeConnection:
    node = NodeConnection()
    for event in node.receive(HELLO + encode_frame(REQ | START | ACK_REQ, 0, APP, 1, b"{}")):
        if isinstance(event, HelloReceived):
            node.send_hello(event, {})
        else:
            assert isinstance(event, StreamOpened)
    return node


#: A way into each state from OPEN, in which a stream begins.
_WAYS: dict[StreamState, tuple[StreamInput, ...]] = {
    StreamState.OPEN: (),
    StreamState.ASKED: (StreamInput.RECEIVE_END,),
    StreamState.OPEN_ANSWERING: (StreamInput.SEND_HEAD,),
    StreamState.ANSWERING: (StreamInput.RECEIVE_END, StreamInput.SEND_HEAD),
    StreamState.OWED: (StreamInput.RECEIVE_CANCEL,),
    StreamState.CLOSED: (StreamInput.SEND_ERROR,),
}


class StreamTests(SynchronousTestCase):
    def _assert_step(self, node: NodeConnection, state: StreamState, given: StreamInput) -> StreamState:
        """Give a stream in *state* an input; check what came of it by the table; return its new state."""
        after = STREAM.get((state, given))
        where = f"{given.name} in {state.name}"
        if given in _SAID:
            event = _receive(node, given)
            if after is not None:
                self.assertIsInstance(event, _EVENT[given], where)
            elif state in (StreamState.OWED, StreamState.CLOSED):
                self.assertEqual(event, FrameIgnored("closed"), where)
                after = state
            else:
                assert isinstance(event, StreamFailed), where
                self.assertEqual(event.code, ErrorCode.BAD_SEQUENCE, where)
                after = StreamState.OWED
        elif after is None:
            self.assertRaises(IllegalSendError, _send, node, given)
            after = state
        else:
            self.assertTrue(_send(node, given), where)
        self.assertEqual(node.is_open(1), after is not StreamState.CLOSED, where)
        return after

    def test_every_pair(self) -> None:
        for state, way in _WAYS.items():
            for given_ in StreamInput:
                node = _opened()
                reached = StreamState.OPEN
                for step in way:
                    reached = self._assert_step(node, reached, step)
                self.assertIs(reached, state)
                self._assert_step(node, state, given_)

    @settings(derandomize=True, database=None, deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from(StreamInput), max_size=12))
    def test_every_history(self, inputs: list[StreamInput]) -> None:
        node, state, ends = _opened(), StreamState.OPEN, 0
        for given_ in inputs:
            before, state = state, self._assert_step(node, state, given_)
            ends += before is not state and state is StreamState.CLOSED
        self.assertEqual(ends, int(state is StreamState.CLOSED))

    def test_closed_is_final(self) -> None:
        self.assertEqual([pair for pair in STREAM if pair[0] is StreamState.CLOSED], [])

    def test_every_state_leads_to_closed(self) -> None:
        reaches = {StreamState.CLOSED}
        for _ in StreamState:
            reaches |= {state for (state, _given), after in STREAM.items() if after in reaches}
        self.assertEqual(reaches, set(StreamState))

    def test_only_sending_closes(self) -> None:
        for (_state, given_), after in STREAM.items():
            if after is StreamState.CLOSED:
                self.assertTrue(given_.name.startswith("SEND_"))


#: The same for a connection, from FRESH.
_CONNECTION_WAYS: dict[ConnectionState, tuple[ConnectionInput, ...]] = {
    ConnectionState.FRESH: (),
    ConnectionState.GREETED: (ConnectionInput.RECEIVE_HELLO,),
    ConnectionState.OPEN: (ConnectionInput.RECEIVE_HELLO, ConnectionInput.SEND_HELLO),
    ConnectionState.LEAVING: (
        ConnectionInput.RECEIVE_HELLO,
        ConnectionInput.SEND_HELLO,
        ConnectionInput.SEND_GOAWAY,
    ),
    ConnectionState.FAILED: (ConnectionInput.FAIL,),
    ConnectionState.CLOSED: (ConnectionInput.CLOSE,),
}


class ConnectionTests(SynchronousTestCase):
    def _give(self, node: NodeConnection, given_: ConnectionInput) -> list[Event] | bytes | bool | None:
        if given_ is ConnectionInput.RECEIVE_HELLO:
            return list(node.receive(HELLO))
        if given_ is ConnectionInput.RECEIVE_FRAME:
            return list(node.receive(encode_frame(REQ | START, 0, APP, 1, b"{}")))
        if given_ is ConnectionInput.SEND_HELLO:
            return node.send_hello(HelloReceived(1, {}), {})
        if given_ is ConnectionInput.SEND_STREAM:
            return node.send_head(1, {"status": 200})
        if given_ is ConnectionInput.SEND_GOAWAY:
            return node.send_goaway(1)
        if given_ is ConnectionInput.FAIL:
            node.fail(ErrorCode.TIMEOUT, "")
            return None
        return node.close()

    def test_every_pair(self) -> None:
        for state, way in _CONNECTION_WAYS.items():
            for given_ in ConnectionInput:
                node = NodeConnection()
                for step in way:
                    self._give(node, step)
                    if step is ConnectionInput.RECEIVE_HELLO:  # so that there is a stream to answer
                        self._give(node, ConnectionInput.RECEIVE_FRAME)
                self.assertIs(node.state, state)
                self._assert_given(node, given_)

    def _assert_given(self, node: NodeConnection, given_: ConnectionInput) -> None:
        before = node.state
        after = CONNECTION.get((before, given_))
        where = f"{given_.name} in {before.name}"
        deaf = before in (ConnectionState.FAILED, ConnectionState.CLOSED)
        if given_.name.startswith("RECEIVE_"):
            events = self._give(node, given_)
            if deaf:
                self.assertEqual(events, [], where)
            elif after is None:
                self.assertIs(node.state, ConnectionState.FAILED, where)
                return
        elif given_ is ConnectionInput.FAIL and after is None:
            self._give(node, given_)
        elif after is None:
            self.assertRaises(IllegalSendError, self._give, node, given_)
        else:
            self._give(node, given_)
        self.assertIs(node.state, after or before, where)

    def test_closed_is_final(self) -> None:
        leaving = {after for (state, _), after in CONNECTION.items() if state is ConnectionState.CLOSED}
        self.assertEqual(leaving, {ConnectionState.CLOSED})
