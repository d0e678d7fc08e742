"""A mailbox in memory: topics on a clock, as the owner of a feed keeps them."""

from __future__ import annotations

import json
from base64 import b64encode

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.errors import ErrorCode, NodeError

#: Bytes of a payload; larger messages are left to ``recv``.
MAX_EVENT_PAYLOAD = 48 * 1024


@attrs.define(order=False)
class Message:
    """One message of a topic."""

    number: int
    ts: float
    attrs: dict[str, str]
    payload: bytes
    attempt: int = 0
    holder: object = None
    lease: IDelayedCall | None = None

    @property
    def msg_id(self) -> str:
        """What it is confirmed by."""
        return f"m-{self.number}"

    def encoded(self, attempt: int) -> bytes:
        """Return it as JSON, delivered for the *attempt*-th time."""
        members = {
            "msg_id": self.msg_id,
            "ts": self.ts,
            "attempt": attempt,
            "attrs": self.attrs,
            "payload_b64": b64encode(self.payload).decode("ascii"),
        }
        return json.dumps(members, separators=(",", ":")).encode()


class Topic:
    """The messages of one topic, oldest first."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        #: Numbers of messages that nobody holds; some may have been confirmed since.
        self.waiting: list[int] = []
        self.keys: dict[str, tuple[str, bytes]] = {}
        self.listeners: list[Deferred[None]] = []
        self.closed = False

    def changed(self) -> None:
        """Wake everybody who listens."""
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.callback(None)


class MemoryMailbox:
    """Topics; a message that was taken and is not confirmed in time can be taken again.

    :ivar asked: how many bytes each :meth:`take` asked for at most.
    """

    def __init__(self, clock: IReactorTime, *, visibility_s: float = 30.0) -> None:
        self.asked: list[int] = []
        self._clock = clock
        self._visibility_s = visibility_s
        self._topics: dict[str, Topic] = {}
        self._last = 0

    def _topic(self, name: str) -> Topic:
        return self._topics.setdefault(name, Topic())

    def send(
        self, topic: str, payload: bytes, *, key: str | None = None, attrs: dict[str, str] | None = None
    ) -> tuple[str, bool]:
        """Add a message.

        :param key: the idempotency key.
        :return: its id, and whether it was there already.
        :raises NodeError: ``conflict``, where *key* stands for another payload.
        """
        there = self._topic(topic)
        if key is not None and key in there.keys:
            msg_id, before = there.keys[key]
            if before != payload:
                raise NodeError(ErrorCode.CONFLICT, "that idempotency key is another message's")
            return msg_id, True
        self._last += 1
        message = Message(self._last, self._clock.seconds(), attrs or {}, payload)
        there.messages[message.msg_id] = message
        if key is not None:
            there.keys[key] = message.msg_id, payload
        self._offer(there, message)
        return message.msg_id, False

    def _offer(self, topic: Topic, message: Message) -> None:
        if message.lease is not None and message.lease.active():
            message.lease.cancel()
        message.holder = message.lease = None
        topic.waiting.append(message.number)
        topic.changed()

    def next_size(self, topic: str, max_event: int) -> int | None:
        """Return how long the next message is that an EVENT takes; None: there is none."""
        message = self._next(self._topic(topic), max_event)
        return None if message is None else len(message.encoded(message.attempt + 1))

    def _next(self, topic: Topic, max_event: int) -> Message | None:
        for number in sorted(topic.waiting):
            message = topic.messages.get(f"m-{number}")
            if message is None or message.lease is not None:
                continue
            small = len(message.payload) <= MAX_EVENT_PAYLOAD
            if small and len(message.encoded(message.attempt + 1)) <= max_event:
                return message
        return None

    def take(self, topic: str, max_bytes: int, max_event: int, holder: object) -> bytes | None:
        """Return the next message, for *holder* alone until it is confirmed, given back, or late.

        :return: None: there is none, or it is longer than *max_bytes*.
        """
        self.asked.append(max_bytes)
        there = self._topic(topic)
        message = self._next(there, max_event)
        if message is None or len(message.encoded(message.attempt + 1)) > max_bytes:
            return None
        there.waiting = [number for number in there.waiting if number != message.number]
        message.attempt += 1
        message.holder = holder
        message.lease = self._clock.callLater(self._visibility_s, self._offer, there, message)
        return message.encoded(message.attempt)

    def ack(self, topic: str, msg_id: str) -> bool:
        """Confirm a message, and forget it. :return: whether it was there."""
        message = self._topic(topic).messages.pop(msg_id, None)
        if message is not None and message.lease is not None and message.lease.active():
            message.lease.cancel()
        return message is not None

    def nack(self, topic: str, msg_id: str) -> bool:
        """Give a message back at once. :return: whether it was there."""
        there = self._topic(topic)
        message = there.messages.get(msg_id)
        if message is not None and message.lease is not None:
            self._offer(there, message)
        return message is not None

    def give_back(self, topic: str, holder: object) -> None:
        """Give back all that *holder* has."""
        for message in list(self._topic(topic).messages.values()):
            if message.holder is holder and message.lease is not None:
                self.nack(topic, message.msg_id)

    def waiting(self, topic: str) -> list[str]:
        """Return the ids of the messages that nobody holds."""
        return [each.msg_id for each in self._topic(topic).messages.values() if each.lease is None]

    def held(self, topic: str) -> list[str]:
        """Return the ids of the messages that were taken and not confirmed."""
        return [each.msg_id for each in self._topic(topic).messages.values() if each.lease is not None]

    def when_changed(self, topic: str) -> Deferred[None]:
        """Return a Deferred that fires (None) when there is something new to take. It may be cancelled."""
        listeners = self._topic(topic).listeners
        listener: Deferred[None] = Deferred(lambda each: listeners.remove(each))
        listeners.append(listener)
        return listener

    def close(self, topic: str) -> None:
        """Let the subscriptions of *topic* end well when nothing is left to take."""
        there = self._topic(topic)
        there.closed = True
        there.changed()

    def is_closed(self, topic: str) -> bool:
        """Whether :meth:`close` was called."""
        return self._topic(topic).closed
