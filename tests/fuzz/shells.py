"""The two sides of a connection as the fuzz target plays them: they answer as the talk's own bytes say."""

from __future__ import annotations

from typing import Any, Final

from micronode.oap.compression import deflate, make_inflate
from micronode.oap.wire.caller import (
    CallerConnection,
    ChunkReceived,
    GoawayReceived,
    HelloAnswered,
    NodeFailed,
    NodePinged,
)
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    ConnectionFailed,
    HelloReceived,
    PingReceived,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.oap.wire.frames import END, EVENT, REQ, RESP, START, Control
from micronode.oap.wire.heads import HeadError, parse_call_head
from micronode.oap.wire.states import IllegalSendError
from tests.fuzz.oracle import ANSWERING, SMALL, SMALL_CHUNK, WINDOWED, check_held, expect
from tests.fuzz.talk import GREETING

_inflate = make_inflate()
_SMALL_NODE: Final[dict[str, int]] = {"max_frame": 8_192, "max_chunk": SMALL_CHUNK, "max_inflight": 3}
_HEAD: Final = {"status": 200}


class _Shell:
    """Plays one side's connection, answering as the talk's own bytes say.

    :ivar trace: what happened and what was sent, in order.
    """

    connection: Any

    def __init__(self, mode: int, talk: bytes) -> None:
        self.trace: list[Any] = []
        self.failed = False
        self._taken: dict[int, int] = {}
        self._credited: dict[int, int] = {}
        self._answering = bool(mode & ANSWERING)
        self._talk = talk or b"\x00"

    def play(self, pieces: list[bytes]) -> list[Any]:
        """Let *pieces* come; return the trace."""
        connection, trace, number = self.connection, self.trace, 0
        # In one piece it is the same walk as after the last of many.
        cut = len(pieces) > 1
        for piece in pieces:
            for event in connection.receive(piece):
                expect(not self.failed, "an event after the connection failed")
                trace.append(event)
                self.on_event(event)
                if self._answering and not self.failed:
                    self._volunteer(self._talk[number * 5 % len(self._talk)])
                number += 1
                self.on_checked()
            if cut:
                check_held(
                    connection,
                    # What it stopped at stays in the decoder of a connection that failed.
                    mid_frame=self.failed or self.mid_frame(),
                    max_chunk=connection.max_chunk,
                    streams=self.streams(),
                )
        if self.failed:
            expect(not list(connection.receive(GREETING)), "a failed connection goes on")
        trace.append(connection.state)
        connection.close()
        expect(not list(connection.receive(GREETING)), "a closed connection goes on")
        return trace

    def say(self, data: bytes) -> None:
        """Send, or drop an empty answer."""
        self.trace.append(data)

    def _volunteer(self, turn: int) -> None:
        """Do one thing that nothing asks for; it may be illegal now, and is refused cleanly then."""
        try:
            self.volunteer(turn & 15, turn >> 4)
        except IllegalSendError as error:
            self.trace.append(str(error))

    def on_event(self, event: Any) -> None:
        """Do what *event* asks for."""
        raise NotImplementedError

    def volunteer(self, what: int, corr_id: int) -> None:
        """Say something of its own accord."""
        raise NotImplementedError

    def streams(self) -> int:
        """Return how many streams are open."""
        raise NotImplementedError

    def mid_frame(self) -> bool:
        """Return whether a frame has begun and is not whole."""
        raise NotImplementedError

    def on_checked(self) -> None:
        """Check what must hold between two events."""

    def credit(self, corr_id: int, size: int) -> None:
        """Take body bytes, and say what CREDIT is due: it never falls, nor exceeds what was taken."""
        connection = self.connection
        connection.taken(corr_id, size)
        self._taken[corr_id] = self._taken.get(corr_id, 0) + size
        frames = connection.credits()
        if frames:
            for flags, code, app, _, credited, _, payload in FrameDecoder().feed(frames):
                expect((flags, code, app) == (EVENT, Control.CREDIT, 0), "a CREDIT is none")
                up_to = int.from_bytes(payload or b"", "big")
                expect(self._credited.get(credited, 0) <= up_to, "a CREDIT falls")
                expect(not credited or up_to <= self._taken[credited], "a CREDIT for what was not taken")
                self._credited[credited] = up_to
            self.say(frames)


