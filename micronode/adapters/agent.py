"""Connections to one owner: the pool, the exchange of one request, and treq's face for small answers.

:class:`OwnerAgent` is the one place that opens connections to an owner. Calls whose answers are passed on
to a caller use :meth:`OwnerAgent.exchange` directly. They do not go through treq: its client always
asks for gzip and unpacks what comes, so that neither the owner's bytes nor its Content-Length would
reach the caller, it parses the URL's text and makes a chain of agents for each call, and it gives no
handle to abort a body.

Answers the node reads itself (health; decisions) are :class:`treq.client.HTTPClient`'s, from
:func:`make_treq_client`. It stands on the same agent, and its traps are closed underneath it, in
:class:`SmallAnswerAgent`: no gzip is asked for, the deadline covers the body, the body is bounded.
Cookies are refused; whoever calls passes ``reactor=`` and ``allow_redirects=False``.
"""

# mypy: allow-untyped-calls
# (the connection pool has no annotations in Twisted)
from __future__ import annotations

from collections.abc import Callable, Hashable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, cast

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from micronode.adapters.address import OwnerAddress
from micronode.adapters.connection import OwnerConnection, OwnerConnectionFactory, OwnerRequest
from micronode.adapters.upload import UploadBody

#: Seconds an unused connection is kept: below the 5 s that owners commonly keep theirs, so that the
#: node closes first and no request meets a closing connection.
POOL_IDLE_S: Final = 4.0
#: Seconds to connect; another address of the owner may still be tried within its timeout.
CONNECT_TIMEOUT_S: Final = 2.0
#: Seconds idle connections get to close well when the node stops.
_CLOSE_S: Final = 1.0


