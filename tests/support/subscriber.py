"""A subscriber on a socket that takes and confirms messages only as it is told."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import EVENT
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.support.oap import SeenFrame, cancel, hello, start, subscribe
from tests.support.until import Until


class Subscriber(Until, Protocol):
    """One caller with one subscription, stream 1, and calls beside it.

    :ivar frames: what came, but the messages.
    :ivar messages: what came as messages, read as JSON.
    :ivar told: bytes of messages that came.
    :ivar lost: whether the connection is gone.
    """

    def __init__(self) -> None:
        self.frames: list[SeenFrame] = []
        self.messages: list[dict[str, Any]] = []
        self.told = 0
        self.lost = False
        self._decoder = FrameDecoder()
        self._next = 1
        super().__init__()

    def subscribe(self) -> None:
        """Say HELLO, and subscribe to the topic ``jobs``."""
        self.transport.write(hello() + subscribe(1))

    def credit(self, up_to: int) -> None:
        """Say that *up_to* bytes of messages were taken."""
        self.transport.write(credit_frame(1, up_to))

    def ack(self, msg_id: str) -> None:
        """Confirm a message."""
        self._next += 1
        args = {"topic": "jobs", "msg_id": msg_id}
        self.transport.write(start(self._next, Profile.FEED, "ack", args))

    def cancel(self) -> None:
        """End the subscription."""
        self.transport.write(cancel(1, app=Profile.FEED))

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that came."""
        return [message["msg_id"] for message in self.messages]

    def end_of(self, corr_id: int) -> SeenFrame | None:
        """Return the terminal frame of a stream, if it came."""
        found = [frame for frame in self.frames if frame.corr_id == corr_id and frame.ends and frame.app]
        return found[0] if found else None

    def dataReceived(self, data: bytes) -> None:
        for flags, code, app, tenant, corr_id, _, payload in self._decoder.feed(data):
            assert payload is not None
            if flags == EVENT and app:
                self.messages.append(json.loads(payload))
                self.told += len(payload)
            else:
                self.frames.append(SeenFrame(flags, code, app, tenant, corr_id, payload))
        self.look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self.look()
