"""The state tables: every pair is legal or refused, and nothing else decides."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.caller import CallerConnection
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    ConnectionFailed,
    Event,
    FrameIgnored,
    HelloReceived,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.frames import ACK_REQ, END, EVENT, REQ, RESP, START, Control, encode_frame
from micronode.oap.wire.states import (
    ASKING,
    CALL,
    CALLER,
    CONNECTION,
    DEAF,
    DROPPING,
    GIVEN_UP,
    STREAM,
    CallerInput,
    CallInput,
    CallState,
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
    StreamInput.RECEIVE_START: (REQ | START | ACK_REQ, 0),
    StreamInput.RECEIVE_WHOLE: (REQ | START | END | ACK_REQ, 0),
    StreamInput.RECEIVE_BODY: (REQ, 0),
    StreamInput.RECEIVE_END: (REQ | END, 0),
    StreamInput.RECEIVE_CANCEL: (REQ | END, 499),
    StreamInput.RECEIVE_BREACH: (RESP, 0),
}
_EVENT = {
    StreamInput.RECEIVE_START: StreamOpened,
    StreamInput.RECEIVE_WHOLE: StreamOpened,
    StreamInput.RECEIVE_BODY: BodyReceived,
    StreamInput.RECEIVE_END: BodyReceived,
    StreamInput.RECEIVE_CANCEL: StreamCancelled,
    StreamInput.RECEIVE_BREACH: StreamFailed,
}


_STARTS = (StreamInput.RECEIVE_START, StreamInput.RECEIVE_WHOLE)


def _receive(node: NodeConnection, given: StreamInput) -> Event:
    flags, code = _SAID[given]
    [event] = node.receive(encode_frame(flags, code, APP, 1, b"{}" if given in _STARTS else b"x"))
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


def _greeted() -> NodeConnection:
    node = NodeConnection()
    [hello] = node.receive(HELLO)
    assert isinstance(hello, HelloReceived)
    node.send_hello(hello, {})
    return node


#: A way into each state from IDLE, in which a stream begins.
_WAYS: dict[StreamState, tuple[StreamInput, ...]] = {
    StreamState.IDLE: (),
    StreamState.OPEN: (StreamInput.RECEIVE_START,),
    StreamState.ASKED: (StreamInput.RECEIVE_WHOLE,),
    StreamState.OPEN_ANSWERING: (StreamInput.RECEIVE_START, StreamInput.SEND_HEAD),
    StreamState.ANSWERING: (StreamInput.RECEIVE_START, StreamInput.RECEIVE_END, StreamInput.SEND_HEAD),
    StreamState.OWED: (StreamInput.RECEIVE_START, StreamInput.RECEIVE_CANCEL),
    StreamState.CLOSED: (StreamInput.RECEIVE_START, StreamInput.SEND_ERROR),
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
            elif state is StreamState.IDLE or (state in DROPPING and given in _STARTS):
                assert isinstance(event, StreamRefused), where
                expected = ErrorCode.CONFLICT if given in _STARTS else ErrorCode.BAD_SEQUENCE
                self.assertEqual(event.code, expected, where)
                after = state
            elif state in DROPPING:
                self.assertEqual(event, FrameIgnored("closed"), where)
                after = state
            else:
                assert isinstance(event, StreamFailed), where
                expected = ErrorCode.CONFLICT if given in _STARTS else ErrorCode.BAD_SEQUENCE
                self.assertEqual(event.code, expected, where)
                after = STREAM[state, StreamInput.RECEIVE_BREACH]
        elif after is None:
            self.assertRaises(IllegalSendError, _send, node, given)
            after = state
        else:
            self.assertTrue(_send(node, given), where)
        self.assertEqual(node.is_open(1), after not in (StreamState.IDLE, StreamState.CLOSED), where)
        return after

    def test_every_pair(self) -> None:
        for state, way in _WAYS.items():
            for given_ in StreamInput:
                node = _greeted()
                reached = StreamState.IDLE
                for step in way:
                    reached = self._assert_step(node, reached, step)
                self.assertIs(reached, state)
                self._assert_step(node, state, given_)

    @settings(derandomize=True, database=None, deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from(StreamInput), max_size=12))
    def test_every_history(self, inputs: list[StreamInput]) -> None:
        node, state, ends = _greeted(), StreamState.IDLE, 0
        for given_ in inputs:
            before, state = state, self._assert_step(node, state, given_)
            ends += before is not state and state is StreamState.CLOSED
        self.assertEqual(ends, int(state is StreamState.CLOSED))

    def test_what_follows_from_the_table(self) -> None:
        self.assertEqual(DROPPING, (StreamState.OWED, StreamState.CLOSED))
        self.assertEqual(ASKING, (StreamState.OPEN, StreamState.OPEN_ANSWERING))

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
    def _give(self, node: NodeConnection, given_: ConnectionInput) -> Any:
        if given_ is ConnectionInput.RECEIVE_HELLO:
            return list(node.receive(HELLO))
        if given_ is ConnectionInput.RECEIVE_START:
            return list(node.receive(encode_frame(REQ | START, 0, APP, node.highest + 1, b"{}")))
        if given_ is ConnectionInput.RECEIVE_FRAME:
            return list(node.receive(encode_frame(EVENT, Control.PING, 0, 0)))
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
                        self._give(node, ConnectionInput.RECEIVE_START)
                self.assertIs(node.state, state)
                self._assert_given(node, given_)

    def _assert_given(self, node: NodeConnection, given_: ConnectionInput) -> None:
        before = node.state
        after = CONNECTION.get((before, given_))
        where = f"{given_.name} in {before.name}"
        if given_.name.startswith("RECEIVE_"):
            events = self._give(node, given_)
            if before in DEAF:
                self.assertEqual(events, [], where)
            elif (before, given_) == (ConnectionState.LEAVING, ConnectionInput.RECEIVE_START):
                [refused] = events
                self.assertEqual(refused.code, ErrorCode.DRAINING)
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


#: The node's answer to HELLO, and what it says to give a caller's stream one of its inputs.
_REPLY = encode_frame(RESP, 200, 0, 0, b'{"flags_supported":255}')
_HEARD = {
    CallInput.RECEIVE_HEAD: encode_frame(RESP | START, 200, APP, 1, b"{}"),
    CallInput.RECEIVE_BODY: encode_frame(RESP, 206, APP, 1, b"x"),
    CallInput.RECEIVE_EVENT: encode_frame(EVENT, 206, APP, 1, b"{}"),
    CallInput.RECEIVE_END: encode_frame(RESP | END, 200, APP, 1),
    CallInput.RECEIVE_WHOLE: encode_frame(RESP | START | END, 200, APP, 1, b"{}"),
    CallInput.RECEIVE_ERROR: encode_frame(RESP | END, 404, APP, 1, b"{}"),
}
#: A way into each state of a caller's stream, from ASKING.
_CALL_WAYS: dict[CallState, tuple[CallInput, ...]] = {
    CallState.ASKING: (),
    CallState.WAITING: (CallInput.SEND_END,),
    CallState.ASKING_READING: (CallInput.RECEIVE_HEAD,),
    CallState.READING: (CallInput.SEND_END, CallInput.RECEIVE_HEAD),
    CallState.GIVEN_UP: (CallInput.SEND_CANCEL,),
    CallState.GIVEN_UP_READING: (CallInput.RECEIVE_HEAD, CallInput.SEND_CANCEL),
    CallState.OVER: (CallInput.RECEIVE_ERROR,),
}


class CallTests(SynchronousTestCase):
    def _step(self, caller: CallerConnection, state: CallState, given_: CallInput) -> CallState:
        """Give a caller's stream in *state* an input; check what came of it; return its new state."""
        after = CALL.get((state, given_))
        where = f"{given_.name} in {state.name}"
        send = {CallInput.SEND_BODY: lambda: caller.body(1, b"x"), CallInput.SEND_END: lambda: caller.end(1)}
        send[CallInput.SEND_CANCEL] = lambda: caller.cancel(1)
        if given_ in send:
            if after is None:
                self.assertRaises(IllegalSendError, send[given_])
            else:
                self.assertTrue(send[given_](), where)
        else:
            [event] = caller.receive(_HEARD[given_])
            if state is CallState.OVER:
                self.assertEqual(event, FrameIgnored("closed"), where)
            elif after is None:
                assert isinstance(event, ConnectionFailed), where
                self.assertIs(event.code, ErrorCode.BAD_SEQUENCE, where)
            elif state in GIVEN_UP and after is not CallState.OVER:
                self.assertEqual(event, FrameIgnored("closed"), where)
            else:
                self.assertFalse(isinstance(event, (FrameIgnored, ConnectionFailed)), where)
        if caller.state is ConnectionState.OPEN:
            self.assertEqual(caller.is_open(1), (after or state) is not CallState.OVER, where)
        return after or state

    def test_every_pair(self) -> None:
        for state, way in _CALL_WAYS.items():
            for given_ in CallInput:
                caller = CallerConnection(windows=True)
                caller.hello(None)
                list(caller.receive(_REPLY))
                caller.open(APP, {}, ended=False)
                reached = CallState.ASKING
                for step in way:
                    reached = self._step(caller, reached, step)
                self.assertIs(reached, state)
                self._step(caller, state, given_)

    def test_over_is_final(self) -> None:
        self.assertEqual([pair for pair in CALL if pair[0] is CallState.OVER], [])


