"""Small answers that the node reads itself (health; decisions): treq over an owner's agent.

treq's client has traps, which are closed here. Its agent is good for one request, so that no cookie
comes back and nothing outlives the question; it never asks for an encoding and takes none; and it
connects to its owner's endpoint whatever the URL says, so treq is given one that always parses.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer

from micronode.adapters.agent import Exchange, OwnerAgent
from micronode.adapters.requesthead import CONNECTION_FIELDS

_BASE: Final = "http://owner"
_NOT_TAKEN: Final = CONNECTION_FIELDS | {b"accept-encoding"}


@implementer(IAgent)
class OneExchange:
    """An IAgent for one request, without a body, on a connection of its own.

    Not one of the pool: whether a new caller would get through is what health asks.
    """

    def __init__(self, agent: OwnerAgent) -> None:
        self._agent = agent
        self._exchange: Exchange | None = None

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See :class:`~twisted.web.iweb.IAgent`. treq's own *headers* only ask for gzip: they stay here."""
        sent = Headers({b"accept-encoding": [b"identity"]})
        exchange = self._agent.exchange(method, uri[len(_BASE) :], sent, fresh=True, keep=False)
        self._exchange = exchange
        return exchange.head.addCallback(_plain)

    def abort(self) -> None:
        """Close the connection, unless the exchange is over. Idempotent."""
        if self._exchange is not None:
            self._exchange.abort()


@implementer(IClientRequest)
@attrs.frozen
class AskedRequest:
    """What an answer says it answers."""

    method: bytes
    absoluteURI: bytes
    headers: Headers


@implementer(IAgent)
class PooledAgent:
    """An IAgent for any number of requests, with bodies, over the connections that exchanges use.

    Whatever host a URI has, its owner is asked. No encoding is asked for, and none undone by whoever
    follows IAgent; what is the connection's own business is not taken from *headers*.
    """

    def __init__(self, agent: OwnerAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See :class:`~twisted.web.iweb.IAgent`. Cancelling aborts the connection."""
        given = headers or Headers()
        sent = [(b"Accept-Encoding", b"identity")]
        for name, values in given.getAllRawHeaders():
            if name.lower() not in _NOT_TAKEN:
                sent += [(name, value) for value in values]
        exchange = self._agent.exchange(method, _target(uri), sent, bodyProducer)
        answered: Deferred[IResponse] = Deferred(lambda _: exchange.abort())

        def told(response: IResponse) -> None:
            response.request = AskedRequest(method, uri, given)
            if not answered.called:
                answered.callback(response)

        def failed(failure: Failure) -> None:
            if not answered.called:
                answered.errback(failure)

        exchange.head.addCallbacks(told, failed)
        return answered


def _target(uri: bytes) -> bytes:
    """Return path and query of *uri*, which is absolute."""
    _, _, behind = uri.partition(b"#")[0].partition(b"://")
    _, slash, path = behind.partition(b"/")
    return b"/" + path if slash else b"/"


def ask(
    agent: OwnerAgent, reactor: Any, path: str, *, deadline_s: float, max_bytes: int
) -> Deferred[tuple[int, bytes]]:
    """Ask ``GET path``.

    :param reactor: provides IReactorTime; without one, treq takes the global one.
    :param deadline_s: seconds from connecting to the last byte of the body.
    :param max_bytes: a longer body is cut, and fails.
    :return: fires with status and body, whatever the status; fails with whatever went wrong. Whether
        it fires, fails or is cancelled, its connection is closed then.
    """
    once = OneExchange(agent)

    async def asking() -> tuple[int, bytes]:
        response = await HTTPClient(once).get(
            _BASE + path, unbuffered=True, allow_redirects=False, reactor=reactor
        )
        body = bytearray()

        def take(data: bytes) -> None:
            body.extend(data)
            if len(body) > max_bytes:
                once.abort()
                raise ValueError("the answer is too long")

        await response.collect(take)
        return response.code, bytes(body)

    def over(result: tuple[int, bytes]) -> tuple[int, bytes]:
        once.abort()
        return result

    return Deferred.fromCoroutine(asking()).addTimeout(deadline_s, reactor).addBoth(over)


def _plain(response: IResponse) -> IResponse:
    if response.headers.hasHeader(b"content-encoding"):
        raise ValueError("an encoding nobody asked for")
    return response
