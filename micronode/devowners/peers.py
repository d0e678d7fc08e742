"""The overlay's peers: storage owners elsewhere, asked over HTTP for an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from micronode.config.url import OwnerUrl
from micronode.devowners.pipes import Inlet

#: Seconds to a connection, to a head, and between two pieces of a body.
_CONNECT_S: Final = 2.0
_HEAD_S: Final = 5.0
_IDLE_S: Final = 10.0
#: Says who asks, so that an overlay which was named as a peer does not ask in turn.
VIA: Final = b"1.1 micronode-overlay"
#: How asking fails; a name that is not found is an OSError.
_FAILURES: Final = (
    ConnectError,
    ConnectionClosed,
    RequestTransmissionFailed,
    ResponseFailed,
    TimeoutError,
    OSError,
)


class PeerError(Exception):
    """A peer cannot be reached, or its answer is broken."""


class PeerAnswer:
    """What a peer answered; its body is to be read to the end, or dropped.

    :ivar length: of the body; None: it does not say.
    """

    def __init__(self, response: IResponse, reactor: Any) -> None:
        self._response = response
        self._reactor = reactor
        self._body: _Body | None = None
        self.status = cast(int, response.code)
        self.length: int | None = None if response.length is UNKNOWN_LENGTH else response.length

    @property
    def length_field(self) -> bytes | None:
        """The length as a field has it; ``Content-Length`` is not among :meth:`field`'s, except of a HEAD."""
        return None if self.length is None else b"%d" % self.length

    def field(self, name: bytes) -> bytes | None:
        """Return a header field, the last if there are several."""
        return cast(Headers, self._response.headers).getRawHeaders(name, [None])[-1]

    def read(self) -> Deferred[bytes]:
        """Return the next piece of the body; empty at the end.

        :raises PeerError: (the Deferred) it broke off, or nothing came for ten seconds.
        """
        if self._body is None:
            self._body = _Body(self._reactor)
            self._response.deliverBody(self._body)
        return self._body.read()

    def drop(self) -> None:
        """Throw the rest of the body away and close the connection."""
        if self._body is None:
            self._body = _Body(self._reactor)
            self._response.deliverBody(self._body)
        self._body.drop()


class Peer:
    """One storage owner elsewhere."""

    def __init__(self, reactor: Any, url: OwnerUrl) -> None:
        self.url = url
        self._reactor = reactor
        self._agent = Agent.usingEndpointFactory(reactor, _At(reactor, url))

    async def ask(self, method: bytes, cid: str, fields: Mapping[bytes, bytes]) -> PeerAnswer:
        """Ask for the object *cid*; return the answer when its head is there.

        :raises PeerError: there is none within five seconds.
        """
        headers = Headers({name: [value] for name, value in fields.items()})
        headers.setRawHeaders(b"via", [VIA])
        target = f"http://{self.url.authority}{self.url.prefix}/o/{cid}".encode("ascii")
        asked: Deferred[IResponse] = self._agent.request(method, target, headers)
        try:
            response = await asked.addTimeout(_HEAD_S, self._reactor)
        except _FAILURES as error:
            raise PeerError(type(error).__name__) from None
        return PeerAnswer(response, self._reactor)


@implementer(IAgentEndpointFactory)
class _At:
    """Connects to one place, whatever the request's address says."""

    def __init__(self, reactor: Any, url: OwnerUrl) -> None:
        self._reactor = reactor
        self._listener = url.listener

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See IAgentEndpointFactory."""
        listener = self._listener
        if listener.path:
            return UNIXClientEndpoint(self._reactor, listener.path, timeout=_CONNECT_S)
        return HostnameEndpoint(self._reactor, listener.host, listener.port, timeout=_CONNECT_S)


class _Body(Protocol):
    """The body of an answer; while nobody reads, the peer is paused and no time runs."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._inlet = Inlet()
        self._timer: IDelayedCall | None = None
        self._is_dropped = False

    def read(self) -> Deferred[bytes]:
        """Return the next piece; empty at the end."""
        self._timer = self._reactor.callLater(_IDLE_S, self._too_slow)
        return self._inlet.read().addBoth(self._stop_timer)

    def drop(self) -> None:
        """Close the connection."""
        self._is_dropped = True
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionMade(self) -> None:
        if self._is_dropped:
            self.drop()
        else:
            self._inlet.source = cast(Any, self.transport)

    def dataReceived(self, data: bytes) -> None:
        if not self._is_dropped:
            self._inlet.put(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        is_whole = reason.check(ResponseDone) is not None
        self._inlet.end(None if is_whole else PeerError(f"{type(reason.value).__name__} within its body"))

    def _too_slow(self) -> None:
        self._inlet.end(PeerError("its body stalls"))
        self.drop()

    def _stop_timer(self, result: Any) -> Any:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return result
