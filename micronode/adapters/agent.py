"""Connections to one owner: the pool, and the exchange of one request.

:class:`OwnerAgent` is the one place that opens connections to an owner. Calls whose answers are passed on
to a caller use :meth:`OwnerAgent.exchange` directly and do not go through treq. Its client always asks for
gzip and unpacks what comes, so that neither the owner's bytes nor its Content-Length would reach the
caller; it gives no handle to abort a body; and it parses the URL's text and makes a chain of agents for
each call (300 to 420 us of CPU a call over a kept connection, against 180 to 210 us here, deadlines, slots
and metrics included). What the node reads itself is treq's: :mod:`micronode.adapters.small`.
"""

# mypy: allow-untyped-calls
# (the connection pool has no annotations in Twisted)
from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ITransport
from twisted.web.client import HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from micronode.adapters.address import owner_endpoint
from micronode.adapters.connection import OwnerConnection, OwnerConnectionFactory, OwnerRequest
from micronode.adapters.upload import UploadBody
from micronode.config.url import OwnerUrl

#: Seconds an unused connection is kept: below the 5 s that owners commonly keep theirs, so that the
#: node closes first and no request meets a closing connection.
POOL_IDLE_S: Final = 4.0
#: Seconds to connect; another address of the owner may still be tried within its timeout.
CONNECT_TIMEOUT_S: Final = 2.0
#: Seconds idle connections get to close well when the node stops.
_CLOSE_S: Final = 1.0


class _OwnerPool(HTTPConnectionPool):
    """Twisted's pool with our connections in it; it never retries by itself."""

    _factory = OwnerConnectionFactory  # type: ignore[assignment]  # whatever makes connections will do
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
        fails as Twisted's client does. Cancelling it leaves the connection as it is: :meth:`abort`.
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

    @property
    def has_surplus(self) -> bool:
        """Whether bytes came with the answer's end that are not part of it."""
        return self._connection is not None and self._connection.surplus

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
    :ivar url: the URL.
    """

    def __init__(
        self,
        reactor: Any,
        url: OwnerUrl,
        *,
        connections: int,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.url = url
        self._clock: IReactorTime = reactor
        self._host = url.authority.encode("ascii")
        self._prefix = url.prefix.encode("ascii")
        self._endpoint = owner_endpoint(reactor, url, connect_timeout_s)
        self._pool = _OwnerPool(reactor)
        self.keep(connections)

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
        request = OwnerRequest(method, self._prefix + target, headers, body, persistent=keep)
        connect: Callable[..., Deferred[Any]] = self._pool.fresh if fresh else self._pool.getConnection
        return Exchange(request, connect(self._host, self._endpoint), on_written)

    @property
    def closed(self) -> bool:
        """Whether it was closed; what is asked of it still goes through, on connections that close then."""
        return self._pool.closed

    def keep(self, connections: int) -> None:
        """Keep so many idle connections from now on; those that are too many close when their time comes."""
        self._pool.maxPersistentPerHost = connections

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
