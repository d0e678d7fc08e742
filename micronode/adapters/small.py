"""Small answers that the node reads itself (health; decisions): treq over an owner's agent.

:func:`make_treq_client` returns a :class:`treq.client.HTTPClient` whose traps are closed underneath it, in
:class:`SmallAnswerAgent`: no gzip is asked for, the deadline covers the body, the body is bounded. Cookies
are refused, and request bodies do not take the way over the global reactor. Whoever calls passes
``reactor=`` and ``allow_redirects=False``.
"""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from micronode.adapters.agent import Exchange, OwnerAgent
from micronode.adapters.upload import BytesBody, UploadBody


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
    return HTTPClient(small, cookiejar=jar, data_to_body_producer=_body)


def _body(data: Any) -> IBodyProducer:
    body: IBodyProducer = data if IBodyProducer.providedBy(data) else BytesBody(data)
    return body


def _stop(timer: IDelayedCall) -> None:
    if timer.active():
        timer.cancel()
