"""One request of one endpoint of an owner: what is sent, and what its failure means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from twisted.internet import error as net
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, ResponseNeverReceived
from twisted.web.iweb import IBodyProducer

from micronode.adapters.agent import Exchange
from micronode.adapters.endpoints import Endpoint
from micronode.adapters.exchange import root_cause
from micronode.adapters.lease import Lease
from micronode.adapters.pool import TooManyConnectionsError
from micronode.adapters.tls import TlsRefusedError
from micronode.adapters.upload import UploadBody
from micronode.errors import ErrorCode, NodeError

if TYPE_CHECKING:
    from micronode.adapters.owner import OwnerClient

_log = Logger()
_IDENTITY: Final = (b"accept-encoding", b"identity")
_TOO_SLOW: Final = (net.TimeoutError, net.TCPTimedOutError, net.ConnectingCancelledError)
#: What its end says of its endpoint: that it is well, or, where its caller has left, nothing.
_WELL: Final = {"ok": True, "client_error": True, "cancelled": None}


class Request(NamedTuple):
    """What is asked of an owner; see :class:`~micronode.interfaces.IOwnerClient`."""

    method: bytes
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: IBodyProducer | bytes | None
    #: Whether it may be sent again after an endpoint may have seen it.
    repeatable: bool

    @property
    def is_question(self) -> bool:
        """Whether its answer is as small as itself, so that only the whole of it says how the owner is."""
        return self.repeatable and isinstance(self.body, bytes)


class Loss(Enum):
    """How an attempt came to nothing."""

    #: No connection: the endpoint cannot have seen anything of the request.
    NOT_CONNECTED = "not connected"
    #: The same, since the node has as many connections as it may.
    NO_ROOM = "no room"
    #: The same, and another try at once would be in vain: it is TLS that cannot be had.
    NO_TLS = "no tls"
    #: A kept connection turned out to be closed.
    STALE = "stale"
    #: Not one byte of an answer came.
    UNANSWERED = "unanswered"
    #: An answer had begun.
    BROKEN = "broken"
    #: The request cannot be sent, or its body failed; the endpoint has no part in it.
    NO_REQUEST = "no request"


#: Losses that are held against the endpoint. A kept connection may always have been closed meanwhile.
BLAMED: Final = frozenset((Loss.NOT_CONNECTED, Loss.NO_TLS, Loss.UNANSWERED, Loss.BROKEN))
#: Those before which nothing was sent.
UNCONNECTED: Final = frozenset((Loss.NOT_CONNECTED, Loss.NO_TLS, Loss.NO_ROOM))
#: Losses after which the same endpoint is not asked again.
FINAL: Final = frozenset((Loss.NO_TLS, Loss.BROKEN))


class Attempt(Lease):
    """See the module's docstring. It is the lease of its slot, and takes it when it is made.

    :ivar began: when it began, or, where it has a body, when that was whole.
    :ivar is_last: whether the call ends with it, so that the call's permit is given back, too.
    """

    def __init__(self, client: OwnerClient, endpoint: Endpoint, idle_s: float) -> None:
        super().__init__(client.name, client.alarms, idle_s=idle_s, max_body=client.max_body)
        self.endpoint = endpoint
        self.entered = endpoint.enter()
        self.began = client.clock.seconds()
        self.is_last = True
        self._client = client

    def released(self, outcome: str) -> None:
        """See :class:`~micronode.adapters.lease.Lease`."""
        self.endpoint.leave()
        self._client.judge(self.endpoint, self.entered, _WELL.get(outcome, False))
        if self.is_last:
            self._client.ended(outcome)

    def judge(self, well: bool | None) -> None:
        """Tell how it went; see :meth:`~micronode.adapters.endpoints.Endpoint.judge`."""
        self._client.judge(self.endpoint, self.entered, well)

    def send(
        self,
        request: Request,
        body: UploadBody | None,
        *,
        fresh: bool,
        left_s: float,
        on_written: Callable[[], None] | None,
    ) -> Exchange:
        """Send *request*, with *body* unless it has bytes of its own.

        :param fresh: on a new connection.
        :param left_s: seconds to its deadline, which the owner is told.
        :raises Exception: the request cannot be sent as it is; nothing was.
        """
        left_ms = b"%d" % max(1, int(left_s * 1000))
        headers = [_IDENTITY, *request.headers, (b"x-micronode-deadline-ms", left_ms)]
        for name, _ in request.headers:
            if name == b"accept-encoding":
                del headers[0]
                break
        sent = request.body if isinstance(request.body, bytes) else body
        exchange = self.endpoint.agent.exchange(
            request.method, request.target, headers, sent, fresh=fresh, on_written=on_written
        )
        self.exchange = exchange
        return exchange

    def loss(self, failure: Failure) -> tuple[Loss, NodeError]:
        """Return what *failure*, with which the exchange's head failed, means, and the caller's error."""
        exchange, cause = self.exchange, root_cause(failure)
        if isinstance(cause, NodeError):
            # Whoever produces the body knows why.
            return Loss.NO_REQUEST, cause
        is_connected = exchange is not None and exchange.connected
        _log.debug("owner_failed", owner=self.owner, connected=is_connected, reason=type(cause).__name__)
        if failure.check(RequestGenerationFailed):
            # Its length was not what it said, or its producer is broken: the endpoint has no part in it.
            return Loss.NO_REQUEST, NodeError(
                ErrorCode.INTERNAL, "the node could not send the request's body"
            )
        if isinstance(cause, TlsRefusedError):
            # What came after a handshake is that of a TLS 1.3 owner: it may be asked, but does not listen.
            return Loss.BROKEN if is_connected else Loss.NO_TLS, self.unavailable(cause.what)
        if exchange is None or not is_connected:
            if isinstance(cause, TooManyConnectionsError):
                return Loss.NO_ROOM, self.unavailable("has all the connections it can take")
            slow = isinstance(cause, _TOO_SLOW)
            return Loss.NOT_CONNECTED, self.too_slow() if slow else self.unavailable("cannot be reached")
        error = self.bad_answer("closed the connection, or what it answered is not HTTP")
        if failure.check(ResponseNeverReceived) is None:
            return Loss.BROKEN, error
        return Loss.STALE if exchange.reused else Loss.UNANSWERED, error
