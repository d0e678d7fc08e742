"""Owners that answer as they are told, and owners that misbehave on a real socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from blake3 import blake3
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.adapters.request import segment
from micronode.calls.call import Call, ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import (
    IIndexOwner,
    IOwnerClient,
    IOwnerReply,
    IReplyBody,
    IResponseSink,
    IStorageOwner,
)


@implementer(IOwnerReply)
class StubReply:
    """A reply that is all there.

    :ivar dropped: whether its body was thrown away.
    :ivar within_s: how much time the last one who read it gave it.
    """

    def __init__(
        self, status: int = 200, body: bytes = b"", *, length: int | None = None, **fields: str
    ) -> None:
        self.status = status
        self.body = body
        self.length: int | None = len(body) if length is None else length
        self.dropped = False
        self.within_s: float | None = None
        self._fields = {name.replace("_", "-"): value for name, value in fields.items()}

    def header(self, name: str) -> str | None:
        """See IOwnerReply."""
        return self._fields.get(name.lower())

    def headers(self) -> list[tuple[str, str]]:
        """See IOwnerReply."""
        return list(self._fields.items())

    def read(
        self,
        max_bytes: int,
        *,
        within_s: float | None = None,
        check: Callable[[bytes], object] | None = None,
    ) -> Deferred[bytes]:
        """See IOwnerReply."""
        self.within_s = within_s
        if len(self.body) > max_bytes:
            return fail(NodeError(ErrorCode.BAD_GATEWAY, "too long"))
        if check is not None:
            try:
                check(self.body)
            except NodeError as error:
                return fail(error)
        return succeed(self.body)

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """See IReplyBody."""
        sink.start(head)
        if self.body:
            sink.write(self.body)
        return sink.finish()

    def streamed(self) -> IReplyBody:
        """See IOwnerReply."""
        return self

    def checked(self, digest: bytes) -> IReplyBody:
        """See IOwnerReply."""
        return StubCheckedBody(self, digest)

    def as_json(self) -> IReplyBody:
        """See IOwnerReply. Nothing is looked at."""
        return self

    def abort(self) -> None:
        """See IReplyBody."""
        self.dropped = True

    def discard(self) -> None:
        """See IOwnerReply."""
        self.dropped = True


@implementer(IReplyBody)
@attrs.define
class StubCheckedBody:
    """The body of a StubReply that must match *digest*."""

    reply: StubReply
    digest: bytes

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """See IReplyBody."""
        if blake3(self.reply.body).digest() != self.digest:
            return fail(NodeError(ErrorCode.INTEGRITY_FAILED, "other bytes"))
        return self.reply.relay(head, sink)

    def abort(self) -> None:
        """See IReplyBody."""
        self.reply.abort()


@implementer(IOwnerClient)
class StubOwnerClient:
    """Answers every call with :attr:`reply`, a StubReply or a NodeError, and keeps what was asked."""

    def __init__(self, name: str = "index", reply: StubReply | NodeError | None = None) -> None:
        self.name = name
        self.reply: StubReply | NodeError = reply or StubReply(200, b"{}", content_type="application/json")
        self.calls: list[dict[str, Any]] = []
        #: Of each call: whether it is idempotent, its deadline and its caller's.
        self.terms: list[tuple[bool | None, float | None, float | None]] = []
        #: Of each call: how long its owner may wait.
        self.waits: list[float] = []
        self.alive = True
        self.closed = False

    def call(
        self,
        method: bytes,
        path: bytes,
        *,
        query: Sequence[tuple[str, str]] | None = None,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        body: IBodyProducer | bytes | None = None,
        idempotent: bool | None = None,
        deadline_s: float | None = None,
        caller_s: float | None = None,
        wait_s: float = 0.0,
    ) -> Deferred[IOwnerReply]:
        """See IOwnerClient."""
        self.waits.append(wait_s)
        asked = {"method": method, "path": path, "query": query, "headers": headers, "body": body}
        self.calls.append(asked)
        self.terms.append((idempotent, deadline_s, caller_s))
        if isinstance(self.reply, NodeError):
            return fail(self.reply)
        return succeed(self.reply)

    def probe(self, path: bytes) -> Deferred[str]:
        """See IOwnerClient."""
        return succeed("ok" if self.alive else "down")

    def close(self) -> Deferred[None]:
        """See IOwnerClient."""
        self.closed = True
        return succeed(None)


class _StubOwner:
    """Keeps calls as ``(name, arguments)`` and answers with :attr:`reply`."""

    def __init__(self, reply: StubReply | NodeError) -> None:
        self.reply = reply
        self.calls: list[tuple[str, dict[str, Any]]] = []
        #: What the next answer waits for, if anything.
        self.waiting: Deferred[None] | None = None

    def _answer(self, name: str, **arguments: Any) -> Deferred[IOwnerReply]:
        self.calls.append((name, arguments))
        if isinstance(self.reply, NodeError):
            return fail(self.reply)
        waiting, self.waiting = self.waiting or succeed(None), None
        return waiting.addCallback(lambda _: self.reply)


@implementer(IIndexOwner)
class StubIndexOwner(_StubOwner):
    """An index owner that answers as told."""

    def resolve(self, call: Call, key: str) -> Deferred[IOwnerReply]:
        """See IIndexOwner."""
        segment(key)
        return self._answer("resolve", key=key)

    def providers(self, call: Call, cid: str, *, limit: int) -> Deferred[IOwnerReply]:
        """See IIndexOwner."""
        segment(cid)
        return self._answer("providers", cid=cid, limit=limit)

    def search(self, call: Call, query: str, *, limit: int, offset: int) -> Deferred[IOwnerReply]:
        """See IIndexOwner."""
        segment(query)
        return self._answer("search", query=query, limit=limit, offset=offset)

    def neighbors(self, call: Call, node: str, *, hops: int, max_neighbors: int) -> Deferred[IOwnerReply]:
        """See IIndexOwner."""
        segment(node)
        return self._answer("neighbors", node=node, hops=hops, max_neighbors=max_neighbors)


@implementer(IStorageOwner)
class StubStorageOwner(_StubOwner):
    """A storage owner that answers as told."""

    def get(
        self, call: Call, cid: str, *, byte_range: str | None = None, if_none_match: str | None = None
    ) -> Deferred[IOwnerReply]:
        """See IStorageOwner."""
        return self._answer("get", cid=cid, byte_range=byte_range, if_none_match=if_none_match)

    def head(self, call: Call, cid: str, *, if_none_match: str | None = None) -> Deferred[IOwnerReply]:
        """See IStorageOwner."""
        return self._answer("head", cid=cid, if_none_match=if_none_match)

    def put(self, call: Call, body: IBodyProducer | None, *, content_type: str) -> Deferred[IOwnerReply]:
        """See IStorageOwner."""
        return self._answer("put", body=body, content_type=content_type)


class BadProtocol(Protocol):
    """One connection to a :class:`BadOwner`."""

    factory: BadOwner
    _request = b""
    #: Of the latest request.
    path = b""

    def connectionMade(self) -> None:
        self.factory.open.add(self)
        self.factory.accepted += 1
        self._later: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        self._request += data
        if b"\r\n\r\n" in self._request:
            self.path = self._request.split(b" ", 2)[1]
            self._request = b""
            self.factory.answer(self)

    def pour(self, data: bytes) -> None:
        """Send *data* for ever, as fast as the node takes it."""
        self._data = data
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.factory.poured += len(self._data)
        self.transport.write(self._data)

    def stopProducing(self) -> None:
        """The node has gone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open.discard(self)
        self.factory.tell()