_CALLER_WAYS: dict[ConnectionState, tuple[CallerInput, ...]] = {
    ConnectionState.FRESH: (),
    ConnectionState.GREETED: (CallerInput.SEND_HELLO,),
    ConnectionState.OPEN: (CallerInput.SEND_HELLO, CallerInput.RECEIVE_HELLO),
    ConnectionState.LEAVING: (
        CallerInput.SEND_HELLO,
        CallerInput.RECEIVE_HELLO,
        CallerInput.RECEIVE_GOAWAY,
    ),
    ConnectionState.FAILED: (CallerInput.FAIL,),
    ConnectionState.CLOSED: (CallerInput.CLOSE,),
}


class CallerTests(SynchronousTestCase):
    def _give(self, caller: CallerConnection, given_: CallerInput) -> Any:
        if given_ is CallerInput.SEND_HELLO:
            return caller.hello(None)
        if given_ is CallerInput.RECEIVE_HELLO:
            return list(caller.receive(_REPLY))
        if given_ is CallerInput.SEND_START:
            return caller.open(APP, {}, ended=True)
        if given_ is CallerInput.RECEIVE_GOAWAY:
            return list(caller.receive(encode_frame(EVENT, Control.GOAWAY, 0, 0, b"{}")))
        if given_ is CallerInput.RECEIVE_FRAME:
            return list(caller.receive(encode_frame(EVENT, Control.PING, 0, 0)))
        if given_ is CallerInput.FAIL:
            return list(caller.receive(encode_frame(REQ, 0, 0, 0)))
        return caller.close()

    def test_every_pair(self) -> None:
        for state, way in _CALLER_WAYS.items():
            for given_ in CallerInput:
                caller = CallerConnection()
                for step in way:
                    self._give(caller, step)
                self.assertIs(caller.state, state)
                after = CALLER.get((state, given_))
                where = f"{given_.name} in {state.name}"
                if given_.name.startswith("SEND_") and after is None:
                    self.assertRaises(IllegalSendError, self._give, caller, given_)
                elif given_.name.startswith("RECEIVE_") and after is None:
                    said = self._give(caller, given_)
                    self.assertEqual(
                        [type(event) for event in said], [] if state in DEAF else [ConnectionFailed]
                    )
                    self.assertIs(caller.state, state if state in DEAF else ConnectionState.FAILED, where)
                    continue
                else:
                    self._give(caller, given_)
                self.assertIs(caller.state, after or state, where)
