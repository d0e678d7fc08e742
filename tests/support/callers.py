"""The client in tests: a node that is written by hand, frame by frame, and the connections it accepts."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from micronode.concurrency.timer import LazyTimer
from micronode.oap.wire.frames import COMP, END, EVENT, RESP, START, Control, encode_frame
from tests.support.oap import MemoryTransport, SeenFrame, read_frames

#: What a node with windows says.
HELLO = {"server": "scripted", "max_chunk": 65_536, "flags_supported": 255}


class ScriptedEnd:
    """One connection, seen from a node that says what the test says."""

    def __init__(self, reactor: MemoryReactorClock, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = MemoryTransport(reactor)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def greet(self, **members: Any) -> ScriptedEnd:
        """Answer HELLO."""
        self.heard()
        self.say(encode_frame(RESP, 200, 0, 0, json.dumps(HELLO | members).encode()))
        return self

    def say(self, *frames: bytes) -> None:
        """Send, all in one read."""
        self.protocol.dataReceived(b"".join(frames))

    def heard(self) -> list[SeenFrame]:
        """Return the frames that came since the last time."""
        data = self.transport.value()
        self.transport.clear()
        return read_frames(data)

    def answer(self, frame: SeenFrame, data: bytes = b"", **head: Any) -> None:
        """Answer what *frame* opened, whole."""
        payload = json.dumps({"status": 200, **head}).encode()
        if not data:
            self.say(encode_frame(RESP | START | END, 200, frame.app, frame.corr_id, payload))
            return
        self.say(
            encode_frame(RESP | START, 200, frame.app, frame.corr_id, payload),
            encode_frame(RESP | END, 200, frame.app, frame.corr_id, data),
        )

    def begin(self, frame: SeenFrame, **head: Any) -> None:
        """Answer what *frame* opened with a head alone."""
        payload = json.dumps({"status": 200, **head}).encode()
        self.say(encode_frame(RESP | START, 200, frame.app, frame.corr_id, payload))

    def chunk(self, frame: SeenFrame, data: bytes, *, ended: bool = False) -> None:
        """Send body bytes of the answer to *frame*."""
        flags, code = (RESP | END, 200) if ended else (RESP, 206)
        self.say(encode_frame(flags, code, frame.app, frame.corr_id, data))

    def message(self, frame: SeenFrame, data: bytes, *, flags: int = 0) -> None:
        """Send a message of the subscription that *frame* opened."""
        self.say(encode_frame(EVENT | (flags & COMP), 206, frame.app, frame.corr_id, data))

    def fail(self, frame: SeenFrame, status: int, name: str, **members: Any) -> None:
        """Fail what *frame* opened."""
        error = {"code": name, "message": "scripted", **members}
        self.say(encode_frame(RESP | END, status, frame.app, frame.corr_id, json.dumps(error).encode()))

    def fail_connection(self, status: int, name: str) -> None:
        """End the connection for an error."""
        error = {"code": name, "message": "scripted", "retryable": True, "retry_after_ms": 500}
        self.say(encode_frame(RESP | END, status, 0, 0, json.dumps(error).encode()))
        self.hang_up()

    def goaway(self, retry_after_ms: int = 0, *, last: int = 100) -> None:
        """Take no more streams; *last* is the highest id that was looked at."""
        payload = json.dumps({"retry_after_ms": retry_after_ms, "last_corr_id": str(last)}).encode()
        self.say(encode_frame(EVENT, Control.GOAWAY, 0, 0, payload))

    def hang_up(self) -> None:
        """Cut the connection."""
        self.transport.lose(ConnectionLost())


class ScriptedNode:
    """Accepts what a client connects through :attr:`reactor`."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.ends: list[ScriptedEnd] = []
        self._met = 0

    @property
    def waiting(self) -> int:
        """How many connects were neither accepted nor refused."""
        return len(self.reactor.tcpClients) - self._met

    def accept(self, **members: Any) -> ScriptedEnd:
        """Accept the oldest connect that waits, and greet."""
        end = ScriptedEnd(self.reactor, self._next().buildProtocol(None)).greet(**members)
        self.ends.append(end)
        return end

    def refuse(self) -> None:
        """Refuse the oldest connect that waits."""
        self._next().clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def _next(self) -> Any:
        factory = self.reactor.tcpClients[self._met][2]
        self._met += 1
        return factory

    @property
    def delayed(self) -> list[Any]:
        """Timers that still run, but for the watch over a connection that is owed an answer."""
        running = [call for call in self.reactor.getDelayedCalls() if call.active()]
        return [call for call in running if not isinstance(getattr(call.func, "__self__", None), LazyTimer)]
