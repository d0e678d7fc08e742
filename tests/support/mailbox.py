"""Mailboxes for tests: the reference engine, as the feed facet sees an owner, and listening on a port."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IListeningPort, IReactorTime
from zope.interface import implementer

from micronode.calls.call import Call
from micronode.devowners.channel import OwnerFactory
from micronode.devowners.deliveries import Deliveries, Messages
from micronode.devowners.log import JSONLog
from micronode.devowners.mailbox import Mailbox, Wish
from micronode.devowners.mailbox_web import MailboxOwner
from micronode.errors import NodeError
from micronode.interfaces import IMailboxOwner, IOwnerReply
from tests.support.owners import StubReply

NOBODY = "0" * 32


class Box:
    """Topics of messages on a clock, and what tests do and see without asking an owner.

    Methods take a topic of the tenant that is none.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._engine = Mailbox()
        self._clock = clock
        self._keys = 0
        self.deliveries = Deliveries(self._engine, clock, clock.seconds)

    def send(
        self,
        topic: str,
        payload: bytes = b"x",
        *,
        key: str | None = None,
        attrs: dict[str, str] | None = None,
    ) -> str:
        """Add a message; return its id."""
        self._keys += 1
        place = (NOBODY, topic)
        msg_id, _ = self.deliveries.send(place, key or f"test {self._keys}", payload, attrs or {})
        return msg_id

    def waiting(self, topic: str) -> list[str]:
        """Return the ids of the messages that nobody holds, in their order."""
        return self._ids(topic, "held_until IS NULL")

    def held(self, topic: str) -> list[str]:
        """Return the ids of the messages that were taken and not confirmed, in their order."""
        return self._ids(topic, "held_until IS NOT NULL")

    def attempts(self, topic: str) -> dict[str, int]:
        """Return how often each message was taken, by id."""
        rows = self._engine._database.execute(
            "SELECT msg_id, attempt FROM messages WHERE topic = ? ORDER BY number", (topic,)
        )
        return dict(rows.fetchall())

    def close(self) -> None:
        """Answer those who wait, stop the clock's timers, and forget everything."""
        self.deliveries.end()
        self._engine.close()

    def _ids(self, topic: str, which: str) -> list[str]:
        rows = self._engine._database.execute(
            f"SELECT msg_id FROM messages WHERE topic = ? AND {which} ORDER BY number", (topic,)
        )
        return [msg_id for (msg_id,) in rows.fetchall()]


def make_owner(box: Box) -> MailboxOwner:
    """Return the reference owner that answers for *box*."""
    owner = MailboxOwner(box.deliveries)
    owner.is_ready = True
    return owner


@implementer(IMailboxOwner)
class MemoryMailbox:
    """The mailbox owner in memory; a :class:`Box` behind the interface that facets see.

    :ivar asked: of each ``recv``: its arguments.
    :ivar nacked: the ids that were given back.
    :ivar error: with which everything fails, unless it is None.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.box = Box(clock)
        self.asked: list[dict[str, Any]] = []
        self.nacked: list[str] = []
        self.error: NodeError | None = None

    def send(
        self, call: Call, topic: str, payload: bytes, *, key: str, attributes: Mapping[str, str]
    ) -> Deferred[IOwnerReply]:
        """See IMailboxOwner."""

        def sent() -> StubReply:
            place = (call.tenant.hex(), topic)
            msg_id, duplicate = self.box.deliveries.send(place, key, payload, dict(attributes))
            return _json({"msg_id": msg_id, "duplicate": duplicate}, status=200 if duplicate else 201)

        return self._do(sent)

    def recv(
        self, call: Call, topic: str, *, max_messages: int, max_bytes: int, visibility_ms: int, wait_ms: int
    ) -> Deferred[IOwnerReply]:
        """See IMailboxOwner."""
        self.asked.append(
            {"topic": topic, "max_messages": max_messages, "max_bytes": max_bytes}
            | {"visibility_ms": visibility_ms, "wait_ms": wait_ms}
        )
        if self.error is not None:
            return fail(self.error)
        wish = Wish(max_messages=max_messages, max_bytes=max_bytes, visibility_s=visibility_ms / 1000)
        taken = self.box.deliveries.receive((call.tenant.hex(), topic), wish, wait_ms / 1000)

        def reply(messages: Messages) -> IOwnerReply:
            return _json({"messages": messages})

        return taken.addCallback(reply)

    def ack(self, call: Call, msg_id: str) -> Deferred[IOwnerReply]:
        """See IMailboxOwner."""
        return self._do(lambda: _settled(self.box.deliveries.ack(call.tenant.hex(), msg_id)))

    def nack(self, call: Call, msg_id: str) -> Deferred[IOwnerReply]:
        """See IMailboxOwner."""

        def nacked() -> StubReply:
            self.nacked.append(msg_id)
            return _settled(self.box.deliveries.nack(call.tenant.hex(), msg_id))

        return self._do(nacked)

    def _do(self, act: Any) -> Deferred[IOwnerReply]:
        if self.error is not None:
            return fail(self.error)
        try:
            return succeed(act())
        except NodeError as error:
            said = {"code": error.code.value, "message": error.message}
            return succeed(_json(said, status=error.code.status))


def _json(value: Any, *, status: int = 200) -> StubReply:
    return StubReply(status, json.dumps(value, ensure_ascii=False).encode(), content_type="application/json")


def _settled(found: bool) -> StubReply:
    return StubReply(204) if found else _json({"code": "not_found", "message": "no such"}, status=404)


class ListeningMailbox:
    """The reference mailbox on a free port of 127.0.0.1, in this process.

    :ivar url: where it listens.
    """

    def __init__(self, reactor: Any, box: Box | None = None, port: int = 0) -> None:
        self.box = box or Box(reactor)
        self.log = io.StringIO()
        factory = OwnerFactory(make_owner(self.box), JSONLog(self.log, "debug"), reactor)
        self._port: IListeningPort = reactor.listenTCP(port, factory, interface="127.0.0.1")
        self._factory = factory
        self.port: int = self._port.getHost().port  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> Deferred[None]:
        """Listen no more. :return: fires (None) when the port is free."""
        stopping: Deferred[None] | None = self._port.stopListening()
        return succeed(None) if stopping is None else stopping