class NodeShell(_Shell):
    """A node: it owes HELLO's answer, and each stream one terminal frame."""

    def __init__(self, mode: int, talk: bytes) -> None:
        super().__init__(mode, talk)
        limits = dict(_SMALL_NODE) if mode & SMALL else {}
        if mode & WINDOWED:
            limits |= {"ack_window": 96, "conn_window": 160}
        self.connection = NodeConnection(inflate=_inflate, deflate=deflate, **limits)
        self._owed: set[int] = set()
        self._received: dict[int, int] = {}

    def streams(self) -> int:
        return int(self.connection.open_streams)

    def mid_frame(self) -> bool:
        return bool(self.connection.mid_frame)

    def on_checked(self) -> None:
        node = self.connection
        if not self.failed:
            expect(node.open_streams == len(self._owed), "a stream is owed that is not open, or the reverse")
            expect(node.open_streams <= node.max_inflight, "too many streams are open")
            if not self._owed:
                # Nothing is open, so nothing of the connection's window may be lost.
                window = node._streams.windows._connection
                expect(window.received == window.taken, "bytes that were dropped are never credited")

    def on_event(self, event: Any) -> None:
        node, kind = self.connection, type(event)
        if kind is HelloReceived:
            self.say(node.send_hello(event, {"ack_window": 96}))
        elif kind is StreamOpened:
            expect(event.corr_id not in self._owed, "a stream was opened twice")
            self._owed.add(event.corr_id)
            try:
                parse_call_head(event.head)
            except HeadError as error:
                self.end(event.corr_id, node.send_error(event.corr_id, error.code, {}))
        elif kind is BodyReceived:
            expect(event.corr_id in self._owed, "a body of no stream")
            expect(len(event.data) <= node.max_chunk, "a chunk over its limit")
            self._received[event.corr_id] = self._received.get(event.corr_id, 0) + len(event.data)
        elif kind is StreamCancelled:
            self.end(event.corr_id, node.send_error(event.corr_id, ErrorCode.CANCELLED, {}))
        elif kind is StreamFailed:
            self.end(event.corr_id, node.send_error(event.corr_id, event.code, {"code": event.code.value}))
        elif kind is StreamRefused:
            self.say(node.send_refusal(event, {"code": event.code.value}))
        elif kind is PingReceived:
            self.say(node.send_pong(event))
        elif kind is ConnectionFailed:
            self.failed = True
            self._owed.clear()
            self.say(node.send_failure(event, {"code": event.code.value}))

    def end(self, corr_id: int, frame: bytes) -> None:
        """Send the terminal frame of a stream: it is decodable, and there was none before."""
        expect(corr_id in self._owed, "a second terminal frame")
        self._owed.remove(corr_id)
        [(flags, _, _, _, seen, _, _)] = FrameDecoder().feed(frame)
        expect(seen == corr_id and flags & (RESP | END) == RESP | END, "the terminal frame is none")
        self.say(frame)

    def volunteer(self, what: int, corr_id: int) -> None:
        node = self.connection
        corr_id = corr_id & 7 or max(self._owed, default=0)
        if what < 3:
            self.say(node.send_head(corr_id, _HEAD))
        elif what < 6:
            # Around the window, and around the length from which chunks are compressed.
            self.say(node.send_body(corr_id, b"ab" * (what * 8 if what < 5 else 700), compress=what == 5))
        elif what == 6:
            self.end(corr_id, node.send_end(corr_id))
        elif what == 7:
            self.end(corr_id, node.send_head(corr_id, _HEAD, ended=True))
        elif what == 8:
            self.end(corr_id, node.send_error(corr_id, ErrorCode.INTERNAL, {}))
        elif what == 9:
            self.say(node.send_goaway(1000))
        elif what == 10:
            failed = node.fail(ErrorCode.FRAME_TIMEOUT, "late")
            if failed is not None:
                self.trace.append(failed)
                self.on_event(failed)
        elif what > 11:
            self.credit(corr_id, self._received.pop(corr_id, 0))


class CallerShell(_Shell):
    """A caller: it asks when HELLO is answered, and now and then again."""

    def __init__(self, mode: int, talk: bytes) -> None:
        super().__init__(mode, talk)
        inflate = _inflate if mode & SMALL else None
        self.connection = CallerConnection(inflate=inflate, windows=bool(mode & WINDOWED))
        self._asked = 0
        self.say(self.connection.hello("fuzz"))

    def streams(self) -> int:
        return sum(map(self.connection.is_open, range(1, self._asked + 1)))

    def mid_frame(self) -> bool:
        return bool(self.connection._decoder.mid_frame)

    def on_event(self, event: Any) -> None:
        kind = type(event)
        if kind in (ConnectionFailed, NodeFailed):
            self.failed = True
        elif kind is HelloAnswered:
            for ended in (True, False, False):
                self._open(ended)
        elif kind is GoawayReceived:
            self._volunteer(0)
        elif kind is ChunkReceived:
            expect(len(event.data) <= self.connection.max_chunk, "a chunk over its limit")
            self.credit(event.corr_id, len(event.data) if self._talk[-1] & 1 else 0)
        elif kind is NodePinged:
            self.say(self.connection.pong(event))

    def _open(self, ended: bool) -> None:
        corr_id, frame = self.connection.open(0x0101, {"op": "get", "args": {}}, ended=ended)
        self._asked += 1
        [(flags, _, _, _, seen, _, _)] = FrameDecoder().feed(frame)
        expect(corr_id == seen == self._asked and flags & (REQ | START) == REQ | START, "START is none")
        self.say(frame)

    def volunteer(self, what: int, corr_id: int) -> None:
        caller = self.connection
        corr_id = corr_id & 7 or self._asked
        if what < 2:
            if self._asked < 12:
                self._open(bool(what))
        elif what < 8:
            self.say(caller.body(corr_id, bytes(what * 12)))
        elif what == 8:
            self.say(caller.end(corr_id))
        elif what == 9:
            self.say(caller.cancel(corr_id))