class _OwnerPool(HTTPConnectionPool):
    """Twisted's pool with our connections in it; it never retries by itself."""

    _factory = OwnerConnectionFactory
    cachedConnectionTimeout = POOL_IDLE_S  # type: ignore[assignment]  # any number of seconds will do
    retryAutomatically = False
    closed = False

    def fresh(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """Return a Deferred of a connection that never carried a request."""
        connecting: Deferred[Any] = self._newConnection(key, endpoint)
        return connecting

    def idle(self) -> list[OwnerConnection]:
        """Return the connections that wait for a request."""
        return [connection for waiting in self._connections.values() for connection in waiting]

    def _putConnection(self, key: object, connection: OwnerConnection) -> None:
        if self.closed:
            cast(ITransport, connection.transport).loseConnection()
        else:
            super()._putConnection(key, connection)


class Exchange:
    """One request of an owner and its response, on a connection of its own while it lasts.

    :ivar head: fires with the :class:`~twisted.web.iweb.IResponse` when the response head is there, else
        fails as Twisted's client does. Do not cancel it: :meth:`abort`.
    :ivar reused: whether its connection had carried a request before.
    """

    def __init__(
        self, request: OwnerRequest, connecting: Deferred[OwnerConnection], on_written: Callable[[], None]
    ) -> None:
        self.head: Deferred[IResponse] = Deferred()
        self.reused = False
        self._request = request
        self._on_written = on_written
        self._connection: OwnerConnection | None = None
        self._connecting = connecting
        self._aborted = False
        connecting.addCallback(self._connected)
        connecting.addCallbacks(self.head.callback, self.head.errback)

    @property
    def connected(self) -> bool:
        """Whether there is a connection; before that the owner cannot have seen anything."""
        return self._connection is not None

    @property
    def ended_well(self) -> bool:
        """Whether its connection, if it is gone, was closed in good order: not reset, not cut."""
        lost = self._connection.lost if self._connection is not None else None
        return lost is None or lost.check(ConnectionDone) is not None

    def abort(self) -> None:
        """Close the connection at once, unless the exchange is over. Idempotent."""
        self._aborted = True
        if self._connection is None:
            self._connecting.cancel()
        else:
            self._connection.abort_request(self._request)

    def _connected(self, connection: OwnerConnection) -> Deferred[IResponse]:
        self._connection = connection
        self.reused = connection.requests > 0
        if self._aborted:
            connection.kill()
            raise CancelledError
        answered = connection.request(self._request)
        if self._request.written is not None:
            self._request.written.addCallback(lambda _: self._on_written())
        return answered


class OwnerAgent:
    """Makes requests of one URL of an owner. It bounds nothing but idle connections: its users do.

    :param connections: how many idle connections are kept.
    """

    def __init__(
        self,
        reactor: Any,
        address: OwnerAddress,
        *,
        connections: int,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._clock: IReactorTime = reactor
        self._address = address
        self._host = address.host_header
        self._endpoint = address.endpoint(reactor, connect_timeout_s)
        self._pool = _OwnerPool(reactor)
        self._pool.maxPersistentPerHost = connections
        self.base = address.base

    def exchange(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: UploadBody | None = None,
        *,
        fresh: bool = False,
        keep: bool = True,
        on_written: Callable[[], None] = lambda: None,
    ) -> Exchange:
        """Begin one request.

        :param target: path and query, quoted; the URL's own path is put before it.
        :param headers: sent as they are, with ``Host``; the object is changed.
        :param fresh: on a new connection, whatever waits in the pool.
        :param keep: whether the connection may be used again.
        :param on_written: called when the request was written whole (or will not be written further).
        """
        headers.setRawHeaders(b"host", [self._host])
        request = OwnerRequest(method, self._address.prefix + target, headers, body, persistent=keep)
        connect: Callable[..., Deferred[Any]] = self._pool.fresh if fresh else self._pool.getConnection
        return Exchange(request, connect(self._host, self._endpoint), on_written)

    def close(self) -> Deferred[None]:
        """Close idle connections, and others as soon as they are idle.

        :return: fires (None) when they are closed, a second later at most.
        """
        idle = self._pool.idle()
        self._pool.closed = True
        closing: Deferred[None] = self._pool.closeCachedConnections()

        def cut() -> None:
            for connection in idle:
                connection.kill()

        timer = self._clock.callLater(_CLOSE_S, cut)

        def closed(result: None) -> None:
            if timer.active():
                timer.cancel()

        return closing.addBoth(closed)


@implementer(IAgent)
class SmallAnswerAgent:
    """An IAgent for answers that are read into memory: one deadline for all of it, and a size bound.

    Each request has a connection of its own, so that health is that of the owner and not of a pool.

    :param deadline_s: seconds from the request to the last byte of the body.
    :param max_bytes: a longer body is cut, and fails.
    """

    def __init__(self, agent: OwnerAgent, clock: IReactorTime, *, deadline_s: float, max_bytes: int) -> None:
        self._agent = agent
        self._clock = clock
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See :class:`~twisted.web.iweb.IAgent`. *uri* must begin with the agent's base."""
        if not uri.startswith(self._agent.base):
            return fail(ValueError("this agent is for one owner only"))
        sent = Headers() if headers is None else headers.copy()
        sent.setRawHeaders(b"accept-encoding", [b"identity"])
        body = None
        if bodyProducer is not None:
            # The deadline covers stalls too.
            body = UploadBody(bodyProducer, self._clock, self._deadline_s, lambda: None)
        target = uri[len(self._agent.base) :] or b"/"
        exchange = self._agent.exchange(method, target, sent, body, fresh=True, keep=False)
        timer = self._clock.callLater(self._deadline_s, exchange.abort)
        answered: Deferred[IResponse] = Deferred(lambda _: exchange.abort())

        def got(response: IResponse) -> None:
            if response.headers.hasHeader(b"content-encoding"):
                exchange.abort()
                _stop(timer)
                answered.errback(ValueError("an encoding nobody asked for"))
            elif not answered.called:
                answered.callback(_BoundedResponse(response, exchange, timer, self._max_bytes))

        def failed(reason: Failure) -> None:
            _stop(timer)
            if not answered.called:
                answered.errback(reason)

        exchange.head.addCallbacks(got, failed)
        return answered


class _BoundedResponse(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body is cut at a size, and ends its request's deadline."""

    def __init__(self, original: IResponse, exchange: Exchange, timer: IDelayedCall, max_bytes: int) -> None:
        super().__init__(original)
        self._parts = (exchange, timer, max_bytes)

    def deliverBody(self, protocol: IProtocol) -> None:
        self.original.deliverBody(_BoundedBody(protocol, *self._parts))


class _BoundedBody(Protocol):
    """Stands before the protocol that reads a small body."""

    def __init__(self, reader: IProtocol, exchange: Exchange, timer: IDelayedCall, max_bytes: int) -> None:
        self._reader = reader
        self._exchange = exchange
        self._timer = timer
        self._left = max_bytes

    def connectionMade(self) -> None:
        self._reader.makeConnection(cast(ITransport, self.transport))

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._exchange.abort()
        else:
            self._reader.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        _stop(self._timer)
        if self._left < 0:
            reason = Failure(ValueError("the answer is too long"))
        self._reader.connectionLost(reason)


def make_treq_client(
    agent: OwnerAgent, clock: IReactorTime, *, deadline_s: float, max_bytes: int
) -> HTTPClient:
    """Return a treq client for answers the node reads itself; see the module's docstring."""
    jar = IndexableCookieJar(DefaultCookiePolicy(allowed_domains=[]))
    small = SmallAnswerAgent(agent, clock, deadline_s=deadline_s, max_bytes=max_bytes)
    return HTTPClient(small, cookiejar=jar)


def _stop(timer: IDelayedCall) -> None:
    if timer.active():
        timer.cancel()