class BadOwner(Factory):
    """Listens on a free port of 127.0.0.1 and answers each request as its subclass likes.

    :ivar open: the connections that are open.
    :ivar accepted: how many there ever were.
    :ivar poured: bytes sent by :meth:`BadProtocol.pour`.
    """

    protocol = BadProtocol
    noisy = False

    def __init__(self, reactor: Any, head: bytes = b"", then: str = "stay") -> None:
        """:param head: sent at once.
        :param then: ``stay``, ``close``, ``reset``, or ``pour`` (*head*'s last line for ever).
        """
        self.open: set[BadProtocol] = set()
        self.accepted = 0
        self.poured = 0
        self._head = head
        self._then = then
        self._waiting: list[Deferred[None]] = []
        self._port: IListeningPort = reactor.listenTCP(0, self, interface="127.0.0.1")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port.getHost().port}"

    def answer(self, connection: BadProtocol) -> None:
        """Answer the request that *connection* has got."""
        transport: Any = connection.transport
        if self._then == "pour":
            head, line = self._head.rsplit(b"|", 1)
            transport.write(head)
            connection.pour(line)
            return
        transport.write(self._head)
        if self._then == "close":
            transport.loseConnection()
        elif self._then == "reset":
            transport.abortConnection()

    def when_empty(self) -> Deferred[None]:
        """Return a Deferred that fires (None) when no connection is open."""
        if not self.open:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def tell(self) -> None:
        """A connection was lost."""
        if not self.open:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def stop(self) -> Deferred[None]:
        """Listen no more."""
        return self._port.stopListening() or succeed(None)
