"""Connections to one owner: requests of one URL, each an exchange.

:class:`OwnerAgent` is the one place that opens connections to an owner. Calls whose answers are passed on
to a caller use :meth:`OwnerAgent.exchange` directly and do not go through treq. Its client always asks for
gzip and unpacks what comes, so that neither the owner's bytes nor its Content-Length would reach the
caller; it gives no handle to abort a body; and it parses the URL's text and makes a chain of agents for
each call. What the node reads itself is treq's: :mod:`micronode.adapters.small`.

Nor is it Twisted's client that is beneath: that takes most of a call's time (``tests/bench/bench_agent.py``
has the figures) for what is not done here at all. There are no redirects, cookies or encodings, no retries,
and nothing that is done anew for each request but its own head, in one write with a body that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer

from micronode.adapters.address import owner_endpoint
from micronode.adapters.exchange import Exchange
from micronode.adapters.pool import SPARE_CONNECTIONS, ConnectionPool
from micronode.adapters.requesthead import UnwritableRequestError, write_request_head
from micronode.adapters.tls import TlsWatch
from micronode.config.url import OwnerUrl
from micronode.security.identity import Identity

__all__ = ["CONNECT_TIMEOUT_S", "Exchange", "OwnerAgent"]

#: Seconds to connect; another address of the owner may still be tried within its timeout.
CONNECT_TIMEOUT_S: Final = 2.0


class OwnerAgent:
    """Makes requests of one URL of an owner. Its users bound their number.

    :param connections: how many idle connections are kept; not many more may be open.
    :param owner: the owner's name, for the log.
    :ivar url: the URL.
    :ivar identity: with which its connections are made over TLS; None for what the system trusts.
    """

    def __init__(
        self,
        reactor: Any,
        url: OwnerUrl,
        *,
        connections: int,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        owner: str = "",
        identity: Identity | None = None,
    ) -> None:
        self.url = url
        self.identity = identity
        self._watch = TlsWatch(owner, str(url)) if url.tls else None
        self._host = url.authority.encode("ascii")
        self._prefix = url.prefix.encode("ascii")
        endpoint = owner_endpoint(reactor, url, connect_timeout_s, identity)
        self._pool = ConnectionPool(reactor, endpoint, connections)

    def exchange(
        self,
        method: bytes,
        target: bytes,
        headers: Headers | Iterable[tuple[bytes, bytes]],
        body: IBodyProducer | bytes | None = None,
        *,
        fresh: bool = False,
        keep: bool = True,
        on_written: Callable[[], None] | None = None,
    ) -> Exchange:
        """Begin one request.

        :param target: path and query, quoted; the URL's own path is put before it.
        :param headers: sent as they are, with ``Host``; pairs are read faster than a Headers, whose own
            ``Host`` is not sent. What says where the request ends is not to be among them.
        :param body: a producer, or bytes; those leave in one write with the head.
        :param fresh: on a new connection, whatever waits in the pool.
        :param keep: whether the connection may be used again.
        :param on_written: called when the request was written whole (or will not be written further).
        :return: an exchange whose head has failed with
            :exc:`~micronode.adapters.requesthead.UnwritableRequestError` where it must not be sent.
        """
        fields = _fields(headers) if isinstance(headers, Headers) else headers
        length = None if body is None else len(body) if isinstance(body, bytes) else body.length
        to_head = method == b"HEAD"
        try:
            head = write_request_head(
                method, self._prefix + target, self._host, fields, length=length, keep=keep
            )
        except UnwritableRequestError:
            exchange = Exchange(b"", None, on_written, to_head=to_head, keep=False)
            exchange.fail(Failure())
            return exchange
        exchange = Exchange(head, body, on_written, to_head=to_head, keep=keep)
        if self._watch is not None:
            exchange.head.addCallbacks(self._watch.answered, self._watch.failed)
        connection = None if fresh else self._pool.take()
        if connection is not None:
            exchange.begin(connection)
        else:
            exchange.begin_with(self._pool.connect())
        return exchange

    @property
    def closed(self) -> bool:
        """Whether it was closed; what is asked of it still goes through, on connections that close then."""
        return self._pool.closed

    @property
    def connections(self) -> int:
        """How many connections are open, or being made."""
        return self._pool.open

    @property
    def most(self) -> int:
        """How many connections may be open."""
        return self._pool.size + SPARE_CONNECTIONS

    def keep(self, connections: int) -> None:
        """Keep so many idle connections from now on; those that are too many close when their time comes."""
        self._pool.size = connections

    def close(self) -> Deferred[None]:
        """Close idle connections, and others as soon as they are idle.

        :return: fires (None) when they are closed, a second later at most.
        """
        return self._pool.close()


def _fields(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, values in headers.getAllRawHeaders()
        if name.lower() != b"host"
        for value in values
    ]
