"""The messages of one subscription that its consumer has not asked for yet (client side)."""

from __future__ import annotations

import binascii
from collections import deque
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed

from micronode.oap.client.errors import OAPError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.heads import HeadError, parse_object
from micronode.oap.wire.limits import MAX_CHUNK_BYTES


class Giver(Protocol):
    """Where messages come from: the call, as far as it matters here."""

    def taken(self, size: int) -> None:
        """Note that a message of *size* bytes is done with."""

    def give_up(self, error: OAPError | None = None) -> None:
        """Cancel the call."""


class Inbox:
    """Messages as they came, at most a window's worth of bytes.

    A message counts against the window until the next one is asked for, so that a consumer that is slow
    over one holds up the node, which leaves the rest in the mailbox.

    :param acked: the consumer acks messages. Those that are here when the subscription fails are forgotten:
        the node has given them back, and they are somebody else's.
    """

    def __init__(self, *, acked: bool = False) -> None:
        self._acked = acked
        self.giver: Giver | None = None
        self._messages: deque[bytes] = deque()
        self._waiting: Deferred[dict[str, Any] | None] | None = None
        #: Bytes of the message that the consumer has.
        self._current = 0
        self._ended = False
        self._error: BaseException | None = None

    @property
    def held(self) -> int:
        """How many bytes of messages are here, the consumer's included."""
        return self._current + sum(map(len, self._messages))

    def next(self) -> Deferred[dict[str, Any] | None]:
        """Ask for the next message; one at a time.

        :return: a Deferred that fires with it, or None where the node ended the subscription; fails with
            what ended it. Cancelling it loses nothing.
        """
        if self._waiting is not None:
            raise RuntimeError("messages are taken one at a time")
        current, self._current = self._current, 0
        if current and self.giver is not None:
            self.giver.taken(current)
        if self._messages:
            try:
                return succeed(self._read(self._messages.popleft()))
            except OAPError as error:
                return fail(error)
        if self._ended:
            return succeed(None) if self._error is None else fail(self._error)
        waiting = self._waiting = Deferred(lambda _: self._gone())
        return waiting

    def receive(self, data: bytes) -> None:
        """Take a message."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            self._messages.append(data)
            return
        try:
            message = self._read(data)
        except OAPError as error:
            waiting.errback(error)
        else:
            waiting.callback(message)

    def end(self, error: BaseException | None) -> None:
        """Take note that no more will come; what is here may still be asked for, unless it was given back."""
        if self._ended:
            return
        if self._acked and error is not None:
            self._messages.clear()
        self._ended = True
        self._error = error
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None) if error is None else waiting.errback(error)

    def clear(self) -> None:
        """Forget what is here: nobody will ask for it."""
        self._messages.clear()

    def _gone(self) -> None:
        self._waiting = None

    def _read(self, data: bytes) -> dict[str, Any]:
        self._current = len(data)
        try:
            message = parse_object(data, max_bytes=MAX_CHUNK_BYTES)
            payload = message.pop("payload_b64", None)
            if payload is not None:
                message["payload"] = binascii.a2b_base64(payload, strict_mode=True)
        except (HeadError, ValueError, TypeError):
            error = OAPError.from_code(ErrorCode.BAD_GATEWAY, "the node sent a message that is none")
            self._messages.clear()
            self._ended, self._error = True, error
            if self.giver is not None:
                self.giver.give_up(error)
            raise error from None
        return message
